"""Means, interquartile means and their bootstrap intervals, in NumPy. Every draw is seeded."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

RESAMPLES = 2000
LEVEL = 0.95


class Estimate(NamedTuple):
    """A value and its interval. The bounds are None if there is only one number."""

    value: float
    low: float | None
    high: float | None

    def __str__(self) -> str:
        return f"{self.value:.1f}" if self.low is None else f"{self.value:.1f} [{self.low:.1f}, {self.high:.1f}]"


def mean_interval(sample: np.ndarray, seed: int = 0, level: float = LEVEL, resamples: int = RESAMPLES) -> Estimate:
    """The mean of `sample` [E] and its percentile bootstrap interval.

    Args:
        sample: independent numbers, for instance returns of episodes.
        seed: seed of the resampling.
        level: confidence level.
        resamples: number of resamples.
    """
    sample = np.asarray(sample, np.float64)
    draws = np.random.default_rng(seed).integers(0, len(sample), (resamples, len(sample)))
    return _estimate(float(sample.mean()), sample[draws].mean(1), len(sample), level)


def two_stage_interval(sample: np.ndarray, seed: int = 0, level: float = LEVEL, resamples: int = RESAMPLES) -> Estimate:
    """The mean of `sample` [R, E] and its bootstrap interval over replicas and episodes.

    Each resample draws R replicas, and E episodes within each of them. With one replica it equals `mean_interval`.
    """
    sample = np.asarray(sample, np.float64)
    rows, columns = sample.shape
    if rows == 1:
        return mean_interval(sample[0], seed, level, resamples)
    rng = np.random.default_rng(seed)
    replicas = rng.integers(0, rows, (resamples, rows, 1))
    episodes = rng.integers(0, columns, (resamples, rows, columns))
    return _estimate(float(sample.mean()), sample[replicas, episodes].mean((1, 2)), sample.size, level)


def iqm(scores: np.ndarray) -> float:
    """The interquartile mean: the mean without the lowest and the highest quarter.

    As in rliable (`scipy.stats.trim_mean(x, 0.25)`), floor(n / 4) numbers are left out at each end.
    """
    return float(_iqm(np.asarray(scores, np.float64).reshape(1, -1))[0])


def iqm_name(count: int) -> str:
    """What to call the IQM of so many numbers: "mean" if no number is left out, which needs at least four."""
    return "IQM" if count // 4 else "mean"


def iqm_interval(scores: np.ndarray, seed: int = 0, level: float = LEVEL, resamples: int = RESAMPLES) -> Estimate:
    """IQM over runs and tasks with the stratified bootstrap interval of Agarwal et al. 2021 (arXiv:2108.13264).

    Args:
        scores: one score for each run (seed), [R], or for each run and task, [R, M]; runs are resampled task by task.
        seed: seed of the resampling.
        level: confidence level.
        resamples: number of resamples.
    """
    scores = np.asarray(scores, np.float64)
    scores = scores[:, None] if scores.ndim == 1 else scores
    runs, tasks = scores.shape
    draws = np.random.default_rng(seed).integers(0, runs, (resamples, runs, tasks))
    resampled = scores[draws, np.arange(tasks)]
    return _estimate(iqm(scores), _iqm(resampled.reshape(resamples, -1)), runs, level)


def _iqm(rows: np.ndarray) -> np.ndarray:
    cut = rows.shape[1] // 4
    return np.sort(rows, axis=1)[:, cut : rows.shape[1] - cut].mean(1)


def _estimate(value: float, resampled: np.ndarray, count: int, level: float) -> Estimate:
    if count < 2:
        return Estimate(value, None, None)
    low, high = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(value, float(low), float(high))
