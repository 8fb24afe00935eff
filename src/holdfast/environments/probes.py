"""Probes: tiny problems whose best policy and values are known exactly. Each one tests for one kind of mistake.

`get(name)` returns the problem, `collect` logs it as offline data, and its Gymnasium id is `holdfast/<name>-v0`.
Observations are float32; continuous actions are float32 in [-1, 1].
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypedDict

import numpy as np

from ..core.errors import unknown
from ..core.spec import Spec
from .tabular import Tabular, solve

Array = np.ndarray
Draw = np.random.Generator
Step = Callable[[Draw, Array, Array], tuple[Array, Array, Array]]


class Log(TypedDict):
    """N transitions in flat columns, as `Dataset.from_arrays` takes them."""

    observations: Array  # [N, d]
    actions: Array  # [N, A], or [N] int64 if discrete
    rewards: Array  # [N]
    terminations: Array  # [N] bool
    truncations: Array  # [N] bool
    next_observations: Array  # [N, d]


class Probe(NamedTuple):
    """A problem and its solution. All functions take and return n rows."""

    name: str
    checks: str  # the question that it answers about a learner
    spec: Spec
    start: Callable[[Draw, int], Array]  # (rng, n) -> obs [n, d]
    step: Step  # (rng, obs, action) -> next obs [n, d], reward [n], terminated [n]
    behave: Callable[[Draw, Array], Array]  # (rng, obs) -> action of the logging policy
    best: Callable[[Array], Array]  # obs -> the best of the actions in the data
    value: Callable[[Array, float], Array]  # (obs, discount) -> the best policy's value, without the time limit
    mdp: Tabular | None = None  # the problem as a finite MDP, if it is one
    support: Array | None = None  # [S, A] bool: the actions in its data
    features: Array | None = None  # [S, d] the observation of each state, mostly one-hot

    @property
    def time_limit(self) -> int:
        """Steps after which an episode is truncated."""
        return self.spec.horizon or 1

    @property
    def env_id(self) -> str:
        """Its id in Gymnasium, after `probe_env.register` has run (`make_env` calls it)."""
        return f"holdfast/{self.name}-v0"


def bandit() -> Probe:
    """One step, reward -|a - a*|^2 for every observation: can the policy find the best action of a critic?"""
    best = np.array([0.5, -0.25], np.float32)
    return _one_step("bandit", bandit, obs=1, draw=_constant, aim=lambda obs: np.tile(best, (len(obs), 1)))


def aim() -> Probe:
    """One step; the best action is 0.8 times the observation, reversed: does the policy read the observation?"""
    return _one_step("aim", aim, obs=2, draw=_uniform, aim=lambda obs: 0.8 * obs[:, ::-1])


def constant() -> Probe:
    """One state, reward 1, no end, truncated after 10 steps. V = 1 / (1 - discount): does the critic bootstrap?"""

    def step(rng: Draw, obs: Array, action: Array) -> tuple[Array, Array, Array]:
        return obs, np.ones(len(obs)), np.zeros(len(obs), bool)

    return _any_action("constant", constant, 1, 10, _constant, step, lambda obs, d: np.full(len(obs), 1 / (1 - d)))


def delayed() -> Probe:
    """Two steps, reward 1 after the second. V = (discount, 1): is value propagated back and discounted once?"""

    def start(rng: Draw, n: int) -> Array:
        return np.tile(np.array([1, 0], np.float32), (n, 1))

    def step(rng: Draw, obs: Array, action: Array) -> tuple[Array, Array, Array]:
        last = obs[:, 1] > 0
        return obs[:, ::-1].copy(), last.astype(float), last

    return _any_action("delayed", delayed, 2, 3, start, step, lambda obs, d: np.where(obs[:, 1] > 0, 1.0, d))


def limit() -> Probe:
    """Episodes of one step with reward 1: they end if the observation is 1 and are truncated if it is -1.

    V(1) = 1, V(-1) = 1 / (1 - discount): does a termination cut the bootstrap, and a time limit not?
    """

    def start(rng: Draw, n: int) -> Array:
        return rng.choice(np.array([-1, 1], np.float32), (n, 1))

    def step(rng: Draw, obs: Array, action: Array) -> tuple[Array, Array, Array]:
        return obs, np.ones(len(obs)), obs[:, 0] > 0

    return _any_action("limit", limit, 1, 1, start, step, lambda obs, d: np.where(obs[:, 0] > 0, 1.0, 1 / (1 - d)))


MARGIN = 0.25  # distance from the data at which the traps pay -5: no learner is more exact at the edge of its data


def trap() -> Probe:
    """One state without end. Reward 1 + a up to a = 0, 1 up to 0.25, -5 above; the data holds actions in [-1, 0] only.

    Best in the data: a = 0, V = 1 / (1 - discount). The reward rises toward actions that were never tried: does the
    learner bootstrap from actions outside the data?
    """

    def step(rng: Draw, obs: Array, action: Array) -> tuple[Array, Array, Array]:
        a = action[:, 0].astype(float)
        return obs, np.where(a <= MARGIN, 1 + np.minimum(a, 0), -5.0), np.zeros(len(obs), bool)

    made = _any_action("trap", trap, 1, 20, _constant, step, lambda obs, d: np.full(len(obs), 1 / (1 - d)))
    return made._replace(behave=lambda rng, obs: rng.uniform(-1, 0, (len(obs), 1)).astype(np.float32))


def runaway() -> Probe:
    """As `trap`, but a step pays 1 and continues with probability 1 + a, else it pays 0 and ends; beyond 0.25: -5, end.

    Q = (1 + a) (1 + discount V). Extrapolated to a = 1 and used as the next V, it is multiplied by 2 discount at every
    backup. A learner that bootstraps from actions that were never tried has no fixed point if the discount is above
    1/2: its values grow without bound. Best in the data: a = 0, V = 1 / (1 - discount).
    """

    def step(rng: Draw, obs: Array, action: Array) -> tuple[Array, Array, Array]:
        a = action[:, 0].astype(float)
        ended = (rng.random(len(obs)) > 1 + a) | (a > MARGIN)
        return obs, np.where(a > MARGIN, -5.0, ~ended), ended

    made = _any_action("runaway", runaway, 1, 20, _constant, step, lambda obs, d: np.full(len(obs), 1 / (1 - d)))
    return made._replace(behave=trap().behave)


def blind() -> Probe:
    """One state without end, four action dimensions. Reward 1 if all of them are within 0.3 of 0, else -5.

    The data holds actions within 0.1 of 0, all with the value 1 / (1 - discount), so it gives no gradient. The values
    of one critic outside the data depend on its initial weights, and a policy finds the highest of them: does an
    ensemble of critics prevent that?
    """

    def step(rng: Draw, obs: Array, action: Array) -> tuple[Array, Array, Array]:
        inside = np.abs(action).max(1) <= 0.3
        return obs, np.where(inside, 1.0, -5.0), np.zeros(len(obs), bool)

    made = _any_action("blind", blind, 1, 20, _constant, step, lambda obs, d: np.full(len(obs), 1 / (1 - d)))
    return made._replace(
        spec=made.spec._replace(action=4),
        behave=lambda rng, obs: rng.uniform(-0.1, 0.1, (len(obs), 4)).astype(np.float32),
        best=lambda obs: np.zeros((len(obs), 4), np.float32),
    )


def arms() -> Probe:
    """One step, three actions with rewards 0, 1 and 0.5: a discrete bandit."""
    transition = np.zeros((2, 3, 2))
    transition[:, :, 1] = 1
    reward = np.array([[0, 1, 0.5], [0, 0, 0]])
    mdp = Tabular(transition, reward, np.array([False, True]), np.array([1.0, 0]))
    return _tabular("arms", arms, mdp, np.full((2, 3), 1 / 3), 2)


def chain() -> Probe:
    """Five states in a row; left or right, one step in five goes the other way. The right end pays 1, the left one 0.1.

    Random transitions and two ends: does the critic average over the possible next states?
    """
    transition = np.zeros((5, 2, 5))
    reward = np.zeros((5, 2))
    for state in range(1, 4):
        for action, move in enumerate((-1, 1)):
            transition[state, action, state + move] += 0.8
            transition[state, action, state - move] += 0.2
    transition[[0, 4], :, [0, 4]] = 1
    reward[1] += 0.1 * transition[1, :, 0]
    reward[3] += transition[3, :, 4]
    ends = np.array([True, False, False, False, True])
    mdp = Tabular(transition, reward, ends, np.array([0, 1, 1, 1, 0]) / 3)
    return _tabular("chain", chain, mdp, np.full((5, 2), 0.5), 50)


def trap_discrete() -> Probe:
    """Eight states x in [-1, 1] that follow at random, no end, four actions. The discrete form of `trap`.

    Action 0 pays 0. Action k = 1, 2, 3 pays 1.6 + x - 0.1 k if x < 0, else -5. The data holds these actions for x < 0
    only: their value rises toward states in which they were never tried.
    """
    x = np.linspace(-1, 1, 8)[:, None]
    reward = np.concatenate([np.zeros((8, 1)), np.where(x < 0, 1.6 + x - 0.1 * np.arange(1, 4), -5.0)], 1)
    behaviour = np.where(x < 0, np.full(4, 0.25), np.eye(4)[0])
    mdp = Tabular(np.full((8, 4, 8), 1 / 8), reward, np.zeros(8, bool), np.full(8, 1 / 8))
    return _tabular("trap_discrete", trap_discrete, mdp, behaviour, 20, x)


def runaway_discrete() -> Probe:
    """Nine states: x in [-1, 1] as in `trap_discrete`, and an end. The discrete form of `runaway`.

    Action 0 pays 0 and ends. Action 1 pays p = 1 + 0.9 x if x < 0 and leads to x = 1 with probability p, else to the
    end; otherwise it pays -5 and ends. The data holds action 1 for x < 0 only. Extrapolated to x = 1, its value is
    multiplied by 1.9 discount at every backup.
    """
    x = np.linspace(-1, 1, 8)
    p = np.where(x < 0, 1 + 0.9 * x, 0)
    transition = np.zeros((9, 2, 9))
    reward = np.zeros((9, 2))
    transition[:, 0, 8] = 1
    transition[:8, 1, 7] = p
    transition[:, 1, 8] = np.append(1 - p, 1)
    reward[:8, 1] = np.where(x < 0, p, -5)
    behaviour = np.where(np.append(x, 0)[:, None] < 0, 0.5, np.eye(2)[0])
    mdp = Tabular(transition, reward, np.arange(9) == 8, np.append(np.full(8, 1 / 8), 0))
    features = np.stack([np.append(x, 0), np.eye(9)[8]], 1)
    return _tabular("runaway_discrete", runaway_discrete, mdp, behaviour, 20, features)


PROBES: dict[str, Callable[[], Probe]] = {
    f.__name__: f
    for f in (bandit, aim, constant, delayed, limit, trap, runaway, blind, arms, chain, trap_discrete, runaway_discrete)
}


def get(name: str) -> Probe:
    """The probe of that name.

    Raises:
        UserError: there is no such probe; the line suggests the nearest name.
    """
    if name not in PROBES:
        raise unknown("probe", name, PROBES)
    return PROBES[name]()


def collect(probe: Probe, episodes: int, seed: int = 0) -> Log:
    """Whole episodes of the logging policy, one after another, as the columns that `Dataset.from_arrays` takes."""
    rng = np.random.default_rng(seed)
    obs = probe.start(rng, episodes)
    alive = np.ones(episodes, bool)
    rows = []
    for t in range(probe.time_limit):
        action = probe.behave(rng, obs)
        following, reward, ended = probe.step(rng, obs, action)
        cut = ~ended & (t + 1 == probe.time_limit)
        rows.append((obs, action, reward, ended, cut, following, alive))
        obs = following
        alive = alive & ~ended
    *columns, played = (np.stack(column, 1) for column in zip(*rows, strict=True))  # [episodes, time, ...]
    observations, actions, rewards, terminations, truncations, next_observations = (x[played] for x in columns)
    return Log(
        observations=observations,
        actions=actions,
        rewards=rewards,
        terminations=terminations,
        truncations=truncations,
        next_observations=next_observations,
    )


def _constant(rng: Draw, n: int) -> Array:
    return np.ones((n, 1), np.float32)


def _uniform(rng: Draw, n: int) -> Array:
    return rng.uniform(-1, 1, (n, 2)).astype(np.float32)


def _anything(rng: Draw, obs: Array, dims: int) -> Array:
    return rng.uniform(-1, 1, (len(obs), dims)).astype(np.float32)


Make = Callable[[], "Probe"]  # the function that makes a probe; its docstring says what the probe checks
Start = Callable[[Draw, int], Array]


def _one_step(name: str, make: Make, *, obs: int, draw: Start, aim: Callable[[Array], Array]) -> Probe:
    def step(rng: Draw, seen: Array, action: Array) -> tuple[Array, Array, Array]:
        return seen, -np.square(action.astype(float) - aim(seen)).sum(1), np.ones(len(seen), bool)

    spec = Spec((obs,), 2, horizon=2)  # never reached: every episode ends after one step
    behave = lambda rng, seen: _anything(rng, seen, 2)  # noqa: E731
    return Probe(name, _checks(make), spec, draw, step, behave, aim, lambda seen, d: np.zeros(len(seen)))


def _any_action(
    name: str, make: Make, obs: int, limit: int, start: Start, step: Step, value: Callable[[Array, float], Array]
) -> Probe:
    behave = lambda rng, seen: _anything(rng, seen, 1)  # noqa: E731
    best = lambda seen: np.zeros((len(seen), 1), np.float32)  # noqa: E731
    return Probe(name, _checks(make), Spec((obs,), 1, horizon=limit), start, step, behave, best, value)


def _tabular(name: str, make: Make, mdp: Tabular, behaviour: Array, limit: int, features: Array | None = None) -> Probe:
    """A probe from a finite MDP and the probabilities [S, A] of its logging policy."""
    support = behaviour > 0
    seen = (np.eye(mdp.states) if features is None else features).astype(np.float32)

    def state_of(obs: Array) -> Array:
        return np.square(obs[:, None] - seen).sum(2).argmin(1)

    def pick(rng: Draw, weights: Array) -> Array:
        return (rng.random((len(weights), 1)) > weights.cumsum(1)[:, :-1]).sum(1)

    def step(rng: Draw, obs: Array, action: Array) -> tuple[Array, Array, Array]:
        state = state_of(obs)
        following = pick(rng, mdp.transition[state, action])
        return seen[following], mdp.reward[state, action], mdp.terminal[following]

    return Probe(
        name,
        _checks(make),
        Spec((seen.shape[1],), mdp.actions, discrete=True, horizon=limit),
        lambda rng, n: seen[pick(rng, np.tile(mdp.start, (n, 1)))],
        step,
        lambda rng, obs: pick(rng, behaviour[state_of(obs)]),
        lambda obs: solve(mdp, 0.99, support).policy[state_of(obs)].argmax(1),
        lambda obs, discount: solve(mdp, discount, support).v[state_of(obs)],
        mdp,
        support,
        seen,
    )


def _checks(make: Make) -> str:
    return " ".join((make.__doc__ or "").split())
