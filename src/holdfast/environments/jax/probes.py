"""The probes of `probes` in JAX, registered under the same names."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..probes import MARGIN, PROBES, Probe, get
from ..tabular import Tabular
from .env import JaxEnv, register

BEST = np.array([0.5, -0.25], np.float32)  # of the bandit


def _ones(key: jax.Array) -> jax.Array:
    return jnp.ones(1)


def _uniform(key: jax.Array) -> jax.Array:
    return jax.random.uniform(key, (2,), minval=-1.0, maxval=1.0)


def _first_of_two(key: jax.Array) -> jax.Array:
    return jnp.array([1.0, 0.0])


def _sign(key: jax.Array) -> jax.Array:
    return jnp.where(jax.random.bernoulli(key, shape=(1,)), 1.0, -1.0)


def _bandit(key: jax.Array, obs: jax.Array, action: jax.Array) -> Any:
    return obs, -jnp.square(action - BEST).sum(), True


def _aim(key: jax.Array, obs: jax.Array, action: jax.Array) -> Any:
    return obs, -jnp.square(action - 0.8 * obs[::-1]).sum(), True


def _constant(key: jax.Array, obs: jax.Array, action: jax.Array) -> Any:
    return obs, 1.0, False


def _delayed(key: jax.Array, obs: jax.Array, action: jax.Array) -> Any:
    last = obs[1] > 0
    return obs[::-1], last.astype(jnp.float32), last


def _limit(key: jax.Array, obs: jax.Array, action: jax.Array) -> Any:
    return obs, 1.0, obs[0] > 0


def _trap(key: jax.Array, obs: jax.Array, action: jax.Array) -> Any:
    return obs, jnp.where(action[0] <= MARGIN, 1 + jnp.minimum(action[0], 0), -5.0), False


def _runaway(key: jax.Array, obs: jax.Array, action: jax.Array) -> Any:
    beyond = action[0] > MARGIN
    ended = (jax.random.uniform(key) > 1 + action[0]) | beyond
    return obs, jnp.where(beyond, -5.0, 1.0 - ended), ended


def _blind(key: jax.Array, obs: jax.Array, action: jax.Array) -> Any:
    return obs, jnp.where(jnp.abs(action).max() <= 0.3, 1.0, -5.0), False


RULES: dict[str, tuple[Any, Any]] = {  # first observation of a key; key, observation, action -> next, reward, end
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
    return _tabular(probe, probe.mdp) if probe.mdp is not None else _seen(probe, *RULES[name])


def _seen(probe: Probe, start: Any, rule: Any) -> JaxEnv:
    """A probe whose state is what is seen."""

    def reset(key: jax.Array) -> tuple[Any, jax.Array]:
        obs = start(key)
        return obs, obs

    def step(key: jax.Array, state: Any, action: jax.Array) -> Any:
        obs, reward, ended = rule(key, state, action)
        return obs, obs, jnp.asarray(reward, jnp.float32), jnp.asarray(ended)

    bound = np.ones(probe.spec.action, np.float32)
    return JaxEnv(probe.spec, reset, step, -bound, bound)


def _tabular(probe: Probe, mdp: Tabular) -> JaxEnv:
    with np.errstate(divide="ignore"):
        first, onward = (jnp.asarray(np.log(p), jnp.float32) for p in (mdp.start, mdp.transition))
    reward, ends, seen = jnp.asarray(mdp.reward, jnp.float32), jnp.asarray(mdp.terminal), jnp.asarray(probe.features)

    def reset(key: jax.Array) -> tuple[Any, jax.Array]:
        state = jax.random.categorical(key, first)
        return state, seen[state]

    def step(key: jax.Array, state: Any, action: jax.Array) -> Any:
        following = jax.random.categorical(key, onward[state, action])
        return following, seen[following], reward[state, action], ends[following]

    return JaxEnv(probe.spec, reset, step)


for _name in PROBES:
    register(f"holdfast/{_name}-v0", functools.partial(make, _name))
