"""How well estimates order policies of known value.

Fu et al. 2021 (arXiv:2103.16596) for the error, the rank correlation and the regret; Kiyohara et al. 2024
(arXiv:2311.18207) for the ratio of gain and risk. `true` and `estimates` are [J], one for each policy.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import rankdata


def error(true: np.ndarray, estimates: np.ndarray) -> float:
    """The mean absolute error."""
    return float(np.abs(estimates - true).mean())


def rank_correlation(true: np.ndarray, estimates: np.ndarray) -> float:
    """Spearman's rank correlation with average ranks of ties; NaN if all values or all estimates are equal."""
    one = rankdata(true)
    other = rankdata(estimates)
    if one.std() == 0 or other.std() == 0:
        return float("nan")
    return float(np.corrcoef(one, other)[0, 1])


def top(estimates: np.ndarray, k: int) -> np.ndarray:
    """Numbers of the k policies with the highest estimates, [k]."""
    return np.argsort(-estimates, kind="stable")[:k]


def regret(true: np.ndarray, estimates: np.ndarray, k: int = 1) -> float:
    """The best value minus the best one among the k chosen policies, as a share of the range; NaN if all are equal."""
    spread = true.max() - true.min()
    if spread == 0:
        return float("nan")
    return float((true.max() - true[top(estimates, k)].max()) / spread)


def sharpe_ratio(true: np.ndarray, estimates: np.ndarray, logged: float, k: int) -> float:
    """(best of the k chosen - value of the log) / standard deviation of the k values (ddof 1); NaN if they are equal.

    Args:
        true: the values.
        estimates: their estimates.
        logged: the value of the policy that made the log.
        k: number of chosen policies, at least 2.
    """
    chosen = true[top(estimates, k)]
    spread = chosen.std(ddof=1) if len(chosen) > 1 else 0.0
    return float((chosen.max() - logged) / spread) if spread > 0 else float("nan")


def unsafe_accepted(true: np.ndarray, estimates: np.ndarray, bound: float) -> float:
    """P(estimate >= bound | value < bound); NaN if no value is below the bound."""
    unsafe = true < bound
    return float((estimates[unsafe] >= bound).mean()) if unsafe.any() else float("nan")


def safe_refused(true: np.ndarray, estimates: np.ndarray, bound: float) -> float:
    """P(estimate < bound | value >= bound); NaN if no value reaches the bound."""
    safe = true >= bound
    return float((estimates[safe] < bound).mean()) if safe.any() else float("nan")
