"""Logs of one and two steps with known propensities, and policies whose values on them are known."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from holdfast.core.config import as_arrays
from holdfast.core.contract import Context
from holdfast.core.noise import Noise
from holdfast.data.dataset import Dataset
from holdfast.policy.policy import Policy
from support import policies


def gaussian_log(n: int = 400, steps: int = 2, noise: float = 0.3) -> Dataset:
    """Actions are normal around 0 in [-1, 1]; the reward is highest where the action equals half the observation."""
    rng = np.random.default_rng(0)
    episodes = []
    for _ in range(n):
        obs = rng.uniform(-1, 1, (steps + 1, 1)).astype(np.float32)
        action = np.clip(noise * rng.normal(size=(steps, 1)), -0.999, 0.999).astype(np.float32)
        reward = 1 - np.square(action[:, 0] - obs[:-1, 0] / 2)
        density = -0.5 * (action[:, 0] / noise) ** 2 - np.log(noise * np.sqrt(2 * np.pi))
        last = np.arange(steps) == steps - 1
        episodes.append({"observations": obs, "actions": action, "rewards": reward, "terminations": last,
                         "truncations": np.zeros(steps, bool), "behaviour_log_prob": density})  # fmt: skip
    return Dataset.from_episodes(episodes)


def follower(data: Dataset, gain: float = 0.5) -> Policy:
    """A deterministic policy with the action tanh(gain obs); a gain of 1/2 is nearly the best one."""
    cfg = policies.Settings(gain=1.0)
    spec = data.spec
    state = policies.init(as_arrays(cfg), Context(spec), Noise(jax.random.PRNGKey(0)))
    net = {"weight": jnp.full((1, 1), gain), "bias": jnp.zeros(1)}
    fitted = policies.continuous(1, (-1.0,), (1.0,), normalized=False)
    return Policy(policies.FAKE, cfg, policies.State(state.actor.replace(net), state.critic, state.count), spec, fitted)
