"""The probes of `environments.probes` in JAX, registered under the same names."""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from ..probes import MARGIN, PROBES, Probe, get
from ..tabular import Tabular
from .env import JaxEnv, Stepped, register

Ruled = tuple[jax.Array, jax.Array | float, jax.Array | bool]  # next observation, reward, whether the episode ends
Start = Callable[[jax.Array], jax.Array]  # key -> first observation
Rule = Callable[[jax.Array, jax.Array, jax.Array], Ruled]  # (key, observation, action) -> Ruled

BEST = np.array([0.5, -0.25], np.float32)  # the best action of the bandit


def _ones(key: jax.Array) -> jax.Array:
    return jnp.ones(1)


def _uniform(key: jax.Array) -> jax.Array:
    return jax.random.uniform(key, (2,), minval=-1.0, maxval=1.0)


def _first_of_two(key: jax.Array) -> jax.Array:
    return jnp.array([1.0, 0.0])


def _sign(key: jax.Array) -> jax.Array:
    return jnp.where(jax.random.bernoulli(key, shape=(1,)), 1.0, -1.0)


def _bandit(key: jax.Array, obs: jax.Array, action: jax.Array) -> Ruled:
    return obs, -jnp.square(action - BEST).sum(), True


def _aim(key: jax.Array, obs: jax.Array, action: jax.Array) -> Ruled:
    return obs, -jnp.square(action - 0.8 * obs[::-1]).sum(), True


def _constant(key: jax.Array, obs: jax.Array, action: jax.Array) -> Ruled:
    return obs, 1.0, False


def _delayed(key: jax.Array, obs: jax.Array, action: jax.Array) -> Ruled:
    last = obs[1] > 0
    return obs[::-1], last.astype(jnp.float32), last


def _limit(key: jax.Array, obs: jax.Array, action: jax.Array) -> Ruled:
    return obs, 1.0, obs[0] > 0


def _trap(key: jax.Array, obs: jax.Array, action: jax.Array) -> Ruled:
    return obs, jnp.where(action[0] <= MARGIN, 1 + jnp.minimum(action[0], 0), -5.0), False


def _runaway(key: jax.Array, obs: jax.Array, action: jax.Array) -> Ruled:
    beyond = action[0] > MARGIN
    ended = (jax.random.uniform(key) > 1 + action[0]) | beyond
    return obs, jnp.where(beyond, -5.0, 1.0 - ended), ended


def _blind(key: jax.Array, obs: jax.Array, action: jax.Array) -> Ruled:
    return obs, jnp.where(jnp.abs(action).max() <= 0.3, 1.0, -5.0), False


# How each probe with continuous actions starts, and how it steps.
RULES: dict[str, tuple[Start, Rule]] = {
    "bandit": (_ones, _bandit),
    "aim": (_uniform, _aim),
    "constant": (_ones, _constant),
    "delayed": (_first_of_two, _delayed),
    "limit": (_sign, _limit),
    "trap": (_ones, _trap),
    "runaway": (_ones, _runaway),
    "blind": (_ones, _blind),
}


def make(name: str) -> JaxEnv:
    """A probe as a JAX environment."""
    probe = get(name)
    return _tabular(probe, probe.mdp) if probe.mdp is not None else _observed(probe, *RULES[name])


def _observed(probe: Probe, start: Start, rule: Rule) -> JaxEnv:
    """A probe whose state is its observation."""

    def reset(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        obs = start(key)
        return obs, obs

    def step(key: jax.Array, state: jax.Array, action: jax.Array) -> Stepped:
        obs, reward, ended = rule(key, state, action)
        return obs, obs, jnp.asarray(reward, jnp.float32), jnp.asarray(ended)

    bound = np.ones(probe.spec.action, np.float32)
    return JaxEnv(probe.spec, reset, step, -bound, bound)


def _tabular(probe: Probe, mdp: Tabular) -> JaxEnv:
    """A probe that is a finite MDP; its state is the number of a state."""
    with np.errstate(divide="ignore"):
        first = jnp.asarray(np.log(mdp.start), jnp.float32)
        onward = jnp.asarray(np.log(mdp.transition), jnp.float32)
    reward = jnp.asarray(mdp.reward, jnp.float32)
    ends = jnp.asarray(mdp.terminal)
    seen = jnp.asarray(probe.features)

    def reset(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        state = jax.random.categorical(key, first)
        return state, seen[state]

    def step(key: jax.Array, state: jax.Array, action: jax.Array) -> Stepped:
        following = jax.random.categorical(key, onward[state, action])
        return following, seen[following], reward[state, action], ends[following]

    return JaxEnv(probe.spec, reset, step)


for _name in PROBES:
    register(f"holdfast/{_name}-v0", functools.partial(make, _name))
