"""The data of every contestant: random rows of HalfCheetah's shape. This file needs NumPy only."""

from __future__ import annotations

import numpy as np

OBS, ACTION, STEPS, EPISODE, BATCH = 17, 6, 100_000, 1000, 256


def rows(seed: int = 0) -> dict[str, np.ndarray]:
    """`obs` [T, 17], `action` [T, 6] in [-1, 1], `reward` [T], all float32, in episodes of EPISODE steps."""
    rng = np.random.default_rng(seed)
    action = np.tanh(rng.standard_normal((STEPS, ACTION), np.float32))
    return {
        "obs": rng.standard_normal((STEPS, OBS), np.float32),
        "action": action,
        "reward": rng.standard_normal(STEPS, np.float32),
        "truncated": (np.arange(STEPS) % EPISODE == EPISODE - 1).astype(np.float32),
    }
