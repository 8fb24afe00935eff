"""Gymnasium environments whose returns show which episodes were played."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete

LENGTHS = (1, 2, 3, 40)


class Lottery(gymnasium.Env):
    """Episodes of 1 to 40 steps by their seed; every step pays 1, so a bias toward short ones shows in the return."""

    def __init__(self, **faults: Any) -> None:
        self.observation_space = Box(-np.inf, np.inf, (3,), np.float64)
        self.action_space = Box(np.array([-2, 0], np.float32), np.array([1, 10], np.float32))
        self.faults, self.log = faults, []

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.left, self.t = int(self.np_random.choice(LENGTHS)), 0
        self.log.append(seed)
        return self.np_random.normal(size=3), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        assert self.action_space.contains(action), action
        self.t, self.left = self.t + 1, self.left - 1
        if self.faults.get("raises") == self.t:
            raise RuntimeError("the motor\nis on fire")
        obs = self.np_random.normal(size=3)
        if self.faults.get("nan") == self.t:
            obs[1] = np.nan
        end = self.left == 0 and not self.faults.get("endless")
        return obs, self.faults.get("reward", 1.0), end, False, {}


class Masked(gymnasium.Env):
    """Five steps; one action of four is legal at each, and only that one pays."""

    observation_space, action_space = Box(-1, 1, (3,), np.float32), Discrete(4, start=2)

    def see(self) -> tuple[np.ndarray, dict]:
        self.legal = int(self.np_random.integers(4))
        return np.zeros(3, np.float32), {"action_mask": np.eye(4, dtype=np.int8)[self.legal]}

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.t = 0
        return self.see()

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        paid, self.t = float(action - 2 == self.legal), self.t + 1
        obs, info = self.see()
        return obs, paid, False, self.t == 5, info


class Forgetful(Masked):
    """The same, but it tells what is legal at the start only; then everything is."""

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict]:
        self.done: list[int] = []
        return super().reset(seed=seed)

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.done.append(int(action))
        found = super().step(action)
        return *found[:4], {}


class Clock(gymnasium.Env):
    """Episodes of 2, 3 or 4 steps by their seed; the reward is ten times the first entry of the action."""

    observation_space, action_space = Box(-1, 1, (3,)), Box(-1, 1, (2,))

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.left = int(self.np_random.integers(2, 5))
        return np.zeros(3, np.float32), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.left, self.last = self.left - 1, action
        return np.zeros(3, np.float32), float(10 * action[0]), False, self.left == 0, {}
