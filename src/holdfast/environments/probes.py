"""Probes: tiny problems whose best policy and values are known exactly; each checks one thing that may go wrong.

`get(name)` gives the problem, `collect` logs it as offline data, and Gymnasium knows it as `holdfast/<name>-v0`.
Observations are float32, continuous actions float32 in [-1, 1].
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ..core.errors import unknown
from ..core.spec import Spec
from .tabular import Tabular, solve

Array = np.ndarray
Draw = np.random.Generator


class Probe(NamedTuple):
    """A problem and its answer. All functions take and give n rows."""

    name: str
    checks: str  # what a learner gets wrong where it fails
    spec: Spec
    start: Callable[[Draw, int], Array]  # (rng, n) -> obs [n, d]
    step: Callable[
        [Draw, Array, Array], tuple[Array, Array, Array]
    ]  # (rng, obs, action) -> next obs, reward, terminated
    behave: Callable[[Draw, Array], Array]  # (rng, obs) -> action: the logging policy
    best: Callable[[Array], Array]  # obs -> action: the best of those in the data
    value: Callable[[Array, float], Array]  # (obs, discount) -> the best policy's value; a time limit is no end
    mdp: Tabular | None = None  # where it is finite
    support: Array | None = None  # [S, A] booleans: the actions in its data
    features: Array | None = None  # [S, d] what is seen of each state: one-hot, mostly

    @property
    def time_limit(self) -> int:
        """Steps after which an episode is cut."""
        return self.spec.horizon or 1

    @property
    def env_id(self) -> str:
        """Its name in Gymnasium, once `probe_env.register` has run (`make_env` does)."""
        return f"holdfast/{self.name}-v0"


def bandit() -> Probe:
    """One step, reward -|a - a*|^2 whatever is seen: can the policy find the best action of a critic?"""
    best = np.array([0.5, -0.25], np.float32)
    return _one_step("bandit", bandit, obs=1, draw=_constant, aim=lambda obs: np.tile(best, (len(obs), 1)))


def aim() -> Probe:
    """One step, the best action is 0.8 times the observation, reversed: does the policy read what it sees?"""
    return _one_step("aim", aim, obs=2, draw=_uniform, aim=lambda obs: 0.8 * obs[:, ::-1])


def constant() -> Probe:
    """One state, reward 1, no end; cut after 10 steps. V = 1 / (1 - discount): does the critic bootstrap at all?"""

    def step(rng: Draw, obs: Array, action: Array) -> tuple[Array, Array, Array]:
        return obs, np.ones(len(obs)), np.zeros(len(obs), bool)

    return _any_action("constant", constant, 1, 10, _constant, step, lambda obs, d: np.full(len(obs), 1 / (1 - d)))


def delayed() -> Probe:
    """Two steps, reward 1 after the second. V = (discount, 1): is value carried back, and discounted once?"""

    def start(rng: Draw, n: int) -> Array:
        return np.tile(np.array([1, 0], np.float32), (n, 1))

    def step(rng: Draw, obs: Array, action: Array) -> tuple[Array, Array, Array]:
        last = obs[:, 1] > 0
        return obs[:, ::-1].copy(), last.astype(float), last

    return _any_action("delayed", delayed, 2, 3, start, step, lambda obs, d: np.where(obs[:, 1] > 0, 1.0, d))


def limit() -> Probe:
    """Reward 1 a step, each episode one step long: seeing 1 it ends, seeing -1 the time limit cuts it.

    V(1) = 1, V(-1) = 1 / (1 - discount): does a true end cut the bootstrap, and a time limit not?
    """

    def start(rng: Draw, n: int) -> Array:
        return rng.choice(np.array([-1, 1], np.float32), (n, 1))

    def step(rng: Draw, obs: Array, action: Array) -> tuple[Array, Array, Array]:
        return obs, np.ones(len(obs)), obs[:, 0] > 0

    return _any_action("limit", limit, 1, 1, start, step, lambda obs, d: np.where(obs[:, 0] > 0, 1.0, 1 / (1 - d)))


MARGIN = 0.25  # how far beyond the data the continuous traps spring: no learner is that exact at the data's edge


def trap() -> Probe:
    """One state without end, reward 1 + a up to a = 0, 1 up to 0.25 and -5 above; the data shows [-1, 0] only.

    Best in the data: a = 0, V = 1 / (1 - discount). The reward rises toward what was never tried: does the learner
    bootstrap from actions that the data cannot vouch for?
    """

    def step(rng: Draw, obs: Array, action: Array) -> tuple[Array, Array, Array]:
        a = action[:, 0].astype(float)
        return obs, np.where(a <= MARGIN, 1 + np.minimum(a, 0), -5.0), np.zeros(len(obs), bool)

    made = _any_action("trap", trap, 1, 20, _constant, step, lambda obs, d: np.full(len(obs), 1 / (1 - d)))
    return made._replace(behave=lambda rng, obs: rng.uniform(-1, 0, (len(obs), 1)).astype(np.float32))


def runaway() -> Probe:
    """As `trap`, but a step pays 1 and goes on with probability 1 + a, else it ends for nothing, beyond 0.25 with -5.

    Q = (1 + a) (1 + discount V): continued to a = 1 and taken as the next V, it is multiplied by 2 discount at every
    backup. A learner that bootstraps from what was never tried has no fixed point above discount 1/2: its values grow
    without bound. Best in the data: a = 0, V = 1 / (1 - discount).
    """

    def step(rng: Draw, obs: Array, action: Array) -> tuple[Array, Array, Array]:
        a = action[:, 0].astype(float)
        ended = (rng.random(len(obs)) > 1 + a) | (a > MARGIN)
        return obs, np.where(a > MARGIN, -5.0, ~ended), ended

    made = _any_action("runaway", runaway, 1, 20, _constant, step, lambda obs, d: np.full(len(obs), 1 / (1 - d)))
    return made._replace(behave=trap().behave)


def blind() -> Probe:
    """One state without end, reward 1 where every action dimension is within 0.3 of 0, -5 elsewhere; four dimensions.

    The data shows actions within 0.1 of 0, all worth 1 / (1 - discount): they do not say which way is up. What one
    critic believes beyond is where its weights began, and a policy finds its luckiest guess: do several critics doubt
    it?
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
    """One step, three actions with rewards 0, 1 and 0.5: the discrete bandit."""
    transition = np.zeros((2, 3, 2))
    transition[:, :, 1] = 1
    reward = np.array([[0, 1, 0.5], [0, 0, 0]])
    mdp = Tabular(transition, reward, np.array([False, True]), np.array([1.0, 0]))
    return _tabular("arms", arms, mdp, np.full((2, 3), 1 / 3), 2)


