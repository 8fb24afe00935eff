"""Mends that a person asks for by name; each gives a new data set and says in its provenance what was done."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from ...core.errors import UserError
from ..arrays import OBSERVATION_COLUMNS, take
from ..dataset import Dataset


def drop_nonfinite(dataset: Dataset) -> Dataset:
    """Without the episodes in which any number is NaN or infinite.

    Raises:
        UserError: no episode is left.
    """
    bad = np.zeros(dataset.n_episodes, bool)
    episode_of_row = np.repeat(np.arange(dataset.n_episodes), dataset.lengths + 1)
    named = {"observations": dataset.observations, "actions": dataset.actions, "rewards": dataset.rewards}
    for name, column in {**named, **dataset.columns}.items():
        wrong = ~np.isfinite(column.reshape(len(column), -1)).all(1)
        per_observation = name == "observations" or name in OBSERVATION_COLUMNS
        bad[(episode_of_row if per_observation else dataset.episode_of)[wrong]] = True
    if bad.all():
        raise UserError(f"{dataset.id}: every episode holds NaN or infinite numbers; none would be left")
    return _noted(dataset.select(~bad), drop_nonfinite=int(bad.sum()))


def cut_at_flags(dataset: Dataset) -> Dataset:
    """With an episode's end at every flag. The observation after a flag closes one episode and opens the next."""
    last = np.zeros(dataset.n_steps, bool)
    last[dataset.offsets[1:] - 1] = True
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


def drop_first_rows(dataset: Dataset, episodes: Any) -> Dataset:
    """Without the first transition (and observation) of some episodes `[K]`; those of one step are left out whole."""
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
    """With actions clipped to their bounds; discrete ones are left alone."""
    if dataset.discrete:
        return dataset
    low, high = dataset.action_space.low, dataset.action_space.high  # type: ignore[union-attr]
    clipped = np.clip(dataset.actions, low, high).astype(dataset.actions.dtype)
    changed = int((clipped != dataset.actions).any(1).sum())
    return _noted(dataclasses.replace(dataset, actions=clipped), clip_actions=changed)


def _noted(dataset: Dataset, **counts: int) -> Dataset:
    """With the mend and how many rows or episodes it touched in `provenance["mended"]`."""
    mended = {**dataset.provenance.get("mended", {}), **counts}
    return dataclasses.replace(dataset, provenance={**dataset.provenance, "mended": mended})
