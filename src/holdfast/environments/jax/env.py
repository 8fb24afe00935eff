"""Environments written in JAX: pure functions, so that collecting runs inside the compiled loop.

`find(name)` knows the probes (`holdfast/chain-v0`), the classics `jax/Pendulum-v1` and `jax/CartPole-v1`, what
`register` was given, and `gymnax/NAME` where gymnax is installed. Each is a Gymnasium environment too, by that name.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ...core.errors import UserError, unknown
from ...core.spec import Spec
from ...core.tree import PyTree, where


class JaxEnv(NamedTuple):
    """One environment as pure functions of one state; `spec.horizon` is its time limit, which is not its own matter."""

    spec: Spec
    reset: Callable[[jax.Array], tuple[Any, jax.Array]]  # key -> state, obs [*obs]
    # key, state, action -> state, obs, reward [], terminated []: a true end. Actions are in the environment's units
    step: Callable[[jax.Array, Any, jax.Array], tuple[Any, jax.Array, jax.Array, jax.Array]]
    low: np.ndarray | None = None  # [A] bounds of actions; None where discrete
    high: np.ndarray | None = None


class World(PyTree):
    """n environments of one kind in the middle of their episodes; leaves [n, ...]."""

    state: Any
    obs: jax.Array
    reward: jax.Array  # of the step before
    start: jax.Array  # whether the observation begins an episode
    time: jax.Array  # steps since it began
    total: jax.Array  # rewards since


class Turn(NamedTuple):
    """One step of n environments; leaves [n, ...]."""

    obs: jax.Array
    reward: jax.Array
    next_obs: jax.Array  # of the episode that the step belongs to
    terminated: jax.Array
    truncated: jax.Array
    time: jax.Array  # steps of the episode, this one included
    total: jax.Array  # rewards of the episode so far


def begin(env: JaxEnv, noise: Any, n: int) -> World:
    """n environments at the start of an episode each."""
    state, obs = jax.vmap(env.reset)(_keys(noise, "reset", n))
    zeros, obs = jnp.zeros(n, jnp.float32), obs.astype(jnp.float32)
    return World(state, obs, zeros, jnp.ones(n, bool), jnp.zeros(n, jnp.int32), zeros)


def advance(env: JaxEnv, world: World, action: jax.Array, noise: Any) -> tuple[World, Turn]:
    """Step n environments; those whose episode ends begin the next."""
    n = len(world.start)
    state, obs, reward, terminated = jax.vmap(env.step)(_keys(noise, "step", n), world.state, action)
    obs, reward, terminated = obs.astype(jnp.float32), reward.astype(jnp.float32), terminated.astype(bool)
    time, total = world.time + 1, world.total + reward
    truncated = ~terminated & (time >= env.spec.horizon) if env.spec.horizon else jnp.zeros(n, bool)
    turn = Turn(world.obs, reward, obs, terminated, truncated, time, total)
    ended, fresh = terminated | truncated, begin(env, noise.sub("next"), n)
    onward = World(state, obs, reward, jnp.zeros(n, bool), time, total)
    return jax.vmap(where)(ended, fresh, onward), turn


def _keys(noise: Any, name: str, n: int) -> jax.Array:
    return jax.vmap(jax.random.fold_in, (None, 0))(noise.sub(name).key, jnp.arange(n))


FAMILIES = ("holdfast/", "jax/", "gymnax/")
REGISTRY: dict[str, Callable[[], JaxEnv]] = {}


def register(name: str, make: Callable[[], JaxEnv]) -> None:
    """Make an environment known by a name that begins with `jax/`.

    `--env module:jax/NAME` imports the module that calls this.
    """
    REGISTRY[name] = make


def find(env: str | None) -> JaxEnv | None:
    """The environment of that name, or None where it is none of JAX's.

    Raises:
        UserError: a name that begins with `jax/` or `gymnax/` and is not known there, or an environment whose functions
            do not fit its spec or each other.
    """
    module, _, name = (env or "").rpartition(":")
    if not name.startswith(FAMILIES):
        return None
    if module:
        try:
            importlib.import_module(module)
        except ImportError as fault:
            raise UserError(f"environment '{env}': cannot import {module} ({fault})") from fault
    if name.startswith("gymnax/"):
        return _fitting(name, from_gymnax(name.removeprefix("gymnax/")))
    if name not in REGISTRY:
        importlib.import_module(f"{__package__}.classics")
        importlib.import_module(f"{__package__}.probes")
    if name.startswith("jax/") and name not in REGISTRY:
        raise unknown("environment in JAX", name, [known for known in REGISTRY if known.startswith("jax/")])
    return _fitting(name, REGISTRY[name]()) if name in REGISTRY else None


def _fitting(name: str, env: JaxEnv) -> JaxEnv:
    """The environment, refused where its shapes do not go round: the compiled loop's own complaint is a page long."""
    spec, key = env.spec, jax.ShapeDtypeStruct((2,), jnp.uint32)
    action = jax.ShapeDtypeStruct(spec.action_shape, jnp.int32 if spec.discrete else jnp.float32)
    state, obs = jax.eval_shape(env.reset, key)
    following, next_obs, *rest = jax.eval_shape(env.step, key, state, action)
    told = [("reset's observation", obs, spec.obs), ("step's observation", next_obs, spec.obs)]
    told += [(what, x, ()) for what, x in zip(("the reward", "terminated"), rest, strict=True)]
    faults = [f"{what} has shape {x.shape}, expected {shape}" for what, x, shape in told if x.shape != shape]
    one, other = (jax.tree.map(lambda x: (x.shape, str(x.dtype)), tree) for tree in (state, following))
    if one != other:
        faults.append(f"the state is {other} after a step, expected what reset gives: {one}")
    if faults:
        raise UserError(f"environment '{name}': {'; '.join(faults)}")
    return env


def from_gymnax(name: str) -> JaxEnv:
    """An environment of the package gymnax, its time limit taken out of its `done`.

    Raises:
        UserError: gymnax is not installed, or has no such environment.
    """
    try:
        gymnax: Any = importlib.import_module("gymnax")
    except ImportError:
        raise UserError(f"environment 'gymnax/{name}' needs a package that is missing: pip install gymnax") from None
    try:
        env, params = gymnax.make(name)
    except Exception as fault:
        raise UserError(f"environment 'gymnax/{name}' cannot be made: {fault}") from fault
    horizon = int(params.max_steps_in_episode)
    params = params.replace(max_steps_in_episode=np.iinfo(np.int32).max)
    seen, actions = env.observation_space(params), env.action_space(params)

    def reset(key: jax.Array) -> tuple[Any, jax.Array]:
        obs, state = env.reset_env(key, params)
        return state, obs

    def step(key: jax.Array, state: Any, action: jax.Array) -> tuple[Any, jax.Array, jax.Array, jax.Array]:
        obs, state, reward, done, _ = env.step_env(key, state, action, params)
        return state, obs, jnp.asarray(reward), jnp.asarray(done)

    if hasattr(actions, "n"):
        return JaxEnv(Spec(tuple(seen.shape), int(actions.n), True, horizon=horizon), reset, step)
    size = int(np.prod(actions.shape))
    low, high = (np.broadcast_to(np.asarray(x, np.float32), (size,)) for x in (actions.low, actions.high))
    return JaxEnv(Spec(tuple(seen.shape), size, horizon=horizon), reset, step, low, high)
