"""Smaller ratios: less variance for some bias, and the choice of how much.

Optimistic and pessimistic: Su et al. 2020 (arXiv:1907.09623). Switch: Wang et al. 2017 (arXiv:1612.01205).
Sub-Gaussian: Metelli et al. 2021. The ratio of every step shrinks inside the recursion of the doubly robust estimator,
where the value of the model keeps its full weight: X_t = V + f(rho_t) (r + gamma X_{t+1} - Q).
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np

from .doubly_robust import dr_terms
from .log import Log

Kind = Literal["optimistic", "pessimistic", "switch", "subgaussian"]
GRID = 20  # values to choose from
ERROR = 0.05  # of the bound of the bias


def shrunk_ratio(log_ratio: np.ndarray, kind: Kind, amount: float | np.ndarray) -> np.ndarray:
    """log f(rho), in the shape of `log_ratio`.

    Args:
        log_ratio: log rho.
        kind: optimistic: lam rho / (rho^2 + lam). pessimistic: min(rho, lam). switch: rho where rho is at most lam,
            else 0. subgaussian: rho / (1 - lam + lam rho), lam in [0, 1].
        amount: lam; an array must broadcast.
    """
    with np.errstate(divide="ignore"):
        log_lam = np.log(amount)
        if kind == "optimistic":
            return log_lam + log_ratio - np.logaddexp(2 * log_ratio, log_lam)
        if kind == "pessimistic":
            return np.minimum(log_ratio, log_lam)
        if kind == "switch":
            return np.where(log_ratio <= log_lam + 1e-12, log_ratio, -np.inf)
        return log_ratio - np.logaddexp(np.log1p(-np.asarray(amount)), log_lam + log_ratio)


def shrunk(log: Log, kind: Kind, amount: float | np.ndarray) -> Log:
    """The log with smaller ratios.

    Args:
        log: the episodes, with ratios.
        kind: how they shrink, see `shrunk_ratio`.
        amount: lam, one number or one for each episode [n].
    """
    assert log.log_ratio is not None
    each = np.reshape(amount, (-1, 1)) if np.ndim(amount) else amount
    return dataclasses.replace(log, log_ratio=np.where(log.alive, shrunk_ratio(log.log_ratio, kind, each), 0.0))


def chosen(log: Log, kind: Kind, spread: float) -> Log:
    """The log with ratios that shrink by the amount with the smallest bound of the squared error.

    Each half of the episodes takes the amount that was chosen on the other half.

    Args:
        log: the episodes, with ratios and a model.
        kind: how the ratios shrink.
        spread: range of the returns, the unit of the bound.
    """
    assert log.log_ratio is not None
    ratios = np.exp(log.log_ratio[log.alive & np.isfinite(log.log_ratio)])
    grid = np.unique(np.quantile(ratios, np.linspace(0.5, 1, GRID))) if len(ratios) else np.ones(1)
    grid = grid**2 if kind == "optimistic" else np.linspace(0, 1, GRID) if kind == "subgaussian" else grid
    half = np.arange(log.n) % 2
    full = dr_terms(log)
    terms = np.stack([dr_terms(shrunk(log, kind, amount)) for amount in grid])
    amounts = np.empty(log.n)
    for own in (0, 1):
        other = half != own
        errors = [_error(full[other], one[other], log.last_weight[other], spread) for one in terms]
        amounts[half == own] = grid[int(np.argmin(errors))]
    return shrunk(log, kind, amounts)


def _error(full: np.ndarray, terms: np.ndarray, weight: np.ndarray, spread: float) -> float:
    """The bound of the squared bias plus the variance; `full` are the terms with whole ratios."""
    n = max(len(full), 2)
    slack = np.log(2 / ERROR)
    bound = np.sqrt(2 * np.mean(weight**2) * slack / n) + 2 * weight.max(initial=0) * slack / (3 * n)
    bias = abs(np.mean(full - terms)) + spread * bound * float(np.any(full != terms))
    return float(bias**2 + np.var(terms, ddof=1) / n)
