"""Flat logs (one row a step, flags at the ends) cut into episodes with T + 1 observations each.

The rules are those of D4RL's `qlearning_dataset`, so the transitions that come out are the ones every published figure
used:

* a row's next observation is the observation of the next row of the file;
* a row that a time limit ended has no next observation of its own, so it is left out; its observation closes the
  episode;
* a terminal row stays, its next observation is the next row of the file although another episode starts there (it is
  never bootstrapped from);
* the file's last row has no next row and only closes its episode.

Where `next_observations` are stored nothing needs leaving out: they close each episode.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..core.errors import UserError
from .checks.faults import Fault, Where

JUMP = 1e-6  # next_observations[i] further than this from observations[i + 1]: another episode (the rule of IQL's code)


class Cut(NamedTuple):
    """Columns in episode form: `rows` are the indices of the flat rows that became transitions, in order."""

    observations: np.ndarray  # [N + E, *obs]
    offsets: np.ndarray  # [E + 1] int64
    rows: np.ndarray  # [N] int64
    terminations: np.ndarray  # [N] bool
    truncations: np.ndarray  # [N] bool
    closing: np.ndarray  # [E] int64, the flat rows whose observations close the episodes; -1: not a row of the log
    faults: list[dict[str, Any]]  # what only the flat form shows
    left_out: int  # rows that had no next observation


def cut(
    observations: np.ndarray,
    terminals: np.ndarray,
    timeouts: np.ndarray | None = None,
    next_observations: np.ndarray | None = None,
    max_episode_steps: int | None = None,
    cut_jumps: bool | None = None,
    keep_last: bool = True,
) -> Cut:
    """Cut flat columns into episodes.

    Args:
        observations: `[N, *obs]`.
        terminals: `[N]` bool, true ends only.
        timeouts: `[N]` bool, time limits; None where the log has no such flag.
        next_observations: `[N, *obs]` or None.
        max_episode_steps: with no timeouts, episodes are cut after that many rows since the last end.
        cut_jumps: also cut where `next_observations[i]` is not `observations[i + 1]`; default: only with no timeouts.
        keep_last: keep a terminal last row, closing it with its own observation; D4RL drops it.

    Raises:
        UserError: no rows, or nothing but rows without a next observation.
    """
    n = len(observations)
    if n == 0:
        raise UserError("the log is empty: no rows; expected at least one transition")
    timed = np.zeros(n, bool) if timeouts is None else timeouts
    ends = terminals | timed
    jumps = _jumps(observations, next_observations) & ~ends
    faults = [] if next_observations is not None else _both(terminals, timed)  # otherwise the rows show it
    if cut_jumps or (cut_jumps is None and timeouts is None):
        ends = ends | jumps
    elif jumps.any():
        faults.append(_jump_fault(jumps))
    if timeouts is None and max_episode_steps is not None:
        ends = _cut_long(ends, max_episode_steps)
    ends = ends.copy()
    ends[-1] = True

    keep = np.ones(n, bool)
    if next_observations is None:
        keep = ~ends | (terminals & ~timed)
        keep[-1] = keep_last and bool(terminals[-1] and not timed[-1])
        following = np.append(np.arange(1, n), n - 1)
        closing = observations[following]
    else:
        closing, following = next_observations, np.full(n, -1)

    last = np.flatnonzero(ends)
    first = np.append(0, last[:-1] + 1)
    lengths = last - first + keep[last]
    alive = lengths > 0
    if not alive.any():
        raise UserError(
            "no transition is left: every row ends its episode without a next observation; give next_observations"
        )
    final = np.where(_column(keep[last], closing.ndim), closing[last], observations[last])[alive]
    closing_at = np.where(keep[last], following[last], last)[alive]
    rows = np.flatnonzero(keep)
    offsets = np.append(0, np.cumsum(lengths[alive])).astype(np.int64)
    closing_rows = offsets[1:] + np.arange(len(offsets) - 1)
    out = np.empty((len(rows) + len(final), *observations.shape[1:]), observations.dtype)
    out[closing_rows] = final
    ordinary = np.ones(len(out), bool)
    ordinary[closing_rows] = False
    out[ordinary] = observations[rows]

    terminations = terminals[rows]
    truncations = timed[rows].copy()
    closed = offsets[1:] - 1
    truncations[closed] |= ~terminations[closed]  # an end that is not terminal is where the log was cut
    return Cut(out, offsets, rows, terminations, truncations, closing_at, faults, n - len(rows))


def _jumps(observations: np.ndarray, next_observations: np.ndarray | None) -> np.ndarray:
    """Rows whose stored next observation is not the following row: `[N]` bool, the last row never."""
    out = np.zeros(len(observations), bool)
    if next_observations is not None and len(observations) > 1:
        gap = (observations[1:] - next_observations[:-1]).reshape(len(observations) - 1, -1)
        out[:-1] = ~(np.linalg.norm(gap, axis=1) <= JUMP) & np.isfinite(gap).all(1)
    return out


def _cut_long(ends: np.ndarray, limit: int) -> np.ndarray:
    """Ends added after every `limit` rows since the last end."""
    n = len(ends)
    starts = np.append(0, np.flatnonzero(ends[:-1]) + 1)
    since = np.arange(n) - np.repeat(starts, np.diff(np.append(starts, n)))
    return ends | (since % limit == limit - 1)


def _column(mask: np.ndarray, ndim: int) -> np.ndarray:
    return mask.reshape(-1, *[1] * (ndim - 1))


def _both(terminals: np.ndarray, timed: np.ndarray) -> list[dict[str, Any]]:
    rows = np.flatnonzero(terminals & timed)
    if not len(rows):
        return []
    where = Where(row=int(rows[0]), column="terminals and timeouts")
    text = f"{len(rows)} rows of the file are both terminal and timed out; expected one of the two"
    mend = "D4RL's rule leaves them out (--allow both_flags accepts that)"
    return [Fault("fatal", "both_flags", where, len(rows), text, mend).to_dict()]


def _jump_fault(jumps: np.ndarray) -> dict[str, Any]:
    rows = np.flatnonzero(jumps)
    where = Where(row=int(rows[0]), column="next_observations")
    text = f"{len(rows)} rows' next observation is not the following row, with no end flag; expected an episode end"
    mend = "--cut-jumps ends an episode at each"
    return Fault("fatal", "jump", where, len(rows), text, mend).to_dict()
