"""The whole distribution of the return of a policy: quantiles, the mean of the worst share, the chance of a low return.

Huang et al. 2021 (arXiv:2104.08977), Chandak et al. 2021 (arXiv:2104.12820). The weights are those of whole episodes.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from .log import Log, ratio


@dataclasses.dataclass(frozen=True, eq=False)
class Returns:
    """Distributions of returns on the same points: one for each of B resamples."""

    points: np.ndarray  # [n] returns, ascending
    cumulative: np.ndarray  # [B, n] P(G <= point)

    @property
    def mass(self) -> np.ndarray:
        """P(G = point), [B, n]."""
        return np.diff(self.cumulative, axis=1, prepend=0.0)

    def mean(self) -> np.ndarray:
        """[B]."""
        return self.mass @ self.points

    def variance(self) -> np.ndarray:
        """[B]."""
        return self.mass @ self.points**2 - self.mean() ** 2

    def quantile(self, level: float) -> np.ndarray:
        """The first point with P(G <= point) >= level, [B]."""
        return self.points[self._first(level)]

    def cvar(self, level: float) -> np.ndarray:
        """The mean of the worst share `level` of returns, [B]; the last point contributes the part that is missing."""
        at = self._first(level)
        rows = np.arange(len(at))
        before = np.concatenate([np.zeros((len(at), 1)), np.cumsum(self.mass * self.points, 1)], 1)[rows, at]
        below = np.where(at > 0, self.cumulative[rows, np.maximum(at - 1, 0)], 0.0)
        return (before + (level - below) * self.points[at]) / level

    def below(self, bound: float) -> np.ndarray:
        """P(G < bound), [B]."""
        at = np.searchsorted(self.points, bound, "left")
        return self.cumulative[:, at - 1] if at else np.zeros(len(self.cumulative))

    def at(self, bound: float) -> np.ndarray:
        """P(G <= bound), [B]."""
        count = np.searchsorted(self.points, bound, "right")
        return self.cumulative[:, count - 1] if count else np.zeros(len(self.cumulative))

    def _first(self, level: float) -> np.ndarray:
        reached = self.cumulative >= level - 1e-12
        return np.where(reached.any(1), reached.argmax(1), len(self.points) - 1)


def self_normalised(log: Log, counts: np.ndarray) -> Returns:
    """F(x) = sum_i w_i 1{G_i <= x} / sum_i w_i in each resample with these counts [B, n]."""
    order = np.argsort(log.returns, kind="stable")
    weight = counts[:, order] * log.scaled[order, -1]
    total = np.cumsum(weight, 1)
    return Returns(log.returns[order], ratio(total, np.broadcast_to(total[:, -1:], total.shape)))


def importance(log: Log, counts: np.ndarray) -> Returns:
    """F(x) = mean_i w_i 1{G_i <= x}, cut to [0, 1], in each resample with these counts [B, n].

    It is unbiased before the cut.
    """
    order = np.argsort(log.returns, kind="stable")
    total = np.cumsum(counts[:, order] * log.last_weight[order], 1) / counts.sum(1, keepdims=True)
    return Returns(log.returns[order], np.clip(total, 0, 1))


def of_quantiles(values: np.ndarray) -> Returns:
    """The mixture of distributions that are given by quantiles with equal masses, as quantile FQE has them.

    Args:
        values: [n, K] quantiles of the return from the first observation of n episodes.
    """
    points = np.sort(values.reshape(-1))
    return Returns(points, (np.arange(len(points)) + 1)[None] / len(points))
