"""Checks of whether rows follow from one another: stray first observations, jumps, rewards one step off.

All three are guesses from the log's own statistics, set to speak rarely: they warn, they never refuse.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..arrays import take
from ..dataset import Dataset
from .faults import Fault, Where
from .values import at

STRAY = 4.0  # a first observation this many times further out than nine tenths of the others ...
SETTLED = 3.0  # ... whose successor is no further out than this among second observations
JUMP_FACTOR = 10.0  # a suspected jump is longer than this many times the 99th percentile of moves ...
BOUNDARY_FACTOR = 3.0  # ... or than this many times the median where it lands among first observations
FLOOR = 1e-2  # dimensions that hardly move count as if they moved by this share of the widest
SAMPLE = 20_000  # transitions that the check of shifted rewards looks at
SHIFTED_FIT = 0.8  # it speaks only where a shifted fit explains this share of the rewards' variance ...
SHIFTED_GAIN = 3.0  # ... and leaves this many times less unexplained than the fit in place


def stray_starts(dataset: Dataset) -> np.ndarray:
    """Episodes whose first observation seems to belong to another episode, [K] indices.

    It lies far outside the other first observations while the second lies among the second ones: what is left where
    vector environments reset on the step after an end.
    """
    if dataset.n_episodes < 10 or not dataset.observations.size:
        return np.zeros(0, np.int64)
    rows = dataset.offsets[:-1] + np.arange(dataset.n_episodes)
    std = dataset.observations.std(0, dtype=np.float64)
    far = []
    for shift in (0, 1):
        seen = take(dataset.observations, rows + shift)[:, std > 0] / std[std > 0]
        away = np.abs(seen - np.median(seen, 0))
        far.append((away / (np.quantile(away, 0.9, axis=0) + 1e-3)).max(1, initial=0.0))
    return np.flatnonzero((far[0] > STRAY) & (far[1] <= SETTLED))


def starts(dataset: Dataset) -> list[Fault]:
    """Episodes whose first observation belongs elsewhere."""
    found = stray_starts(dataset)
    if not len(found):
        return []
    text = f"{len(found)} episodes begin with an observation that belongs to another: it does not lead to their second"
    mend = "`holdfast data convert --drop-stray-starts` leaves those first rows out"
    where = at(dataset, int(dataset.offsets[found[0]]), "observations")
    return [Fault("warn", "stray_start", where, len(found), text, mend)]


def jumps(dataset: Dataset) -> list[Fault]:
    """Steps that no dynamics explains: probably the end of an episode that no flag marks.

    A step is measured by its largest move in any dimension, in standard deviations of that dimension. It is suspected
    where it is far longer than the 99th percentile; or long and landing, from outside, within the box of all first
    observations.
    """
    if dataset.n_steps < 100 or dataset.observations.shape[1] == 0:
        return []
    rows = dataset.observation_rows
    seen = dataset.observations.astype(np.float64)
    std = seen.std(0)
    seen = seen[:, std > 0] / np.maximum(std[std > 0], FLOOR * std.max())
    before, after = take(seen, rows), take(seen, rows + 1)
    move = np.abs(after - before).max(1, initial=0.0)
    strays = stray_starts(dataset)
    inner = np.ones(len(move), bool)
    inner[dataset.offsets[strays]] = False  # reported by themselves
    inner[dataset.offsets[1:] - 1] = False  # what follows a true end in D4RL's files is another episode
    typical, usual = np.median(move[inner]) if inner.any() else 0.0, np.quantile(move, 0.99)
    suspect = inner & (usual > 0) & (move > JUMP_FACTOR * usual)
    if dataset.n_episodes >= 5:
        first = np.delete(seen[dataset.offsets[:-1] + np.arange(dataset.n_episodes)], strays, axis=0)
        low, high = first.min(0), first.max(0)
        lands = ((after >= low) & (after <= high)).all(1) & ~((before >= low) & (before <= high)).all(1)
        suspect |= inner & lands & (move > np.maximum(BOUNDARY_FACTOR * typical, usual))
    found = np.flatnonzero(suspect)
    if not len(found):
        return []
    text = f"{len(found)} steps move observations further than the log's others, the first by {move[found[0]]:.3g} std"
    mend = "check that an episode does not end there unmarked"
    return [Fault("warn", "suspect_jump", at(dataset, found[0], "observations"), len(found), text, mend)]


def shifted_rewards(dataset: Dataset) -> list[Fault]:
    """Rewards that belong to the step before or after.

    A quadratic fit explains r[t] from (o, a, o') of the steps t - 1, t and t + 1. Where a neighbour explains it well
    and far better than the row itself, rewards are off by one. This speaks only where rewards depend on the action or
    on the move (a reward of the state alone fits two neighbouring rows alike), and it says nothing about sparse
    rewards.
    """
    span = dataset.timesteps
    left = np.repeat(dataset.lengths, dataset.lengths) - 1 - span
    rows = np.flatnonzero((span >= 1) & (left >= 1))
    if dataset.discrete or dataset.actions.ndim != 2 or np.ptp(dataset.rewards) == 0:
        return []
    if len(rows) > SAMPLE:
        rows = np.random.default_rng(0).choice(rows, SAMPLE, replace=False)
    width = 2 * (2 * dataset.observations.shape[1] + dataset.actions.shape[1]) + 1
    if len(rows) < 20 * width:
        return []
    target = dataset.rewards[rows]
    spread = float(target.var())
    if spread == 0:
        return []
    unexplained = {shift: _unexplained(dataset, rows + shift, target) / spread for shift in (-1, 0, 1)}
    best = min((-1, 1), key=lambda shift: unexplained[shift])
    if unexplained[best] > 1 - SHIFTED_FIT or unexplained[0] < SHIFTED_GAIN * unexplained[best]:
        return []
    text = (
        f"rewards fit the step {'before' if best < 0 else 'after'} theirs: {1 - unexplained[best]:.4f} of the variance "
        f"is explained there, {1 - unexplained[0]:.4f} in place"
    )
    mend = f"shift rewards by one row ({'later' if best > 0 else 'earlier'}) within episodes"
    return [Fault("warn", "shifted_rewards", Where(column="rewards"), dataset.n_steps, text, mend)]


def _unexplained(dataset: Dataset, rows: np.ndarray, target: np.ndarray) -> float:
    """Mean squared rest of a least-squares fit of `target` on constants, values and squares of (o, a, o') at `rows`."""
    at_rows = dataset.observation_rows[rows]
    parts = [take(dataset.observations, at_rows), dataset.actions[rows], take(dataset.observations, at_rows + 1)]
    x = np.concatenate([p.astype(np.float64) for p in parts], axis=1)
    x = (x - x.mean(0)) / np.where(x.std(0) > 0, x.std(0), 1.0)
    x = np.concatenate([np.ones((len(x), 1)), x, x * x], axis=1)
    weights = np.linalg.lstsq(x, target, rcond=None)[0]
    return float(np.mean((target - x @ weights) ** 2))


Check = Callable[[Dataset], list[Fault]]
DYNAMICS: tuple[Check, ...] = (starts, jumps, shifted_rewards)
