"""Aggregates over runs and tasks as in Agarwal et al. 2021, "Deep RL at the Edge of the Statistical Precipice"
(arXiv:2108.13264): optimality gap, performance profile and probability of improvement.

The interquartile mean is in `statistics`. The definitions are those of the authors' library rliable, which is archived.
A comparison has one array of scores [R] for each task; the number of runs R may differ between tasks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .statistics import LEVEL, RESAMPLES, Estimate, estimate_of, stratified


def optimality_gap(tasks: Sequence[np.ndarray], target: float = 100.0, seed: int = 0) -> Estimate:
    """How far the scores fall short of `target`; scores above it count as `target` (section 4.3).

    Args:
        tasks: normalised scores [R] of each task.
        target: the score of a policy that needs no improvement; 100 is the expert's.
        seed: seed of the resampling.
    """

    def gap(scores: np.ndarray) -> np.ndarray:
        return target - np.minimum(scores, target).mean(-1)

    every = np.concatenate(tasks)
    drawn = stratified(tasks, np.random.default_rng(seed))
    return estimate_of(float(gap(every)), gap(drawn), len(every))


class Profile(NamedTuple):
    """A performance profile at T thresholds."""

    thresholds: np.ndarray  # [T]
    share: np.ndarray  # [T] of runs whose score is above the threshold
    low: np.ndarray  # [T] of the 95 % interval of `share`
    high: np.ndarray  # [T]


def performance_profile(tasks: Sequence[np.ndarray], thresholds: np.ndarray, seed: int = 0) -> Profile:
    """The share of runs whose score is above each threshold, over all tasks (section 4.2, the run-score distribution).

    Args:
        tasks: scores [R] of each task.
        thresholds: [T] ascending.
        seed: seed of the resampling.
    """
    every = np.concatenate(tasks)
    drawn = np.sort(stratified(tasks, np.random.default_rng(seed)), 1)
    shares = np.array([1 - np.searchsorted(row, thresholds, "right") / len(row) for row in drawn])  # [B, T]
    low, high = np.quantile(shares, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return Profile(thresholds, (every[:, None] > thresholds).mean(0), low, high)


def probability_of_improvement(
    one: Sequence[np.ndarray], other: Sequence[np.ndarray], seed: int = 0, resamples: int = RESAMPLES
) -> Estimate:
    """The probability that a run of `one` has a higher score than a run of `other`, averaged over tasks (equation 1).

    It is the Mann-Whitney U statistic divided by the number of pairs; an equal score counts one half.

    Args:
        one: scores [R] of each task.
        other: scores [S] of each task.
        seed: seed of the resampling.
        resamples: number of resamples.
    """
    rng = np.random.default_rng(seed)
    pairs = list(zip(one, other, strict=True))
    value = float(np.mean([_above(x[None], y[None])[0] for x, y in pairs]))
    drawn = [_above(stratified([x], rng, resamples), stratified([y], rng, resamples)) for x, y in pairs]
    return estimate_of(value, np.mean(drawn, 0), min(max(len(x), len(y)) for x, y in pairs))


def _above(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Shares [B] of the pairs of [B, R] and [B, S] in which the first is larger; an equal pair counts one half."""
    first = one[:, :, None]
    second = other[:, None, :]
    return ((first > second) + 0.5 * (first == second)).mean((1, 2))
