"""Linear fitted Q evaluation: values that are linear in features, fitted in closed form.

Without a horizon it is LSTDQ, with A = E phi (phi - gamma m phi')' + lam I; with a horizon T it is one regression for
each step, backwards from the last (Duan, Jia, Wang 2020, arXiv:2002.09516). It equals linear minimax weight learning
(Uehara, Huang, Jiang 2020, arXiv:1910.12809). Features: a table if observations are few, else random Fourier features
of normalised observations (and actions), with the observations themselves.
"""

from __future__ import annotations

import dataclasses
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from ...core.errors import UserError
from ...data.arrays import take
from ...data.dataset import Dataset
from .diagnostics import WORST_CONDITION
from .marginal import states_of
from .model_values import ModelValues, value_range
from .target import Target, index_of

FOLDS = 5
BLOCKS = 50  # groups of episodes; folds and resamples consist of them
REFITS = 100  # resamples
REFITS_OF_STEPS = 30  # resamples with a regression for each step
WIDTH = 300  # features
RIDGE = 1e-5  # share of the mean diagonal
ROWS = 8192  # rows at once
OTHER_WIDTHS = (0.5, 0.3)  # of waves of other features, which should give nearly the same value
LARGEST_SPREAD = 0.05  # of the values of different features, as a share of the range of returns
MOST_TABLE = 2000  # entries of a table of states and actions


@dataclasses.dataclass(frozen=True, eq=False)
class Features:
    """phi(s, a) of the logged steps, and its mean over the actions of the policy at every observation."""

    dataset: Dataset
    target: Target
    table: np.ndarray | None  # [M] numbers of states, if they are few
    width: int  # d
    waves: np.ndarray | None = None  # [inputs, D] frequencies
    phases: np.ndarray | None = None  # [D]

    @cached_property
    def starts(self) -> np.ndarray:
        """The observation row of each step, [N]."""
        return self.dataset.observation_rows

    @cached_property
    def actions(self) -> np.ndarray:
        """Logged actions: numbers from 0, [N], or [N, A] in [-1, 1]."""
        return index_of(self.dataset) if self.dataset.discrete else self._inside(self.dataset.actions)

    @property
    def crossed(self) -> bool:
        """Whether every discrete action has features of its own."""
        return self.dataset.spec.action <= 30

    def logged(self, rows: np.ndarray) -> np.ndarray:
        """phi(s, a) of some of the N steps, [n, d]."""
        at = self.starts[rows]
        if self.dataset.discrete:
            return self._discrete(at, np.eye(self.dataset.spec.action)[self.actions[rows]])
        return self._continuous(at, self.actions[rows])

    def expected(self, at: np.ndarray) -> np.ndarray:
        """E_{a ~ pi} phi(s, a) at some of the M observations, [n, d]."""
        if self.dataset.discrete:
            assert self.target.probabilities is not None
            return self._discrete(at, self.target.probabilities[at])
        assert self.target.actions is not None
        return np.mean([self._continuous(at, self._inside(one[at])) for one in self.target.actions], 0)

    def _discrete(self, at: np.ndarray, share: np.ndarray) -> np.ndarray:
        if self.table is not None:
            found = np.zeros((len(at), self.width))
            actions = share.shape[1]
            columns = self.table[at][:, None] * actions + np.arange(actions)
            np.put_along_axis(found, columns, share, 1)
            return found
        state = self._waves(self._observed(at))
        if self.crossed:
            return (state[:, :, None] * share[:, None]).reshape(len(at), -1)
        return np.concatenate([state, share], 1)

    def _continuous(self, at: np.ndarray, action: np.ndarray) -> np.ndarray:
        return self._waves(np.concatenate([self._observed(at), action], 1))

    def _waves(self, x: np.ndarray) -> np.ndarray:
        assert self.waves is not None
        wave = np.sqrt(2 / max(self.waves.shape[1], 1)) * np.cos(x @ self.waves + self.phases)
        return np.concatenate([np.ones((len(x), 1)), x, wave], 1)

    def _observed(self, at: np.ndarray) -> np.ndarray:
        mean, std = self.dataset.observation_moments
        return (take(self.dataset.observations, at).astype(np.float64) - mean) / (std + 1e-6)

    def _inside(self, action: np.ndarray) -> np.ndarray:
        space: Any = self.dataset.action_space
        middle = (np.asarray(space.high, np.float64) + space.low) / 2
        return (action - middle) / ((np.asarray(space.high, np.float64) - space.low) / 2)


