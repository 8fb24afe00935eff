"""Fixes that the user requests by name. Each returns a new data set and records in its provenance what it changed."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ...core.errors import UserError
from ..arrays import OBSERVATION_COLUMNS, last_rows, take
from ..dataset import Dataset
from .values import number_columns, per_observation

FIXES = "mended"  # the key in saved data sets; version 0.1.0 wrote it, and its files can still be read


def drop_nonfinite(dataset: Dataset) -> Dataset:
    """Drop the episodes that hold a NaN or infinite number.

    Raises:
        UserError: every episode holds one.
    """
    return drop_episodes(dataset, nonfinite_episodes(dataset))


def nonfinite_episodes(dataset: Dataset) -> np.ndarray:
    """Episodes that hold a NaN or infinite number: [K] indices."""
    bad = np.zeros(dataset.n_episodes, bool)
    episode_of_row = np.repeat(np.arange(dataset.n_episodes), dataset.lengths + 1)
    for name, column in number_columns(dataset).items():
        wrong = ~np.isfinite(column.reshape(len(column), -1)).all(1)
        bad[(episode_of_row if per_observation(name) else dataset.episode_of)[wrong]] = True
    return np.flatnonzero(bad)


def drop_episodes(dataset: Dataset, episodes: np.ndarray) -> Dataset:
    """Drop the episodes that `nonfinite_episodes` found, [K] indices.

    Raises:
        UserError: these are all episodes.
    """
    if len(episodes) == dataset.n_episodes:
        raise UserError(f"{dataset.id}: every episode holds NaN or infinite numbers; none would be left")
    left = np.setdiff1d(np.arange(dataset.n_episodes), episodes)
    return _noted(dataset.select(left), drop_nonfinite=len(episodes))


def cut_at_flags(dataset: Dataset) -> Dataset:
    """End an episode at every flag. The observation after a flag closes one episode and opens the next."""
    last = last_rows(dataset.offsets)
    rows = dataset.observation_rows
    per_step = {k: v[rows] if k in OBSERVATION_COLUMNS else v for k, v in dataset.columns.items()}
    cut = Dataset.from_arrays(
        take(dataset.observations, rows),
        dataset.actions,
        dataset.rewards,
        dataset.terminations,
        dataset.truncations | (last & ~dataset.terminations),
        take(dataset.observations, rows + 1),
        observation_space=dataset.observation_space,
        action_space=dataset.action_space,
        columns=per_step,
        id=dataset.id,
        env_spec=dataset.env_spec,
        reference=dataset.reference,
        provenance=dataset.provenance,
    )
    return _noted(cut, cut_at_flags=cut.n_episodes - dataset.n_episodes)


def drop_first_rows(dataset: Dataset, episodes: ArrayLike) -> Dataset:
    """Drop the first transition and observation of some episodes; episodes of one step are dropped as a whole.

    Args:
        dataset: the data set.
        episodes: their indices, [K].
    """
    chosen = np.asarray(episodes, np.int64)
    whole = np.setdiff1d(np.arange(dataset.n_episodes), chosen[dataset.lengths[chosen] == 1])
    chosen = np.flatnonzero(np.isin(whole, chosen))
    data = dataset if len(whole) == dataset.n_episodes else dataset.select(whole)
    starts = data.offsets[chosen]
    steps = np.delete(np.arange(data.n_steps), starts)
    rows = np.delete(np.arange(len(data.observations)), starts + chosen)
    lengths = data.lengths.copy()
    lengths[chosen] -= 1
    shorter = dataclasses.replace(
        data,
        observations=take(data.observations, rows),
        **{k: getattr(data, k)[steps] for k in ("actions", "rewards", "terminations", "truncations")},
        offsets=np.append(0, np.cumsum(lengths)),
        columns={k: v[rows if k in OBSERVATION_COLUMNS else steps] for k, v in data.columns.items()},
    )
    return _noted(shorter, drop_first_rows=len(np.asarray(episodes)))


def clip_actions(dataset: Dataset) -> Dataset:
    """Clip actions to the bounds of their Box. Discrete actions are not changed."""
    if dataset.discrete:
        return dataset
    space: Any = dataset.action_space
    clipped = np.clip(dataset.actions, space.low, space.high).astype(dataset.actions.dtype)
    changed = int((clipped != dataset.actions).any(1).sum())
    return _noted(dataclasses.replace(dataset, actions=clipped), clip_actions=changed)


def _noted(dataset: Dataset, **counts: int) -> Dataset:
    """The data set with the number of rows or episodes that a fix changed in its provenance."""
    fixes = {**dataset.provenance.get(FIXES, {}), **counts}
    return dataclasses.replace(dataset, provenance={**dataset.provenance, FIXES: fixes})
