"""Ratios of the discounted visits of a policy to those of the log (DICE), and the value that follows from them.

Nachum, Chow, Dai, Li 2019 (arXiv:1906.04733); Yang et al. 2020 (arXiv:2007.03438). The value is E[zeta r] / E[zeta],
divided by 1 - gamma. After a true end comes an absorbing state without reward, which has a ratio too.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from ...data.dataset import Dataset
from .log import Log, ratio


@dataclasses.dataclass(frozen=True, eq=False)
class Ratios:
    """Ratios of the visits of the evaluated policy to those of the log."""

    name: str
    ratio: np.ndarray  # [N] of the logged steps
    end: float  # of the absorbing state
    facts: dict[str, float]
    faults: tuple[str, ...] = ()  # why the ratios have no use


def sums(dataset: Dataset, ratios: Ratios) -> tuple[np.ndarray, np.ndarray]:
    """The sums of zeta r and of zeta over the steps of each episode and its absorbing state: [n] each."""
    first = dataset.offsets[:-1]
    mass = np.add.reduceat(ratios.ratio + ratios.end * dataset.terminations, first)
    return np.add.reduceat(ratios.ratio * dataset.rewards, first), mass


def value(log: Log, counts: np.ndarray) -> np.ndarray:
    """The value in the resamples with these counts [B, n]: [B]."""
    assert log.visits is not None
    paid, mass = log.visits
    return ratio(counts @ paid, counts @ mass) / (1 - log.discount)
