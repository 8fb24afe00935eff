"""Logs made in environments, and a run to make them from."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from holdfast.training.run import Run, train
from support.small_runs import TINY

ENV = "Pendulum-v1"


CHAIN = "holdfast/chain-v0"


def learned_run(folder: Path) -> Run:
    """An online run of 450 steps, whose policies are kept at 90, 180 ... 450."""
    config = {**TINY, "warmup": 50, "exploration_noise": 0.5}
    clocks = {"steps": 450, "block": 90, "eval_every": 90, "eval_episodes": 1, "seeds": 2}
    out = folder / "ddpg"
    return train("ddpg", env=ENV, config=config, keep_policies=True, out=out, **clocks)


def played_again(data, env, seeds):
    """Whether the logged actions, in episodes reset with these seeds, give the logged observations and rewards."""
    for e, seed in enumerate(seeds):
        a, b = data.offsets[e : e + 2]
        obs, _ = env.reset(seed=seed)
        seen, rewards = [obs], []
        for action in data.actions[a:b]:
            obs, reward, *_ = env.step(action)
            seen.append(obs)
            rewards.append(reward)
        np.testing.assert_allclose(data.observations[a + e : b + e + 1], seen, rtol=1e-6)
        np.testing.assert_allclose(data.rewards[a:b], rewards, rtol=1e-5)
    return True
