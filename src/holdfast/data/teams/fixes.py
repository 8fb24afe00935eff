"""Fixes of the logs of teams, see `data.checks.fixes`. In a joint log, all agents lose the same rows."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import numpy as np

from ..checks import fixes
from ..checks.dynamics import stray_starts
from ..dataset import Dataset
from .dataset import TeamDataset


def drop_nonfinite(team: TeamDataset) -> TeamDataset:
    """Drop the episodes that hold a NaN or infinite number; in a joint log, that of any agent.

    Raises:
        UserError: every episode of an agent holds one.
    """
    return _chosen(team, fixes.nonfinite_episodes, fixes.drop_episodes)


def drop_stray_starts(team: TeamDataset) -> TeamDataset:
    """Drop first rows whose observation belongs to another episode; in a joint log, the observation of any agent."""
    return _chosen(team, stray_starts, fixes.drop_first_rows)


def cut_at_flags(team: TeamDataset) -> TeamDataset:
    """End an episode at every flag."""
    return _each(team, lambda name, own: fixes.cut_at_flags(own))


def clip_actions(team: TeamDataset) -> TeamDataset:
    """Clip actions to the bounds of their Box. Discrete actions are not changed."""
    return _each(team, lambda name, own: fixes.clip_actions(own))


def _chosen(
    team: TeamDataset, find: Callable[[Dataset], np.ndarray], fix: Callable[[Dataset, np.ndarray], Dataset]
) -> TeamDataset:
    """A fix of the episodes that `find` chooses, [K] indices."""
    found = {name: find(own) for name, own in team.agents.items()}
    if team.joint:
        found = dict.fromkeys(found, functools.reduce(np.union1d, found.values()))
    return _each(team, lambda name, own: fix(own, found[name]))


def _each(team: TeamDataset, fix: Callable[[str, Dataset], Dataset]) -> TeamDataset:
    """A fix of every agent's log. `fix` takes the agent's name and log."""
    return dataclasses.replace(team, agents={name: fix(name, own) for name, own in team.agents.items()})
