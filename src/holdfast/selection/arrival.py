"""How much of a value a soft target network can contain after some updates, and how fast it has to follow.

An update moves the target by a share p towards the critic: Qbar <- (1 - p) Qbar + p Q. The critic fits the reward plus
the discounted Qbar of the next step. If it fits at once, the target after u updates is the value of the first B steps,
averaged over B ~ Binomial(u, p): every update adds a step with probability p. The rewards of later steps are missing.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import binom

RATES = (0.05, 0.1, 0.2)  # p of the presets `tuned_fast`, and faster ones for long horizons
ARRIVING = 2 / 3  # share of the updates in which the value should arrive; in the others it settles
FINE = 0.01  # missing share that needs no warning
MOST = 0.05  # missing share from which a value is refused


def missing_share(updates: int, rate: float, discount: float, horizon: int | None) -> float:
    """The share of a constant reward's value that the target lacks at the first step.

    It is sum_j gamma^j P(B <= j) / sum_j gamma^j over the steps j of the horizon, and E[gamma^B] without a horizon.

    Args:
        updates: number of updates u.
        rate: p, the share by which an update moves the target.
        discount: gamma, below 1 if there is no horizon.
        horizon: steps of an episode; None: no horizon.
    """
    if horizon is None:
        return float((1 - rate * (1 - discount)) ** updates)
    steps = np.arange(horizon)
    weight = discount**steps
    return float(weight @ binom.cdf(steps, updates, rate) / weight.sum())


def rate_for(updates: int, discount: float, horizon: int | None) -> float:
    """The slowest of `RATES` with which the value arrives in two thirds of the updates, or the fastest if none does.

    A slow target averages over more updates, so that the values are less noisy.
    """
    for rate in RATES:
        if missing_share(int(ARRIVING * updates), rate, discount, horizon) <= FINE:
            return rate
    return RATES[-1]


def fewest_updates(discount: float, horizon: int | None) -> int:
    """The smallest number of updates after which the whole value can have arrived, with the fastest of `RATES`."""
    low = 0
    high = 1
    while missing_share(high, RATES[-1], discount, horizon) > FINE:
        low = high
        high *= 2
    while high - low > 1:
        middle = (low + high) // 2
        if missing_share(middle, RATES[-1], discount, horizon) > FINE:
            low = middle
        else:
            high = middle
    return high
