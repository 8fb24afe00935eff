"""Logged episodes as padded arrays: what every estimator of a policy's value reads.

Shapes: n episodes, T steps of the longest one. After a true end the reward is 0 and the weight keeps its last value:
the end is an absorbing state in which both policies do the same. After a cut (a time limit of the log before the
horizon of the target) nothing is known, and the episode leaves the averages over that step.
"""

from __future__ import annotations

import dataclasses
from functools import cached_property

import numpy as np

from ...core.errors import UserError


@dataclasses.dataclass(frozen=True, eq=False)
class Log:
    """n episodes of at most T steps, with the ratios of two policies and the values of a model, if they are known."""

    reward: np.ndarray  # [n, T] raw, 0 after the last step
    lengths: np.ndarray  # [n] steps
    discount: float
    cut: np.ndarray  # [n] booleans: the episode stops before the horizon of the target, without a true end
    log_ratio: np.ndarray | None = None  # [n, T] log pi(a|s) - log mu(a|s), 0 after the last step
    q: np.ndarray | None = None  # [n, T] Q(s_t, a_t) of a model that was not fitted on the episode, 0 after the end
    v: np.ndarray | None = None  # [n, T + 1] V(s_t) of it; 0 after a true end, V(s_L) at a cut, then 0
    visits: tuple[np.ndarray, np.ndarray] | None = None  # [n] sums of zeta r and of zeta, see `visits`
    cluster: np.ndarray | None = None  # [n] numbers of users or days, from 0; None: every episode is its own

    @property
    def n(self) -> int:
        return len(self.reward)

    @property
    def steps(self) -> int:
        """T, the steps of the longest episode."""
        return self.reward.shape[1]

    @cached_property
    def powers(self) -> np.ndarray:
        """discount^t for t = 0 .. T, [T + 1]."""
        return self.discount ** np.arange(self.steps + 1)

    @cached_property
    def alive(self) -> np.ndarray:
        """Which steps exist, [n, T]."""
        return np.arange(self.steps) < self.lengths[:, None]

    @cached_property
    def counted(self) -> np.ndarray:
        """Which episodes count at each step, [n, T]: all except those that were cut before."""
        return self.alive | ~self.cut[:, None]

    @cached_property
    def returns(self) -> np.ndarray:
        """The discounted return of each episode, [n]."""
        return self.reward @ self.powers[:-1]

    @cached_property
    def log_weight(self) -> np.ndarray:
        """log w_t = sum of the log-ratios up to t, [n, T]; -inf if an action has the probability 0 under the policy.

        Raises:
            UserError: the ratios are not known.
        """
        if self.log_ratio is None:
            raise UserError("importance weights need the probabilities of the logged actions: they are not known")
        return np.cumsum(np.where(self.alive, self.log_ratio, 0.0), 1)

    @cached_property
    def weight(self) -> np.ndarray:
        """w_t, [n, T]."""
        with np.errstate(over="ignore"):
            return np.exp(self.log_weight)

    @cached_property
    def last_weight(self) -> np.ndarray:
        """The weight of each whole episode, [n]."""
        return self.weight[:, -1]

    @cached_property
    def before(self) -> np.ndarray:
        """w_{t-1} for t = 0 .. T, [n, T + 1]; w_{-1} = 1."""
        return np.concatenate([np.ones((self.n, 1)), self.weight], 1)

    @cached_property
    def scaled(self) -> np.ndarray:
        """w_t divided by its largest value at each step, 0 for episodes that do not count there, [n, T]."""
        inside = np.where(self.counted, self.log_weight, -np.inf)
        top = inside.max(0, initial=-np.inf)
        return np.exp(inside - np.where(np.isfinite(top), top, 0.0))

    def with_steps(self, steps: int) -> Log:
        """The first steps of every episode: the same estimators then give the value of these steps."""
        lengths = np.minimum(self.lengths, steps)
        return dataclasses.replace(
            self,
            reward=self.reward[:, :steps],
            lengths=lengths,
            cut=self.cut & (self.lengths < steps),
            log_ratio=None if self.log_ratio is None else self.log_ratio[:, :steps],
            q=None,
            v=None,
            visits=None,
        )


def padded(column: np.ndarray, offsets: np.ndarray, steps: int) -> np.ndarray:
    """A column with one value a step, [N], as [n, T] with zeros after the last step.

    Args:
        column: the values.
        offsets: episode e has the rows offsets[e] to offsets[e + 1].
        steps: T; later steps are left out.
    """
    lengths = np.diff(offsets)
    found = np.zeros((len(lengths), steps))
    time = np.arange(len(column)) - np.repeat(offsets[:-1], lengths)
    inside = time < steps
    found[np.repeat(np.arange(len(lengths)), lengths)[inside], time[inside]] = column[inside]
    return found


def mean(counts: np.ndarray, terms: np.ndarray) -> np.ndarray:
    """Means [B] of the terms [n] of the episodes in the resamples with these counts [B, n]."""
    return counts @ terms / counts.sum(1)


def ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """The quotient, 0 where the denominator is 0: all weights are then 0, and `diagnostics` refuses the estimate."""
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0)
