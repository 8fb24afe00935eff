"""Checks of how rows form episodes: end flags, lengths, duplicates, what a reader left out."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np

from ..dataset import Dataset
from .faults import Fault, Where
from .values import at


def flags(dataset: Dataset) -> list[Fault]:
    """Both flags on one row, an end inside an episode, an episode that no flag ends."""
    out = []
    both = np.flatnonzero(dataset.terminations & dataset.truncations)
    if len(both):
        text = f"{len(both)} rows are both terminated and truncated, expected one of the two"
        where = at(dataset, both[0], "terminations and truncations")
        mend = "mend the log, or --allow both_flags to take them as true ends"
        out.append(Fault("fatal", "both_flags", where, len(both), text, mend))
    ends = dataset.terminations | dataset.truncations
    last = dataset.offsets[1:] - 1
    inner = ends.copy()
    inner[last] = False
    rows = np.flatnonzero(inner)
    if len(rows):
        name = "terminations" if dataset.terminations[rows[0]] else "truncations"
        text = f"{len(rows)} end flags stand inside an episode, expected on its last row only"
        mend = "`holdfast data convert --cut-at-flags` ends the episodes there"
        out.append(Fault("fatal", "end_inside", at(dataset, rows[0], name), len(rows), text, mend))
    open_ended = np.flatnonzero(~ends[last])
    if len(open_ended):
        text = f"{len(open_ended)} episodes end with neither flag; they are taken as cut by a time limit"
        where = at(dataset, last[open_ended[0]], "terminations and truncations")
        out.append(
            Fault("warn", "unended", where, len(open_ended), text, "set terminations where the episode truly ended")
        )
    return out


def lengths(dataset: Dataset) -> list[Fault]:
    """One-step episodes, and lengths that do not agree with the time limit."""
    out = []
    steps, limit = dataset.lengths, dataset.horizon
    last = dataset.offsets[1:] - 1
    single = np.flatnonzero(steps == 1)
    if len(single) == dataset.n_episodes:
        text = f"all {len(single)} episodes have one step: there is no next state to learn from"
        mend = "check the end flags, or --allow one_step for bandit logs"
        out.append(Fault("fatal", "one_step", Where(0, 0, "offsets"), len(single), text, mend))
    elif len(single):
        text = f"{len(single)} of {dataset.n_episodes} episodes have one step"
        where = at(dataset, last[single[0]], "offsets")
        out.append(Fault("warn", "one_step", where, len(single), text, "check the end flags"))
    if limit is None:
        return out
    long = np.flatnonzero(steps > limit)
    if len(long):
        text = f"{len(long)} episodes are longer than the time limit of {limit} steps, the first has {steps[long[0]]}"
        where = at(dataset, dataset.offsets[long[0]] + limit, "truncations")
        mend = "check the end flags or the environment's max_episode_steps"
        out.append(Fault("warn", "too_long", where, len(long), text, mend))
    cut = dataset.truncations[last] & (steps < limit - 1)  # a file without final observations has limit - 1 steps
    early = np.flatnonzero(cut[:-1])  # the log may stop anywhere in its last episode
    if len(early):
        text = (
            f"{len(early)} episodes are truncated before the limit of {limit} steps, the first after {steps[early[0]]}"
        )
        where = at(dataset, last[early[0]], "truncations")
        out.append(Fault("warn", "timeout_early", where, len(early), text, "check that these are no true ends"))
    marked = dataset.terminations[last] & (steps == limit)
    if marked.sum() > 1 and not dataset.truncations.any():
        first = int(np.argmax(marked))
        text = f"{int(marked.sum())} episodes terminate exactly at the time limit of {limit} steps, none is truncated"
        mend = "store time limits as truncations"
        where = at(dataset, last[first], "terminations")
        out.append(Fault("warn", "timeout_as_end", where, int(marked.sum()), text, mend))
    return out


def duplicates(dataset: Dataset) -> list[Fault]:
    """Episodes that occur twice; those of fewer than five steps may coincide by chance and are passed over."""
    seen: dict[bytes, int] = {}
    again = []
    for e in np.flatnonzero(dataset.lengths >= 5):
        a, b = int(dataset.offsets[e]), int(dataset.offsets[e + 1])
        digest = hashlib.sha1(dataset.observations[a + e : b + e + 1].tobytes(), usedforsecurity=False)
        digest.update(dataset.actions[a:b].tobytes())
        if seen.setdefault(digest.digest(), int(e)) != e:
            again.append((int(e), seen[digest.digest()]))
    if not again:
        return []
    text = f"{len(again)} episodes are copies of others, episode {again[0][0]} of episode {again[0][1]}"
    where = at(dataset, int(dataset.offsets[again[0][0]]), "observations")
    return [Fault("warn", "duplicate", where, len(again), text, "check that the log was not joined twice")]


def reading(dataset: Dataset) -> list[Fault]:
    """What the reader had to leave out, by the rule of its format."""
    left_out = int(dataset.provenance.get("left_out", 0))
    if not left_out:
        return []
    text = f"{left_out} rows have no next observation (time limits, the file's last row) and are left out, as D4RL does"
    return [Fault("note", "left_out", Where(column="next_observations"), left_out, text)]


Check = Callable[[Dataset], list[Fault]]
EPISODES: tuple[Check, ...] = (flags, lengths, duplicates, reading)