def chain() -> Probe:
    """Five states in a row, left or right, one step in five goes the other way; the right end pays 1, the left end 0.1.

    Random transitions and two ends: is value averaged over what may happen?
    """
    transition, reward = np.zeros((5, 2, 5)), np.zeros((5, 2))
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
    """Eight states, seen as x in [-1, 1], any may follow, no end; four actions. The discrete form of `trap`.

    Action 0 pays 0. Action k = 1, 2, 3 pays 1.6 + x - 0.1 k where x < 0 and -5 elsewhere, and the data shows it where
    x < 0 only: its value rises toward states where it was never tried.
    """
    x = np.linspace(-1, 1, 8)[:, None]
    reward = np.concatenate([np.zeros((8, 1)), np.where(x < 0, 1.6 + x - 0.1 * np.arange(1, 4), -5.0)], 1)
    behaviour = np.where(x < 0, np.full(4, 0.25), np.eye(4)[0])
    mdp = Tabular(np.full((8, 4, 8), 1 / 8), reward, np.zeros(8, bool), np.full(8, 1 / 8))
    return _tabular("trap_discrete", trap_discrete, mdp, behaviour, 20, x)


def runaway_discrete() -> Probe:
    """Nine states: x in [-1, 1] as in `trap_discrete`, and an end. The discrete form of `runaway`.

    Action 0 ends for nothing. Action 1, which the data shows where x < 0 only, pays p = 1 + 0.9 x there and leads to
    x = 1 with probability p, else to the end; elsewhere it pays -5 and ends. Continued to x = 1, its value is
    multiplied by 1.9 discount at every backup.
    """
    x = np.linspace(-1, 1, 8)
    p = np.where(x < 0, 1 + 0.9 * x, 0)
    transition, reward = np.zeros((9, 2, 9)), np.zeros((9, 2))
    transition[:, 0, 8] = 1
    transition[:8, 1, 7], transition[:, 1, 8] = p, np.append(1 - p, 1)
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
        UserError: there is none; the nearest name is suggested.
    """
    if name not in PROBES:
        raise unknown("probe", name, PROBES)
    return PROBES[name]()


def collect(probe: Probe, episodes: int, seed: int = 0) -> dict[str, Array]:
    """Whole episodes of the logging policy, one after another, as the columns that `Dataset.from_arrays` takes.

    Returns:
        `observations` and `next_observations` [N, d], `actions` [N, A], or [N] int64 where discrete, `rewards` [N],
        `terminations` and `truncations` [N] booleans.
    """
    rng = np.random.default_rng(seed)
    obs, alive = probe.start(rng, episodes), np.ones(episodes, bool)
    rows = []
    for t in range(probe.time_limit):
        action = probe.behave(rng, obs)
        following, reward, ended = probe.step(rng, obs, action)
        cut = ~ended & (t + 1 == probe.time_limit)
        rows.append((obs, action, reward, ended, cut, following, alive))
        obs, alive = following, alive & ~ended
    *columns, alive_then = (np.stack(column, 1) for column in zip(*rows, strict=True))  # [episodes, time, ...]
    names = ("observations", "actions", "rewards", "terminations", "truncations", "next_observations")
    return {name: column[alive_then] for name, column in zip(names, columns, strict=True)}


def _constant(rng: Draw, n: int) -> Array:
    return np.ones((n, 1), np.float32)


def _uniform(rng: Draw, n: int) -> Array:
    return rng.uniform(-1, 1, (n, 2)).astype(np.float32)


def _anything(rng: Draw, obs: Array, dims: int) -> Array:
    return rng.uniform(-1, 1, (len(obs), dims)).astype(np.float32)


def _one_step(name: str, doc: Callable, *, obs: int, draw: Callable, aim: Callable[[Array], Array]) -> Probe:
    def step(rng: Draw, seen: Array, action: Array) -> tuple[Array, Array, Array]:
        return seen, -np.square(action.astype(float) - aim(seen)).sum(1), np.ones(len(seen), bool)

    spec = Spec((obs,), 2, horizon=2)  # never reached: no episode is both ended and cut
    behave = lambda rng, seen: _anything(rng, seen, 2)  # noqa: E731
    return Probe(name, _checks(doc), spec, draw, step, behave, aim, lambda seen, d: np.zeros(len(seen)))


def _any_action(
    name: str, doc: Callable, obs: int, limit: int, start: Callable, step: Callable, worth: Callable
) -> Probe:
    behave = lambda rng, seen: _anything(rng, seen, 1)  # noqa: E731
    best = lambda seen: np.zeros((len(seen), 1), np.float32)  # noqa: E731
    return Probe(name, _checks(doc), Spec((obs,), 1, horizon=limit), start, step, behave, best, worth)


def _tabular(
    name: str, doc: Callable, mdp: Tabular, behaviour: Array, limit: int, features: Array | None = None
) -> Probe:
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
        _checks(doc),
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


def _checks(doc: Callable) -> str:
    return " ".join((doc.__doc__ or "").split())
