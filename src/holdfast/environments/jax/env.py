"""Environments written in JAX as pure functions, so that collection runs inside the compiled loop.

`find(name)` knows the probes (`holdfast/chain-v0`), `jax/Pendulum-v1` and `jax/CartPole-v1`, the games of teams
(`jax/Climbing-v0`, `jax/StagHunt-v0`, `jax/Spread-v0`), environments added by `register`, and `gymnax/NAME` if gymnax
is installed. Each is also a Gymnasium environment of that name.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ...core.errors import UserError, unknown
from ...core.imports import import_named
from ...core.noise import Noise
from ...core.spec import Spec
from ...core.tree import PyTree, where

Stepped = tuple[Any, jax.Array, jax.Array, jax.Array]  # state, obs [*obs], reward [], terminated [] (a true end)
WorldState = Any  # a tree of arrays, different for each environment


class JaxEnv(NamedTuple):
    """One environment as pure functions of its state. The time limit `spec.horizon` is applied outside of them."""

    spec: Spec
    reset: Callable[[jax.Array], tuple[Any, jax.Array]]  # key -> state, obs [*obs]
    step: Callable[[jax.Array, Any, jax.Array], Stepped]  # key, state, action in the environment's units -> Stepped
    low: np.ndarray | None = None  # [A] bounds of actions; None if discrete
    high: np.ndarray | None = None
    picture: Callable[[Any], np.ndarray] | None = None  # state -> RGB [H, W, 3] bytes for videos; None: it has none


class World(PyTree):
    """The states of n environments of one kind, within their episodes; leaves [n, ...]."""

    state: WorldState
    obs: jax.Array
    reward: jax.Array  # of the last step
    start: jax.Array  # whether `obs` is the first observation of an episode
    time: jax.Array  # steps of the episode so far
    total: jax.Array  # sum of the rewards of the episode so far


class Transition(NamedTuple):
    """One step of n environments; leaves [n, ...]."""

    obs: jax.Array
    reward: jax.Array
    next_obs: jax.Array  # of the episode that the step belongs to
    terminated: jax.Array
    truncated: jax.Array
    time: jax.Array  # steps of the episode, this one included
    total: jax.Array  # sum of the rewards of the episode, this step included


def begin(env: JaxEnv, noise: Noise, n: int) -> World:
    """n environments, each at the start of an episode."""
    state, obs = jax.vmap(env.reset)(_keys(noise, "reset", n))
    zeros = jnp.zeros(n, jnp.float32)
    return World(state, _typed(env, obs), zeros, jnp.ones(n, bool), jnp.zeros(n, jnp.int32), zeros)


def advance(env: JaxEnv, world: World, action: jax.Array, noise: Noise) -> tuple[World, Transition]:
    """Step n environments. One whose episode ends starts the next episode."""
    n = len(world.start)
    state, obs, reward, terminated = jax.vmap(env.step)(_keys(noise, "step", n), world.state, action)
    obs = _typed(env, obs)
    reward = reward.astype(jnp.float32)
    terminated = terminated.astype(bool)
    time = world.time + 1
    total = world.total + reward
    truncated = ~terminated & (time >= env.spec.horizon) if env.spec.horizon else jnp.zeros(n, bool)
    transition = Transition(world.obs, reward, obs, terminated, truncated, time, total)
    first = begin(env, noise.sub("next"), n)
    following = World(state, obs, reward, jnp.zeros(n, bool), time, total)
    return jax.vmap(where)(terminated | truncated, first, following), transition


def _typed(env: JaxEnv, obs: jax.Array) -> jax.Array:
    """Observations in the type of the spec: bytes if they are images, else float32."""
    return obs.astype(jnp.uint8 if env.spec.images else jnp.float32)


def _keys(noise: Noise, name: str, n: int) -> jax.Array:
    return jax.vmap(jax.random.fold_in, (None, 0))(noise.sub(name).key, jnp.arange(n))


FAMILIES = ("holdfast/", "jax/", "gymnax/")
REGISTRY: dict[str, Callable[[], JaxEnv]] = {}


def register(name: str, make: Callable[[], JaxEnv]) -> None:
    """Add an environment under a name that begins with `jax/`.

    Call it when your module is imported: `--env module:jax/NAME` imports the module.
    """
    REGISTRY[name] = make


def find(env: str | None) -> JaxEnv | None:
    """The JAX environment of that name; None if there is none.

    Raises:
        UserError: an unknown name that begins with `jax/` or `gymnax/`, or an environment whose functions do not agree
            with its spec or with each other.
    """
    if env is None or env.lstrip().startswith("{"):  # an EnvSpec: no environment of JAX is stored so
        return None
    module, _, name = env.rpartition(":")
    if not name.startswith(FAMILIES):
        return None
    if module:
        try:
            import_named(module)
        except ImportError as fault:
            raise UserError(f"environment '{env}': cannot import {module} ({fault})") from fault
    if name.startswith("gymnax/"):
        return _checked(name, from_gymnax(name.removeprefix("gymnax/")))
    if name not in REGISTRY:
        importlib.import_module(f"{__package__}.classics")
        importlib.import_module(f"{__package__}.probes")
        importlib.import_module(f"{__package__}.matrix_games")
        importlib.import_module(f"{__package__}.spread")
    if name.startswith("jax/") and name not in REGISTRY:
        raise unknown("JAX environment", name, [known for known in REGISTRY if known.startswith("jax/")])
    return _checked(name, REGISTRY[name]()) if name in REGISTRY else None


def _checked(name: str, env: JaxEnv) -> JaxEnv:
    """The environment, after a check of its shapes: the compiled loop's own error would be a page long."""
    spec = env.spec
    key = jax.ShapeDtypeStruct((2,), jnp.uint32)
    action = jax.ShapeDtypeStruct(spec.action_shape, jnp.int32 if spec.discrete else jnp.float32)
    state, obs = jax.eval_shape(env.reset, key)
    following, next_obs, reward, terminated = jax.eval_shape(env.step, key, state, action)
    shapes = [
        ("reset's observation", obs, spec.obs_shape),
        ("step's observation", next_obs, spec.obs_shape),
        ("the reward", reward, ()),
        ("terminated", terminated, ()),
    ]
    faults = [f"{what} has shape {x.shape}, expected {shape}" for what, x, shape in shapes if x.shape != shape]
    one, other = (jax.tree.map(lambda x: (x.shape, str(x.dtype)), tree) for tree in (state, following))
    if one != other:
        faults.append(f"the state is {other} after a step, expected what reset gives: {one}")
    if faults:
        raise UserError(f"environment '{name}': {'; '.join(faults)}")
    return env


def from_gymnax(name: str) -> JaxEnv:
    """An environment of the package gymnax. Its time limit is moved from `done` to `spec.horizon`.

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
    obs_shape = tuple(env.observation_space(params).shape)
    actions = env.action_space(params)

    def reset(key: jax.Array) -> tuple[Any, jax.Array]:
        obs, state = env.reset_env(key, params)
        return state, obs

    def step(key: jax.Array, state: WorldState, action: jax.Array) -> Stepped:
        obs, state, reward, done, _ = env.step_env(key, state, action, params)
        return state, obs, jnp.asarray(reward), jnp.asarray(done)

    if hasattr(actions, "n"):
        return JaxEnv(Spec(obs_shape, int(actions.n), True, horizon=horizon), reset, step)
    size = int(np.prod(actions.shape))
    low, high = (np.broadcast_to(np.asarray(x, np.float32), (size,)) for x in (actions.low, actions.high))
    return JaxEnv(Spec(obs_shape, size, horizon=horizon), reset, step, low, high)
