"""Holdfast's learned models in a separate process: training of an ensemble, rollouts in it, MOPO and SAC.

`python models_ours.py`; requests and answers as in worker.py. Published sizes: seven members of 200-200-200-200, batch
256 for each.
"""

from __future__ import annotations

from typing import Any

import jax
import serving
import synthetic
from worker import Ours, timed

STARTS = 10_000  # rollouts that start together
NEVER = 10**9  # updates between refreshes: none within a measurement


class Models:
    """What a run of MOPO consists of, each part measured alone, and SAC on the same rows."""

    def __init__(self) -> None:
        changes = {"rollout_every": NEVER, "rollout_batch": STARTS, "model_every": NEVER, "patience": 0}
        self.model = Ours("mopo", phases=1, **changes)
        self.mopo = Ours("mopo", **changes)
        self.sac = Ours("sac")

    def compile(self) -> dict[str, Any]:
        """Seconds to compile each program."""
        each = {"ensemble": self.model, "mopo": self.mopo, "sac": self.sac}
        return {name: one.compile(1)["compile_seconds"] for name, one in each.items()}

    def ensemble(self, seconds: float) -> dict[str, Any]:
        """Rows a second that every member learns from: a pass over N rows is an epoch."""
        return {"per_second": self.model.speed(1, seconds)["updates_per_second"] * synthetic.BATCH}

    def rollouts(self, seconds: float) -> dict[str, Any]:
        """Steps a second of the policy in the model, penalties and the writing into the ring included."""
        held = self.mopo.program(1)

        def work(n: int) -> Any:
            program, carry, at = held
            for _ in range(n):
                carry, _ = program.refresh(carry, at)
            held[1] = carry
            return jax.tree.leaves(carry.rings)

        work(1)
        return {"per_second": timed(work, 1, seconds) * STARTS * self.mopo.cfg.horizon}

    def mopo_updates(self, seconds: float) -> dict[str, Any]:
        """Updates a second of MOPO's policy, without rollouts."""
        return {"per_second": self.mopo.speed(1, seconds)["updates_per_second"]}

    def sac_updates(self, seconds: float) -> dict[str, Any]:
        """Updates a second of SAC on a log."""
        return {"per_second": self.sac.speed(1, seconds)["updates_per_second"]}


if __name__ == "__main__":
    serving.serve(Models)