def features_of(dataset: Dataset, target: Target, seed: int = 0, width: float = 1.0) -> Features:
    """The features of a log.

    Args:
        dataset: the log.
        target: the policy on it.
        seed: seed of the frequencies.
        width: length of a wave in units of the median distance of two rows.

    Raises:
        UserError: observations are images.
    """
    if dataset.images:
        raise UserError(f"{dataset.id} has images: a linear model needs vectors; use --model neural")
    actions = dataset.spec.action
    table = states_of(dataset.observations) if dataset.discrete else None
    if table is not None and (int(table.max()) + 1) * actions <= MOST_TABLE:
        return Features(dataset, target, table, (int(table.max()) + 1) * actions)
    rng = np.random.default_rng(seed)
    made = Features(dataset, target, None, 0)
    some = rng.choice(dataset.n_steps, min(500, dataset.n_steps), replace=False)
    x = made._observed(dataset.observation_rows[some])
    if not dataset.discrete:
        x = np.concatenate([x, made._inside(dataset.actions[some])], 1)
    crossed = dataset.discrete and made.crossed
    count = max(WIDTH // actions - 1 - x.shape[1], 0) if crossed else WIDTH
    apart = np.sqrt(np.square(x - x[rng.permutation(len(x))]).sum(1))
    scale = width * float(np.median(apart)) or 1.0
    waves = rng.normal(size=(x.shape[1], count)) / scale
    phases = rng.uniform(0, 2 * np.pi, count)
    each = 1 + x.shape[1] + count
    total = each * actions if crossed else each + actions if dataset.discrete else each
    return Features(dataset, target, None, total, waves, phases)


class Sums(NamedTuple):
    """Sums over the steps of each of K groups of episodes."""

    gram: np.ndarray  # [K, d, d] phi phi'
    moving: np.ndarray  # [K, d, d] the same without ends at the horizon, which say nothing about earlier steps
    cross: np.ndarray  # [K, d, d] phi (m phi_pi(s'))'
    reward: np.ndarray  # [K, d] phi r
    first: np.ndarray  # [K, d] phi_pi(s0), over episodes
    rows: np.ndarray  # [K] steps
    episodes: np.ndarray  # [K]
    returns: np.ndarray  # [K] sums of the logged returns

    def weighted(self, weights: np.ndarray) -> Sums:
        """The sums with these weights of the groups [K], without the axis K."""
        return Sums(*(np.tensordot(weights, part, 1) for part in self))


def sums_of(features: Features, group: np.ndarray, returns: np.ndarray, steps: int | None = None) -> Sums:
    """The sums of a log.

    Args:
        features: phi.
        group: [E] group of each episode, from 0.
        returns: [E] logged returns.
        steps: the horizon; None: infinite.
    """
    data = features.dataset
    count = int(group.max()) + 1
    d = features.width
    gram = np.zeros((count, d, d))
    moving = np.zeros((count, d, d))
    cross = np.zeros((count, d, d))
    reward = np.zeros((count, d))
    of_row = group[data.episode_of]
    at_horizon = data.terminations & (data.timesteps + 1 == steps) if steps is not None else None
    for k in range(count):
        inside = np.flatnonzero(of_row == k)
        for start in range(0, len(inside), ROWS):
            rows = inside[start : start + ROWS]
            phi = features.logged(rows)
            following = features.expected(features.starts[rows] + 1) * ~data.terminations[rows][:, None]
            gram[k] += phi.T @ phi
            if at_horizon is not None:
                inner = phi[~at_horizon[rows]]
                moving[k] += inner.T @ inner
            cross[k] += phi.T @ following
            reward[k] += phi.T @ data.rewards[rows]
    starts = data.offsets[:-1] + np.arange(data.n_episodes)
    first = features.expected(starts)
    member = np.eye(count)[group]
    episodes = member.sum(0)
    return Sums(
        gram,
        moving,
        cross,
        reward,
        member.T @ first,
        np.bincount(of_row, minlength=count),
        episodes,
        member.T @ returns,
    )


class Solution(NamedTuple):
    """theta: [1, d] without a horizon, else [T + 1, d], one for each step, 0 after the last."""

    theta: np.ndarray
    condition: float

    def at(self, time: np.ndarray) -> np.ndarray:
        """theta at steps [n], [n, d]."""
        return self.theta[np.minimum(time, len(self.theta) - 1)]


def solve(sums: Sums, discount: float, steps: int | None) -> Solution:
    """Fit the values on sums without the axis K.

    Args:
        sums: those of the steps to fit on.
        discount: gamma.
        steps: the horizon T; None: infinite.
    """
    n = max(float(sums.rows), 1.0)
    gram = sums.gram / n
    ridge = RIDGE * max(float(np.trace(gram)) / len(gram), 1e-12) * np.eye(len(gram))
    if steps is None:
        matrix = gram - discount * sums.cross / n + ridge
        return Solution(np.linalg.solve(matrix, sums.reward / n)[None], float(np.linalg.cond(matrix)))
    reward = np.linalg.solve(gram + ridge, sums.reward / n)
    move = discount * np.linalg.solve(sums.moving / n + ridge, sums.cross / n)
    theta = np.zeros((steps + 1, len(gram)))
    with np.errstate(over="ignore", invalid="ignore"):
        for t in reversed(range(steps)):
            theta[t] = reward + move @ theta[t + 1]
    return Solution(theta, float(np.linalg.cond(gram + ridge)))


def implied_weights(features: Features, sums: Sums, discount: float) -> np.ndarray:
    """w_i = phi0' A^-1 phi(s_i, a_i) of every step, [N]: the value of LSTDQ is mean w_i r_i.

    Args:
        features: phi.
        sums: those of all steps, without the axis K.
        discount: gamma, below 1.
    """
    n = float(sums.rows)
    gram = sums.gram / n
    ridge = RIDGE * max(float(np.trace(gram)) / len(gram), 1e-12) * np.eye(len(gram))
    matrix = gram - discount * sums.cross / n + ridge
    direction = np.linalg.solve(matrix.T, sums.first / float(sums.episodes))
    return features.logged(np.arange(features.dataset.n_steps)) @ direction


def linear_values(
    dataset: Dataset,
    target: Target,
    discount: float,
    steps: int | None,
    cluster: np.ndarray | None = None,
    seed: int = 0,
) -> ModelValues:
    """Fit the values of a policy on folds of episodes, and again on resamples of them.

    Args:
        dataset: the log.
        target: the policy on it.
        discount: gamma.
        steps: the horizon; None: infinite.
        cluster: [E] numbers of clusters from 0, which are never divided; None: every episode is its own.
        seed: seed of features, folds and resamples.

    Raises:
        UserError: images, or fewer clusters than folds.
    """
    rng = np.random.default_rng(seed)
    features = features_of(dataset, target, seed)
    unit = np.arange(dataset.n_episodes) if cluster is None else cluster
    units = int(unit.max()) + 1
    if units < FOLDS:
        raise UserError(f"{dataset.id} has {units} episodes or clusters: the values of a model need {FOLDS} of them")
    blocks = min(BLOCKS, units)
    group = (rng.permutation(units) % blocks)[unit]
    sums = sums_of(features, group, dataset.returns(discount), steps)
    fold = np.arange(blocks) % FOLDS
    low, high = value_range(dataset.rewards, discount, steps)
    q = np.empty(dataset.n_steps)
    v = np.empty(len(dataset.observations))
    solutions = [solve(sums.weighted((fold != k).astype(float)), discount, steps) for k in range(FOLDS)]
    of_row = fold[group][dataset.episode_of]
    of_seen = fold[group][np.repeat(np.arange(dataset.n_episodes), dataset.lengths + 1)]
    seen_time = np.arange(len(v)) - np.repeat(dataset.offsets[:-1] + np.arange(dataset.n_episodes), dataset.lengths + 1)
    for k, found in enumerate(solutions):
        for rows in _parts(np.flatnonzero(of_row == k)):
            q[rows] = (features.logged(rows) * found.at(dataset.timesteps[rows])).sum(1)
        for at in _parts(np.flatnonzero(of_seen == k)):
            v[at] = (features.expected(at) * found.at(seen_time[at])).sum(1)
    outside = float(np.mean((v < low) | (v > high))) if np.isfinite(v).all() else 1.0
    q = np.clip(np.nan_to_num(q), low, high)
    v = np.clip(np.nan_to_num(v), low, high)
    refits, logged = _refitted(sums, discount, steps, rng, (low, high))
    condition = max(found.condition for found in solutions)
    faults = [f"the linear model is badly conditioned ({condition:.1g}, at most {WORST_CONDITION:.0e})"]
    faults = faults if condition > WORST_CONDITION else []
    if outside > 0.05:
        faults.append(f"{outside:.0%} of the values of the linear model are outside of the possible range")
    spread = _spread(features, sums, discount, steps, seed, (low, high))
    if spread > LARGEST_SPREAD:
        faults.append(
            f"linear models with other features differ by {spread:.0%} of the range of returns: use --model neural"
        )
    following = v[dataset.observation_rows + 1] * ~dataset.terminations
    goal = dataset.rewards + discount * following
    facts = {
        "features": float(features.width),
        "condition": condition,
        "spread": spread,
        "bellman_error": float(np.square(goal - q).mean() / max(goal.var(), 1e-12)),
    }
    return ModelValues("linear", q, v, facts, tuple(faults), refits=refits, logged=logged)


def _spread(
    features: Features, sums: Sums, discount: float, steps: int | None, seed: int, bounds: tuple[float, float]
) -> float:
    """How much the values of models with other features differ, as a share of the range of returns; 0 for a table."""
    if features.table is not None:
        return 0.0
    dataset = features.dataset
    returns = dataset.returns(discount)
    whole = sums.weighted(np.ones(len(sums.rows)))
    values = [_value(whole, discount, steps, bounds)]
    one = np.zeros(dataset.n_episodes, int)
    for i, width in enumerate(OTHER_WIDTHS, 1):
        other = features_of(dataset, features.target, seed + i, width)
        values.append(_value(sums_of(other, one, returns, steps).weighted(np.ones(1)), discount, steps, bounds))
    return float(np.ptp(values) / max(float(np.ptp(returns)), 1e-12))


def _value(sums: Sums, discount: float, steps: int | None, bounds: tuple[float, float]) -> float:
    """The mean value at first observations of a model that is fitted on these sums, within `bounds`."""
    theta = solve(sums, discount, steps).theta[0]
    return float(np.clip(np.nan_to_num(sums.first @ theta / sums.episodes), *bounds))


def _refitted(
    sums: Sums, discount: float, steps: int | None, rng: np.random.Generator, bounds: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Values and mean logged returns of resamples of the groups, [R] each."""
    blocks = len(sums.rows)
    values, returns = [], []
    for _ in range(REFITS if steps is None else REFITS_OF_STEPS):
        drawn = sums.weighted(rng.multinomial(blocks, np.full(blocks, 1 / blocks)).astype(float))
        values.append(_value(drawn, discount, steps, bounds))
        returns.append(float(drawn.returns / drawn.episodes))
    return np.array(values), np.array(returns)


def _parts(rows: np.ndarray) -> list[np.ndarray]:
    return [rows[start : start + ROWS] for start in range(0, len(rows), ROWS)]
