"""d3rlpy in a separate process, possibly with another interpreter: the same shapes and data, its own code.

`python peer.py NAME`; requests and answers as in worker.py.
"""

from __future__ import annotations

import logging
import sys
import time
import warnings
from typing import Any

import serving
import synthetic

NAMES = {
    "td3_bc": "TD3PlusBC", "iql": "IQL", "bc": "BC", "awac": "AWAC", "sac": "SAC", "td3": "TD3", "ddpg": "DDPG",
    "crr": "CRR", "cql": "CQL", "bcq": "BCQ", "bear": "BEAR", "plas": "PLAS", "rebrac": "ReBRAC", "cal_ql": "CalQL",
    "decision_transformer": "DecisionTransformer",
}  # fmt: skip
SEQUENCES = ("decision_transformer",)  # with the published sizes of both: 20 steps, three blocks of width 128, batch 64


class Peer:
    """One algorithm with 256-256 networks, or a transformer, on the CPU or the first GPU."""

    def __init__(self, name: str) -> None:
        warnings.simplefilter("ignore")
        import d3rlpy
        import structlog
        import torch

        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
        self.d3rlpy, self.torch = d3rlpy, torch
        data = synthetic.rows()
        self.dataset = d3rlpy.dataset.MDPDataset(
            observations=data["obs"],
            actions=data["action"],
            rewards=data["reward"],
            terminals=0 * data["reward"],
            timeouts=data["truncated"],
        )
        config = getattr(d3rlpy.algos, f"{NAMES[name]}Config")
        device = "cuda:0" if torch.cuda.is_available() else "cpu:0"
        if name in SEQUENCES:
            one = d3rlpy.models.encoders.VectorEncoderFactory([128], exclude_last_activation=True)
            self.algo = config(encoder_factory=one, context_size=20).create(device=device)
            draw = self.dataset.sample_trajectory_batch
            self.batches = [draw(self.algo.config.batch_size, 20) for _ in range(64)]
        else:
            nets = d3rlpy.models.encoders.VectorEncoderFactory([256, 256])
            encoders = {k: nets for k in config.__dataclass_fields__ if k.endswith("encoder_factory")}
            self.algo = config(batch_size=synthetic.BATCH, **encoders).create(device=device)
            self.batches = [self.dataset.sample_transition_batch(synthetic.BATCH) for _ in range(64)]
        self.algo.build_with_dataset(self.dataset)
        self.at = 0

    def versions(self) -> dict[str, Any]:
        return serving.versions(self.d3rlpy, self.torch)

    def update(self, seconds: float) -> dict[str, Any]:
        """`algo.update` on batches drawn beforehand: without sampling."""

        def work(n: int) -> None:
            for i in range(n):
                self.algo.update(self.batches[(self.at + i) % len(self.batches)])
            self.at += n

        return {"updates_per_second": self.timed(work, seconds)}

    def fit(self, seconds: float) -> dict[str, Any]:
        """`algo.fit`, as users call it: with sampling, without evaluation, logs or checkpoints."""

        def work(n: int) -> None:
            self.algo.fit(
                self.dataset,
                n_steps=n,
                n_steps_per_epoch=n,
                show_progress=False,
                save_interval=10**9,
                logger_adapter=self.d3rlpy.logging.NoopAdapterFactory(),
            )

        return {"updates_per_second": self.timed(work, seconds)}

    def timed(self, work: Any, seconds: float) -> float:
        began = time.perf_counter()
        work(20)
        self.wait()
        n = max(1, round(20 * seconds / (time.perf_counter() - began)))
        began = time.perf_counter()
        work(n)
        self.wait()
        return n / (time.perf_counter() - began)

    def wait(self) -> None:
        if self.torch.cuda.is_available():
            self.torch.cuda.synchronize()


if __name__ == "__main__":
    serving.serve(lambda: Peer(sys.argv[1]))
