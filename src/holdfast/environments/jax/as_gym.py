"""JAX environments as Gymnasium environments, for evaluation and other use from Python."""

from __future__ import annotations

from typing import Any

import gymnasium
import jax
import numpy as np
from gymnasium.spaces import Box, Discrete

from ...core.errors import UserError
from .env import JaxEnv, find


class JaxGym(gymnasium.Env):
    """One JAX environment. Gymnasium's time limit truncates its episodes; the same seed gives the same episode."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}

    def __init__(self, name: str, render_mode: str | None = None) -> None:
        """
        Args:
            name: name of the environment, see `environments.jax.env.find`.
            render_mode: rgb_array or None.

        Raises:
            UserError: there is no JAX environment of that name, or it draws no pictures.
        """
        env = _require(name)
        if render_mode is not None and env.picture is None:
            raise UserError(
                f"environment '{name}' draws no pictures, so it cannot be recorded: record one that does, e.g. "
                "jax/Spread-v0"
            )
        self.env = env
        self.render_mode = render_mode
        shape = env.spec.obs_shape
        self.observation_space = (
            Box(0, 255, shape, np.uint8) if env.spec.images else Box(-np.inf, np.inf, shape, np.float32)
        )
        self.action_space: Discrete | Box
        if env.low is None or env.high is None:
            self.action_space = Discrete(env.spec.action)
        else:
            self.action_space = Box(np.asarray(env.low, np.float32), np.asarray(env.high, np.float32))
        self._reset = jax.jit(env.reset)
        self._step = jax.jit(lambda key, t, *given: env.step(jax.random.fold_in(key, t), *given))

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.key = jax.random.PRNGKey(int(self.np_random.integers(2**32)))
        self.t = 0
        self.state, obs = self._reset(self.key)
        return np.asarray(obs, self.observation_space.dtype), {}

    def step(self, action: np.ndarray | int) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.t += 1
        self.state, obs, reward, terminated = self._step(self.key, self.t, self.state, np.asarray(action))
        return np.asarray(obs, self.observation_space.dtype), float(reward), bool(terminated), False, {}

    def render(self) -> np.ndarray | None:
        """The picture of the present state, RGB [H, W, 3] bytes; None without a render mode."""
        if self.render_mode is None or self.env.picture is None:
            return None
        return self.env.picture(self.state)


def register(name: str) -> str:
    """Register a JAX environment in Gymnasium.

    Returns:
        Its id there: the name without the module before it.

    Raises:
        UserError: there is no JAX environment of that name.
    """
    env = _require(name)
    env_id = name.rpartition(":")[2]
    if env_id not in gymnasium.registry:
        entry = f"{__name__}:JaxGym"
        gymnasium.register(env_id, entry, max_episode_steps=env.spec.horizon, kwargs={"name": name})
    return env_id


def _require(name: str) -> JaxEnv:
    env = find(name)
    if env is None:
        raise UserError(f"'{name}' is not a JAX environment: expected a name that begins with jax/ or gymnax/")
    return env
