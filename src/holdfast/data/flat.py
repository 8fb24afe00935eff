"""Cuts flat logs (one row a step, flags at the ends) into episodes with T + 1 observations each.

The rules are those of D4RL's `qlearning_dataset`, so the transitions are the ones that published results used:

* the next observation of a row is the observation of the next row of the file;
* a row that ended by a time limit has no next observation of its own, so it is left out; its observation closes the
  episode;
* a terminal row is kept; its next observation is the next row of the file, although another episode starts there (no
  value is bootstrapped from it);
* the last row of the file has no next row and only closes its episode.

If `next_observations` are stored, no row is left out: they close each episode.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, NamedTuple

import numpy as np

from ..core.errors import UserError
from .arrays import take
from .checks.faults import Fault, Where
from .chunks import chunks

JUMP = 1e-6  # another episode starts if next_observations[i] is further than this from observations[i + 1] (IQL's code)


@dataclasses.dataclass(frozen=True)
class CutRules:
    """Where a flat log is cut into episodes, besides the rows with an end flag."""

    max_episode_steps: int | None = None  # if there are no timeouts: cut after that many rows since the last end
    cut_jumps: bool | None = None  # cut where a stored next observation is not the next row; None: if no timeouts
    keep_last: bool = True  # keep a terminal last row and close it with its own observation; D4RL drops it
    # a time limit and the end of the log are true ends, so that their rows are kept; None: if all rewards are on them
    terminal_sessions: bool | None = None


class Cut(NamedTuple):
    """Columns in episode form."""

    observations: np.ndarray  # [N + E, *obs]
    offsets: np.ndarray  # [E + 1] int64
    rows: np.ndarray  # [N] int64, the flat rows that became transitions, in order
    terminations: np.ndarray  # [N] bool
    truncations: np.ndarray  # [N] bool
    closing: np.ndarray  # [E] int64, the flat rows whose observations close the episodes; -1: not a row of the log
    faults: list[dict[str, Any]]  # faults that only the flat form shows
    left_out: int  # rows that had no next observation


def cut(
    observations: np.ndarray,
    terminals: np.ndarray,
    timeouts: np.ndarray | None = None,
    next_observations: np.ndarray | None = None,
    rules: CutRules | None = None,
) -> Cut:
    """Cut flat columns of n rows into episodes.

    Args:
        observations: `[n, *obs]`.
        terminals: `[n]` bool, true ends only.
        timeouts: `[n]` bool, time limits; None if the log has no such flag.
        next_observations: `[n, *obs]` or None.
        rules: where else to cut.

    Raises:
        UserError: no rows, or no row with a next observation.
    """
    rules = rules or CutRules()
    if len(observations) == 0:
        raise UserError("the log is empty: no rows; expected at least one transition")
    if rules.terminal_sessions:
        terminals = terminals.copy() if timeouts is None else terminals | timeouts
        terminals[-1] = True
        timeouts = None if timeouts is None else np.zeros(len(observations), bool)
        rules = dataclasses.replace(rules, keep_last=True)
    timed = np.zeros(len(observations), bool) if timeouts is None else timeouts
    ends, faults = _ends(observations, terminals, timeouts, next_observations, rules)
    keep = np.ones(len(observations), bool)  # the row has a next observation and becomes a transition
    if next_observations is None:
        keep = _followed(terminals & ~timed, ends, rules.keep_last)
    last = np.flatnonzero(ends)
    first = np.append(0, last[:-1] + 1)
    closed = keep[last]  # the last row is a transition; otherwise its own observation closes the episode
    lengths = last - first + closed
    if not (lengths > 0).any():
        raise UserError(
            "no transition is left: every row ends its episode without a next observation; give next_observations"
        )
    used = lengths > 0
    if next_observations is None:
        closing = np.where(closed, np.minimum(last + 1, len(observations) - 1), last)[used]
        final = take(observations, closing)
    else:
        closing = np.full(used.sum(), -1)
        final = take(next_observations, last)
    rows = np.flatnonzero(keep)
    offsets = np.append(0, np.cumsum(lengths[used])).astype(np.int64)
    truncations = timed[rows].copy()
    truncations[offsets[1:] - 1] |= ~terminals[rows][offsets[1:] - 1]  # an episode without a true end was truncated
    return Cut(
        observations=_interleaved(observations, rows, final, offsets),
        offsets=offsets,
        rows=rows,
        terminations=terminals[rows],
        truncations=truncations,
        closing=closing,
        faults=faults,
        left_out=len(observations) - len(rows),
    )


def _ends(
    observations: np.ndarray,
    terminals: np.ndarray,
    timeouts: np.ndarray | None,
    next_observations: np.ndarray | None,
    rules: CutRules,
) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """The rows that end an episode, [n] bool, and the faults of their flags."""
    ends = terminals.copy() if timeouts is None else terminals | timeouts
    faults = []
    if next_observations is None and timeouts is not None:  # otherwise the rows are kept, and the check sees them
        faults += _both_flags(terminals & timeouts)
    jumps = _jumps(observations, next_observations) & ~ends
    cut_jumps = timeouts is None if rules.cut_jumps is None else rules.cut_jumps
    if cut_jumps:
        ends = ends | jumps
    elif jumps.any():
        faults.append(_jump_fault(jumps))
    if timeouts is None and rules.max_episode_steps is not None:
        ends = _cut_long(ends, rules.max_episode_steps)
    ends[-1] = True
    return ends, faults


def _followed(terminals: np.ndarray, ends: np.ndarray, keep_last: bool) -> np.ndarray:
    """The rows whose next observation is the next row of the file, by D4RL's rule: [n] bool."""
    keep = ~ends | terminals
    keep[-1] = keep_last and bool(terminals[-1])
    return keep


