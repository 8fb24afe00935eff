"""JAX environments as Gymnasium's, for evaluation and whatever else steps them from Python."""

from __future__ import annotations

from typing import Any

import gymnasium
import jax
import numpy as np
from gymnasium.spaces import Box, Discrete

from ...core.errors import UserError
from .env import find


class JaxGym(gymnasium.Env):
    """One environment in JAX; Gymnasium's time limit cuts its episodes. The same seed gives the same episode."""

    def __init__(self, name: str) -> None:
        env = find(name)
        if env is None:
            raise UserError(f"'{name}' is no environment in JAX")
        self.env, spec = env, env.spec
        self.observation_space = Box(-np.inf, np.inf, spec.obs, np.float32)
        low, high = (None if x is None else np.asarray(x, np.float32) for x in (env.low, env.high))
        self.action_space = Discrete(spec.action) if low is None or high is None else Box(low, high)
        self._reset = jax.jit(env.reset)
        self._step = jax.jit(lambda key, t, *given: env.step(jax.random.fold_in(key, t), *given))

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.key, self.t = jax.random.PRNGKey(int(self.np_random.integers(2**32))), 0
        self.state, obs = self._reset(self.key)
        return np.asarray(obs, np.float32), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.t += 1
        self.state, obs, reward, terminated = self._step(self.key, self.t, self.state, np.asarray(action))
        return np.asarray(obs, np.float32), float(reward), bool(terminated), False, {}


def register(name: str) -> str:
    """Make a JAX environment known to Gymnasium; its id there, which is the name without the module before it.

    Raises:
        UserError: there is none of that name.
    """
    env, own = find(name), name.rpartition(":")[2]
    if env is None:
        raise UserError(f"'{name}' is no environment in JAX")
    if own not in gymnasium.registry:
        entry = f"{__name__}:JaxGym"
        gymnasium.register(own, entry, max_episode_steps=env.spec.horizon, kwargs={"name": name})
    return own
