"""Stable-Baselines3's SAC in a separate process, possibly with another interpreter.

`python peer_online.py ENVIRONMENT`; requests and answers as in worker.py.
"""

from __future__ import annotations

import sys
import time
import warnings
from typing import Any

import serving

WARM = 300  # steps before the measurement, so that updates have started


class Peer:
    """The library's defaults with 256-256 networks, on the CPU or the first GPU."""

    def __init__(self, env: str) -> None:
        warnings.simplefilter("ignore")
        import stable_baselines3
        import torch

        self.library, self.torch = stable_baselines3, torch
        nets = {"net_arch": [256, 256]}
        self.model = stable_baselines3.SAC("MlpPolicy", env, learning_starts=256, batch_size=256, policy_kwargs=nets)
        self.model.learn(WARM)

    def versions(self) -> dict[str, Any]:
        return serving.versions(self.library, self.torch)

    def learn(self, seconds: float) -> dict[str, Any]:
        """Environment steps a second of `learn`, with one update each."""

        def work(steps: int) -> float:
            began = time.perf_counter()
            self.model.learn(steps, reset_num_timesteps=False)
            return time.perf_counter() - began

        n = max(1, round(20 * seconds / work(20)))
        return {"per_second": n / work(n)}


if __name__ == "__main__":
    serving.serve(lambda: Peer(sys.argv[1]))
