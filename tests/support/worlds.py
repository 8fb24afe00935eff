"""Environments that misbehave, for worker processes to import: `support.worlds:Odd-v0`. No jax in here."""

import os
import signal
import sys
import time
from pathlib import Path

import gymnasium
import numpy as np


class Odd(gymnasium.Env):
    """Observes (its draw, its step); ends after 5 or, by time, 3 steps. `how` says what happens at step 2.

    die: the process is killed, while the file `fuse` exists (which is then removed, unless `again`); hang: it sleeps,
    likewise; raise, nan: the environment's own faults, always; drift: no two episodes of one seed are alike.
    slow: not step 2, but being made takes 1.2 seconds and every step 0.35. exit: it calls sys.exit; none, objects: its
    observation is not an array. stuck, ends: its constructor hangs, or calls sys.exit.
    """

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float32)
    action_space = gymnasium.spaces.Box(-2.0, 2.0, (1,), np.float32)

    resets = 0  # of drifting ones, in this process

    def __init__(self, how="", fuse="", again=False):
        self.how, self.fuse, self.again = how, fuse, again
        time.sleep(1.2 * (how == "slow") + 1000 * (how == "stuck"))
        if how == "ends":
            sys.exit("no licence")

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.draw, self.t, self.sum = float(self.np_random.random()), 0, 0.0
        if self.how == "drift":
            Odd.resets += 1
            self.draw = Odd.resets / 1000
        return np.array([self.draw, 0], np.float32), {}

    def step(self, action):
        time.sleep(0.35 * (self.how == "slow"))
        if self.t == 2 and self.lit():
            self.misbehave()
        self.t += 1
        self.sum += float(action[0])
        obs = np.array([self.draw, self.t + 100 * self.sum], np.float32)
        if self.how in ("none", "objects") and self.t == 3:
            obs = None if self.how == "none" else np.array([object(), 1])
        if self.how == "nan" and self.t == 3:
            obs[0] = np.nan
        return obs, float(action[0]), self.t == 5, self.draw < 0.5 and self.t == 3, {}

    def lit(self):
        """Whether it is time to: of processes at one fuse, the one that removes it alone."""
        if not self.fuse or self.again:
            return not self.fuse or Path(self.fuse).exists()
        try:
            Path(self.fuse).unlink()
        except FileNotFoundError:
            return False
        return True

    def misbehave(self):
        if self.how == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.how == "hang":
            time.sleep(1000)
        if self.how == "exit":
            sys.exit(3)
        if self.how == "raise":
            raise RuntimeError("the motor is hot")


class NoJax(Odd):
    """Reports as its reward whether jax was imported in its process."""

    def step(self, action):
        obs, _, *rest = super().step(action)
        return obs, float("jax" in sys.modules), *rest


class Masked(gymnasium.Env):
    """Three actions, of which one is illegal at each step, in turn; taking it raises."""

    observation_space = gymnasium.spaces.Box(-1, 10, (1,), np.float64)
    action_space = gymnasium.spaces.Discrete(3)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return np.array([0.0]), {"action_mask": self.mask()}

    def mask(self):
        return np.arange(3) != self.t % 3

    def step(self, action):
        if not self.mask()[action]:
            raise ValueError("illegal")
        self.t += 1
        return np.array([float(self.t)]), float(action), self.t == 4, False, {"action_mask": self.mask()}


gymnasium.register("Odd-v0", f"{__name__}:Odd")
gymnasium.register("NoJax-v0", f"{__name__}:NoJax")
gymnasium.register("Masked-v0", f"{__name__}:Masked")