def _interleaved(observations: np.ndarray, rows: np.ndarray, final: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Observations at `rows` [N] with the final one of each episode [E, *obs] after its last row: [N + E, *obs]."""
    closing = offsets[1:] + np.arange(len(offsets) - 1)
    index = np.zeros(len(rows) + len(final), np.int64)
    ordinary = np.ones(len(index), bool)
    ordinary[closing] = False
    index[ordinary] = rows
    out = take(observations, index)
    out[closing] = final
    return out


def _jumps(observations: np.ndarray, next_observations: np.ndarray | None) -> np.ndarray:
    """Rows whose stored next observation is not the following row: `[n]` bool, never the last row."""
    out = np.zeros(len(observations), bool)
    if next_observations is not None and len(observations) > 1:
        exact = observations.dtype == np.uint8
        for part in chunks(len(out) - 1, math.prod(observations.shape[1:])):
            following = observations[1:][part].reshape(part.stop - part.start, -1)
            stored = next_observations[:-1][part].reshape(following.shape)
            if exact:
                out[:-1][part] = (following != stored).any(1)
            else:
                gap = following - stored
                out[:-1][part] = ~(np.linalg.norm(gap, axis=1) <= JUMP) & np.isfinite(gap).all(1)
    return out


def _cut_long(ends: np.ndarray, limit: int) -> np.ndarray:
    """The ends, with another one after every `limit` rows since the last end."""
    n = len(ends)
    starts = np.append(0, np.flatnonzero(ends[:-1]) + 1)
    since = np.arange(n) - np.repeat(starts, np.diff(np.append(starts, n)))
    return ends | (since % limit == limit - 1)


def _both_flags(both: np.ndarray) -> list[dict[str, Any]]:
    rows = np.flatnonzero(both)
    if not len(rows):
        return []
    where = Where(row=int(rows[0]), column="terminals and timeouts")
    text = f"{len(rows)} rows of the file are both terminal and timed out; expected one of the two"
    fix = "D4RL's rule leaves them out (--allow both_flags accepts that)"
    return [Fault("fatal", "both_flags", where, len(rows), text, fix).to_dict()]


def _jump_fault(jumps: np.ndarray) -> dict[str, Any]:
    rows = np.flatnonzero(jumps)
    where = Where(row=int(rows[0]), column="next_observations")
    text = f"{len(rows)} rows' next observation is not the following row, with no end flag; expected an episode end"
    return Fault("fatal", "jump", where, len(rows), text, "--cut-jumps ends an episode at each").to_dict()
