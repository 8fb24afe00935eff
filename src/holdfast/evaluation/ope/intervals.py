"""Intervals of estimates. The unit is the episode, or a cluster of episodes of one user or day.

Bounds with a guarantee for finite n need known propensities and a range of returns that is known before the log is
seen.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.stats import norm
from scipy.stats import t as student

from ..statistics import LEVEL

RESAMPLES = 1000
FEWEST_FOR_BCA = 30  # units; fewer have no use for a correction of the skewness
MOST_FOR_BCA = 2000  # units: the correction leaves out each of them in turn

Statistic = Callable[[np.ndarray], np.ndarray]  # counts [B, n] -> values [B]


def unit_counts(cluster: np.ndarray | None, n: int, resamples: int, seed: int) -> np.ndarray:
    """How often each episode occurs in each resample, [B, n]: whole clusters are drawn with replacement.

    Args:
        cluster: [n] numbers of the clusters from 0; None: every episode is its own.
        n: number of episodes.
        resamples: B.
        seed: seed of the draws.
    """
    units = n if cluster is None else int(cluster.max()) + 1
    drawn = np.random.default_rng(seed).multinomial(units, np.full(units, 1 / units), resamples).astype(float)
    return drawn if cluster is None else drawn[:, cluster]


def percentile(drawn: np.ndarray, level: float = LEVEL) -> tuple[float, float]:
    """The percentile interval of a statistic in resamples, [B]."""
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def bca(
    statistic: Statistic, value: float, drawn: np.ndarray, cluster: np.ndarray | None, n: int, level: float = LEVEL
) -> tuple[float, float]:
    """The bias-corrected and accelerated bootstrap interval (Efron 1987, doi:10.1080/01621459.1987.10478410).

    It is the percentile interval if there are fewer than `FEWEST_FOR_BCA` or more than `MOST_FOR_BCA` units.

    Args:
        statistic: the estimator as a function of counts.
        value: the estimate.
        drawn: [B] the statistic in the resamples.
        cluster: [n] numbers of the clusters, or None.
        n: number of episodes.
        level: confidence level.
    """
    units = n if cluster is None else int(cluster.max()) + 1
    share = np.mean(drawn < value) + np.mean(drawn == value) / 2
    if not FEWEST_FOR_BCA <= units <= MOST_FOR_BCA or not 0 < share < 1:
        return percentile(drawn, level)
    without = 1 - np.eye(units)
    left = statistic(without if cluster is None else without[:, cluster])
    spread = left.mean() - left
    scale = np.sum(spread**2) ** 1.5
    acceleration = np.sum(spread**3) / (6 * scale) if scale > 0 else 0.0
    shift = norm.ppf(share)
    edges = norm.ppf([(1 - level) / 2, (1 + level) / 2])
    levels = norm.cdf(shift + (shift + edges) / (1 - acceleration * (shift + edges)))
    low, high = np.quantile(drawn, levels)
    return float(low), float(high)


def standard_error(influence: np.ndarray, cluster: np.ndarray | None = None, centred: bool = True) -> float:
    """The standard error of a mean of episodes, [n], or of a statistic with this influence of episodes.

    Args:
        influence: the terms of a mean, or n times the contribution of each episode to an error.
        cluster: [n] numbers of the clusters; None: episodes are independent.
        centred: subtract the mean and correct for one degree of freedom, as for the terms of a mean.
    """
    n = len(influence)
    values = influence - influence.mean() if centred else influence
    sums = values if cluster is None else np.bincount(cluster, values)
    correction = len(sums) / (len(sums) - 1) if centred and len(sums) > 1 else 1.0
    return float(np.sqrt(correction * np.sum(sums**2)) / n)


def t_interval(value: float, error: float, units: int, level: float = LEVEL) -> tuple[float, float]:
    """value +- t error, with Student's quantile of `units` - 1 degrees of freedom."""
    half = float(student.ppf((1 + level) / 2, max(units - 1, 1))) * error
    return value - half, value + half


def empirical_bernstein(terms: np.ndarray, low: float, high: float, error: float) -> float:
    """A lower bound of the mean of independent terms (Maurer, Pontil 2009, arXiv:0907.3740, theorem 4).

    Args:
        terms: [n].
        low: smallest possible term.
        high: largest possible term: for weighted returns the largest weight times the largest return.
        error: probability that the bound is above the mean.
    """
    n = len(terms)
    slack = np.log(2 / error)
    spread = np.sqrt(2 * terms.var(ddof=1) * slack / n)
    return float(terms.mean() - spread - 7 * (high - low) * slack / (3 * (n - 1)))


def hcope(terms: np.ndarray, cap: float, error: float) -> float:
    """The lower bound of Thomas, Theocharous, Ghavamzadeh 2015 for the mean of terms at least 0, cut to `cap`.

    Args:
        terms: [n] weighted returns.
        cap: chosen on other episodes.
        error: probability that the bound is above the mean.
    """
    return empirical_bernstein(np.minimum(terms, cap), 0.0, cap, error)


def betting(terms: np.ndarray, error: float, seed: int | None = 0) -> float:
    """A lower bound of the mean of independent terms at least 0, without an upper bound of the terms.

    Waudby-Smith, Ramdas 2020 (arXiv:2010.09686); for off-policy evaluation Karampatziakis et al. 2021
    (arXiv:2102.09540). The bound is the smallest m whose capital prod_i (1 + lam_i (X_i - m)) is below 1 / error; lam_i
    depends on earlier terms only.

    Args:
        terms: [n] weighted returns, with returns in [0, 1].
        error: probability that the bound is above the mean.
        seed: seed of the order of the terms; None: as they are.
    """
    x = terms if seed is None else np.random.default_rng(seed).permutation(terms)
    n = len(x)
    before = np.arange(1, n + 1)
    means = (0.5 + np.cumsum(x)) / (before + 1)
    variance = (0.25 + np.cumsum((x - means) ** 2)) / (before + 1)
    past = np.concatenate([[0.25], variance[:-1]])
    bet = np.sqrt(2 * np.log(1 / error) / (n * np.maximum(past, 1e-12)))

    def capital(m: float) -> float:
        return float(np.log1p(np.minimum(bet, 0.5 / m if m > 0 else np.inf) * (x - m)).sum())

    goal = np.log(1 / error)
    low = 0.0
    high = float(max(x.max(), 1e-12))
    if capital(low) < goal:
        return 0.0
    for _ in range(60):
        middle = (low + high) / 2
        if capital(middle) < goal:
            high = middle
        else:
            low = middle
    return low
