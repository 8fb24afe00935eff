"""Checks of how rows form episodes: end flags, lengths, duplicates, and rows that a reader left out."""

from __future__ import annotations

import hashlib

import numpy as np

from ..arrays import last_rows
from ..dataset import Dataset
from .faults import Fault, Level, Where
from .values import Check, at

RARE = 0.2  # a warning if more than this share of the rewards other than 0 is on rows that are left out
SHORT = 5  # episodes of fewer steps may be equal by chance


def flags(dataset: Dataset) -> list[Fault]:
    """Both flags on one row, an end inside an episode, an episode that no flag ends."""
    found = []
    both = np.flatnonzero(dataset.terminations & dataset.truncations)
    if len(both):
        text = f"{len(both)} rows are both terminated and truncated, expected one of the two"
        where = at(dataset, both[0], "terminations and truncations")
        fix = "correct the log, or use --allow both_flags to treat them as terminations"
        found.append(Fault("fatal", "both_flags", where, len(both), text, fix))
    ends = dataset.terminations | dataset.truncations
    inner = np.flatnonzero(ends & ~last_rows(dataset.offsets))
    if len(inner):
        name = "terminations" if dataset.terminations[inner[0]] else "truncations"
        text = f"{len(inner)} end flags are inside an episode, expected on its last row only"
        fix = "`holdfast data convert --cut-at-flags` ends the episodes there"
        found.append(Fault("fatal", "end_inside", at(dataset, inner[0], name), len(inner), text, fix))
    last = dataset.offsets[1:] - 1
    unended = np.flatnonzero(~ends[last])
    if len(unended):
        text = f"{len(unended)} episodes end with neither flag; they are treated as truncated"
        where = at(dataset, last[unended[0]], "terminations and truncations")
        fix = "set terminations on the last step of episodes that truly ended"
        found.append(Fault("warn", "unended", where, len(unended), text, fix))
    return found


def one_step_episodes(dataset: Dataset) -> list[Fault]:
    """Episodes of one step; fatal if there are no others and each of them is a true end."""
    single = np.flatnonzero(dataset.lengths == 1)
    if len(single) == dataset.n_episodes and not dataset.terminations.all():
        text = f"all {len(single)} episodes have one step: single transitions, whose order is not known"
        fix = "methods that need returns or several steps refuse them; if the rows are in order, check the end flags"
        return [Fault("warn", "one_step", Where(0, 0, "offsets"), len(single), text, fix)]
    if len(single) == dataset.n_episodes and dataset.table is not None and dataset.table.one_step:
        text = f"all {len(single)} rows are decisions of one step, as the roles of the table say"
        return [Fault("note", "one_step", Where(column="offsets"), len(single), text)]
    if len(single) == dataset.n_episodes:
        text = f"all {len(single)} episodes terminate after one step: no step has a next state to learn from"
        fix = "check the end flags, or accept one_step for bandit logs: --allow one_step, allow=['one_step'] in Python"
        return [Fault("fatal", "one_step", Where(0, 0, "offsets"), len(single), text, fix)]
    if len(single):
        text = f"{len(single)} of {dataset.n_episodes} episodes have one step"
        where = at(dataset, dataset.offsets[single[0]], "offsets")
        return [Fault("warn", "one_step", where, len(single), text, "check the end flags")]
    return []


def time_limits(dataset: Dataset) -> list[Fault]:
    """Episode lengths that do not agree with the time limit."""
    limit = dataset.horizon
    if limit is None:
        return []
    found = []
    steps = dataset.lengths
    last = dataset.offsets[1:] - 1
    long = np.flatnonzero(steps > limit)
    if len(long):
        text = f"{len(long)} episodes are longer than the time limit of {limit} steps, the first has {steps[long[0]]}"
        where = at(dataset, dataset.offsets[long[0]] + limit, "truncations")
        fix = "check the end flags or the environment's max_episode_steps"
        found.append(Fault("warn", "too_long", where, len(long), text, fix))
    cut = dataset.truncations[last] & (steps < limit - 1)  # a file without final observations has limit - 1 steps
    early = np.flatnonzero(cut[:-1])  # a log may stop anywhere in its last episode
    if len(early):
        text = (
            f"{len(early)} episodes are truncated before the limit of {limit} steps, the first after {steps[early[0]]}"
        )
        where = at(dataset, last[early[0]], "truncations")
        fix = "check whether these are terminations"
        found.append(Fault("warn", "timeout_early", where, len(early), text, fix))
    marked = np.flatnonzero(dataset.terminations[last] & (steps == limit))
    if len(marked) > 1 and not dataset.truncations.any():
        text = f"{len(marked)} episodes terminate exactly at the time limit of {limit} steps, none is truncated"
        where = at(dataset, last[marked[0]], "terminations")
        found.append(Fault("warn", "timeout_as_end", where, len(marked), text, "store time limits as truncations"))
    return found


def duplicates(dataset: Dataset) -> list[Fault]:
    """Episodes that occur twice. Those of fewer than `SHORT` steps are skipped."""
    seen: dict[bytes, int] = {}
    copies = []
    for e in np.flatnonzero(dataset.lengths >= SHORT).tolist():
        steps = slice(int(dataset.offsets[e]), int(dataset.offsets[e + 1]))
        digest = hashlib.sha1(
            dataset.observations[steps.start + e : steps.stop + e + 1].tobytes(), usedforsecurity=False
        )
        digest.update(dataset.actions[steps].tobytes())
        original = seen.setdefault(digest.digest(), e)
        if original != e:
            copies.append((e, original))
    if not copies:
        return []
    first, original = copies[0]
    text = f"{len(copies)} episodes are copies of others, episode {first} of episode {original}"
    where = at(dataset, int(dataset.offsets[first]), "observations")
    return [Fault("warn", "duplicate", where, len(copies), text, "check that the log was not joined twice")]


def left_out(dataset: Dataset) -> list[Fault]:
    """Rows that the reader left out, by the rule of the file's format."""
    count = int(dataset.provenance.get("left_out", 0))
    if not count:
        return []
    text = f"{count} rows have no next observation (time limits, the file's last row) and are left out, as D4RL does"
    rewards = int(dataset.provenance.get("left_out_rewards", 0))
    where = Where(column="next_observations")
    if not rewards:
        return [Fault("note", "left_out", where, count, text)]
    text += f"; {rewards} rewards other than 0 are on them"
    kept = int(np.count_nonzero(dataset.rewards))
    level: Level = "warn" if rewards > RARE * (kept + rewards) and kept < dataset.n_steps else "note"
    fix = "give next_observations, or keep the rows as true ends: --terminal-sessions True"
    if dataset.table is not None:
        fix = 'name next_observations in the roles, or keep the rows as true ends: last_row = "terminal"'
    return [Fault(level, "left_out", where, count, text, fix)]


EPISODES: tuple[Check, ...] = (flags, one_step_episodes, time_limits, duplicates, left_out)
