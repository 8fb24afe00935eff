"""Values that a model gives to the logged steps: what the direct method and the doubly robust estimators read."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np


class Doubt(NamedTuple):
    """An error of a model's mean first value that resamples of the episodes do not show."""

    what: str  # a sentence to which "by ..." is added
    amount: float  # at least 0, in raw rewards
    remedy: str


@dataclasses.dataclass(frozen=True, eq=False)
class ModelValues:
    """Values of the evaluated policy; each episode has those of a model that was fitted on other episodes."""

    name: str
    q: np.ndarray  # [N] Q(s_t, a_t)
    v: np.ndarray  # [M] V(s_t), also of last observations
    facts: dict[str, float]  # held-out Bellman error as a share of that of a constant, ...
    faults: tuple[str, ...] = ()  # why the model has no use
    warnings: tuple[str, ...] = ()  # what a reader of its values must know
    refits: np.ndarray | None = None  # [R] values of models that were fitted on resampled episodes
    logged: np.ndarray | None = None  # [R] mean logged return of the same resamples
    quantiles: np.ndarray | None = None  # [E, K] quantiles of the return from the first observations
    doubts: tuple[Doubt, ...] = ()  # errors of the mean first value that the resamples do not show


def value_range(rewards: np.ndarray, discount: float, steps: int | None) -> tuple[float, float]:
    """The smallest and largest value that is possible with rewards in this range, widened by 10 %.

    Args:
        rewards: logged rewards.
        discount: gamma, below 1 if there is no horizon.
        steps: the horizon; None: infinite.
    """
    if steps is None:
        length = 1 / (1 - discount)
    else:
        length = steps if discount == 1 else (1 - discount**steps) / (1 - discount)
    # an episode may end early, so that 0 is always possible
    low = min(float(rewards.min()), 0.0) * length
    high = max(float(rewards.max()), 0.0) * length
    wide = 0.1 * (high - low)
    return low - wide, high + wide
