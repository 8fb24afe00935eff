"""The probes as Gymnasium environments. Imported only when one is needed."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete

from .probes import PROBES, get


class ProbeEnv(gymnasium.Env):
    """One probe. Gymnasium's time limit truncates its episodes."""

    def __init__(self, name: str) -> None:
        self.probe = get(name)
        spec = self.probe.spec
        self.observation_space = Box(-1, 1, spec.obs, np.float32)
        self.action_space = Discrete(spec.action) if spec.discrete else Box(-1, 1, (spec.action,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.obs = self.probe.start(self.np_random, 1)
        return self.obs[0].copy(), {}

    def step(self, action: np.ndarray | int) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.obs, reward, ended = self.probe.step(self.np_random, self.obs, np.asarray(action)[None])
        return self.obs[0].copy(), float(reward[0]), bool(ended[0]), False, {}


def register() -> None:
    """Register `holdfast/<name>-v0` in Gymnasium, once."""
    for name in PROBES:
        if f"holdfast/{name}-v0" not in gymnasium.registry:
            entry = f"{__name__}:ProbeEnv"
            limit = get(name).time_limit
            gymnasium.register(f"holdfast/{name}-v0", entry, max_episode_steps=limit, kwargs={"name": name})
