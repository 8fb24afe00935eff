"""Means, interquartile means, differences and their bootstrap intervals, in NumPy. Every draw is seeded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

RESAMPLES = 2000
LEVEL = 0.95
MOST_DRAWN = 10_000  # numbers; the mean of more is drawn from its normal limit, because resampling would take minutes
TRIMMED = 4  # fewest runs of which an interquartile mean leaves out one at each end


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
    return two_stage_interval(np.asarray(sample, np.float64)[None], seed, level, resamples)


def two_stage_interval(sample: np.ndarray, seed: int = 0, level: float = LEVEL, resamples: int = RESAMPLES) -> Estimate:
    """The mean of `sample` [R, E] and its bootstrap interval over replicas and episodes.

    Each resample draws R replicas, and E episodes within each of them. With one replica it equals `mean_interval`.
    """
    sample = np.asarray(sample, np.float64)
    rng = np.random.default_rng(seed)
    found = _two_stage(sample, _runs(sample, rng, resamples), rng, resamples)
    return estimate_of(float(sample.mean()), found, sample.size, level)


def average_name(runs: int) -> str:
    """Name of the average over `runs` runs: "IQM" from four runs, else "mean", since nothing could be left out."""
    return "IQM" if runs >= TRIMMED else "mean"


def average(returns: np.ndarray, seed: int = 0, level: float = LEVEL, resamples: int = RESAMPLES) -> Estimate:
    """The average that `average_name` names, with its interval.

    The IQM is over the mean returns of the runs, and its interval is over runs. The mean and its interval are over runs
    and episodes (`two_stage_interval`).

    Args:
        returns: returns [R, E] of R runs in E episodes each.
        seed: seed of the resampling.
        level: confidence level.
        resamples: number of resamples.
    """
    if average_name(len(returns)) == "IQM":
        return iqm_interval(returns.mean(1), seed, level, resamples)
    return two_stage_interval(returns, seed, level, resamples)


def difference(
    one: np.ndarray,
    other: np.ndarray,
    paired: bool = False,
    seed: int = 0,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
) -> Estimate:
    """The average of `one` minus the average of `other`, with its bootstrap interval.

    Both are IQMs if both have four runs, else both are means.

    Args:
        one: returns [R, E].
        other: returns [S, F].
        paired: draw the same runs of both, because row i of both has the same seed. Then R is S.
        seed: seed of the resampling.
        level: confidence level.
        resamples: number of resamples.
    """
    rng = np.random.default_rng(seed)
    samples = [np.asarray(one, np.float64), np.asarray(other, np.float64)]
    first = _runs(samples[0], rng, resamples)
    runs = [first, first if paired else _runs(samples[1], rng, resamples)]
    if average_name(min(map(len, samples))) == "IQM":
        values = [iqm(sample.mean(1)) for sample in samples]
        drawn = [_iqm(sample.mean(1)[rows]) for sample, rows in zip(samples, runs, strict=True)]
    else:
        values = [float(sample.mean()) for sample in samples]
        drawn = [_two_stage(sample, rows, rng, resamples) for sample, rows in zip(samples, runs, strict=True)]
    return estimate_of(values[0] - values[1], drawn[0] - drawn[1], max(sample.size for sample in samples), level)


def iqm(scores: np.ndarray) -> float:
    """The interquartile mean: the mean without the lowest and the highest quarter.

    As in rliable (`scipy.stats.trim_mean(x, 0.25)`), floor(n / 4) numbers are left out at each end.
    """
    return float(_iqm(np.asarray(scores, np.float64).reshape(1, -1))[0])


def iqm_interval(
    scores: np.ndarray | Sequence[np.ndarray], seed: int = 0, level: float = LEVEL, resamples: int = RESAMPLES
) -> Estimate:
    """IQM over runs and tasks with the stratified bootstrap interval of Agarwal et al. 2021 (arXiv:2108.13264).

    Args:
        scores: one score for each run (seed), [R], or an array [R] for each task; runs are resampled task by task.
        seed: seed of the resampling.
        level: confidence level.
        resamples: number of resamples.
    """
    tasks = [scores] if isinstance(scores, np.ndarray) else list(scores)
    drawn = stratified(tasks, np.random.default_rng(seed), resamples)
    return estimate_of(iqm(np.concatenate(tasks)), _iqm(drawn), drawn.shape[1], level)


def stratified(tasks: Sequence[np.ndarray], rng: np.random.Generator, resamples: int = RESAMPLES) -> np.ndarray:
    """Resamples [B, N] of the scores of all tasks, N in all: runs are drawn within each task.

    Args:
        tasks: scores [R] of the runs of each task.
        rng: generator of the draws.
        resamples: number of resamples B.
    """
    drawn = [np.asarray(task, np.float64)[rng.integers(0, len(task), (resamples, len(task)))] for task in tasks]
    return np.concatenate(drawn, 1)


def estimate_of(value: float, resampled: np.ndarray, count: int, level: float = LEVEL) -> Estimate:
    """A value with its percentile bootstrap interval.

    Args:
        value: the statistic of the sample.
        resampled: the statistic of each resample, [B].
        count: size of the sample; one number has no interval.
        level: confidence level.
    """
    if count < 2:
        return Estimate(value, None, None)
    low, high = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(value, float(low), float(high))


def _runs(sample: np.ndarray, rng: np.random.Generator, resamples: int) -> np.ndarray:
    """Indices [B, R] of the runs of each resample."""
    count = len(sample)
    return np.zeros((resamples, 1), np.int64) if count == 1 else rng.integers(0, count, (resamples, count, 1))[..., 0]


def _two_stage(sample: np.ndarray, runs: np.ndarray, rng: np.random.Generator, resamples: int) -> np.ndarray:
    """Means [B] of resamples that contain these runs, and episodes drawn within each of them."""
    count = sample.shape[1]
    if sample.size > MOST_DRAWN:
        means = sample.mean(1)[runs]
        errors = (sample.std(1) / np.sqrt(count))[runs]
        return rng.normal(means, errors).mean(1)
    episodes = rng.integers(0, count, (resamples, runs.shape[1], count))
    return sample[runs[..., None], episodes].mean((1, 2))


def _iqm(rows: np.ndarray) -> np.ndarray:
    cut = rows.shape[1] // 4
    return np.sort(rows, axis=1)[:, cut : rows.shape[1] - cut].mean(1)
