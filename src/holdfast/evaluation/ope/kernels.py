"""Ratios of a deterministic policy of continuous actions: its actions are smoothed by a kernel.

Kallus, Zhou 2018 (arXiv:1802.06037). What is estimated is the value of the smoothed policy, which draws its actions
from the kernel around those of the policy, within the bounds. The variance grows with every step and dimension.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from scipy.stats import norm

Kernel = Literal["gaussian", "epanechnikov"]
MOST_STEPS = 3  # of an episode: beyond them the variance of a kernel has no use


def log_kernel(
    centre: np.ndarray, action: np.ndarray, low: np.ndarray, high: np.ndarray, width: float, kernel: Kernel = "gaussian"
) -> np.ndarray:
    """Log-density [N] of actions under the kernel around `centre`, cut to the box of actions and normalised there.

    Args:
        centre: [N, A] actions of the policy.
        action: [N, A] logged actions.
        low: [A] lower bounds.
        high: [A] upper bounds.
        width: half width h of the kernel, as a share of half the range of each dimension.
        kernel: gaussian, or epanechnikov (0 beyond h).
    """
    h = width * (high - low) / 2
    u = (action - centre) / h
    edges = ((low - centre) / h, (high - centre) / h)
    with np.errstate(divide="ignore"):
        if kernel == "gaussian":
            density = norm.logpdf(u)
            mass = norm.cdf(edges[1]) - norm.cdf(edges[0])
        else:
            density = np.log(np.where(np.abs(u) <= 1, 0.75 * (1 - u**2), 0.0))
            mass = _epanechnikov(edges[1]) - _epanechnikov(edges[0])
        return (density - np.log(h) - np.log(mass)).sum(1)


def draws(
    centre: np.ndarray, low: np.ndarray, high: np.ndarray, width: float, kernel: Kernel, count: int, seed: int
) -> np.ndarray:
    """Actions of the smoothed policy, [count, N, A]; arguments as in `log_kernel`."""
    h = width * (high - low) / 2
    edges = ((low - centre) / h, (high - centre) / h)
    uniform = np.random.default_rng(seed).uniform(size=(count, *centre.shape))
    distribution = norm.cdf if kernel == "gaussian" else _epanechnikov
    below = distribution(edges[0])
    share = below + uniform * (distribution(edges[1]) - below)
    found = norm.ppf(share) if kernel == "gaussian" else 2 * np.sin(np.arcsin(2 * share - 1) / 3)
    return np.clip(centre + h * found, low, high)


def _epanechnikov(u: np.ndarray) -> np.ndarray:
    """The distribution function of Epanechnikov's kernel."""
    inner = np.clip(u, -1, 1)
    return 0.5 + 0.75 * (inner - inner**3 / 3)
