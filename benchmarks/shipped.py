"""How fast an exported policy answers on one core: ONNX Runtime, with and without a score of support, NumPy, and JAX.

`python shipped.py NAME` is a contestant of `speed.py`: it answers requests and keeps itself to one core.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

if __name__ == "__main__" and hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # before JAX starts its threads

import numpy as np
import serving
import synthetic

NAME = "iql"
BATCH = 1024
CALLS = 20  # before the clock runs
KINDS = {
    "onnx": "ONNX Runtime",
    "onnx_support": "ONNX Runtime with support and fallback",
    "numpy": "NumPy reader",
    "compiled": "compiled JAX function",
    "policy": "holdfast.Policy in JAX",
}


class Shipped:
    """A policy with random weights of the published sizes, in every form."""

    def __init__(self, name: str) -> None:
        import jax
        from gymnasium.spaces import Box

        from holdfast.algorithms import registry
        from holdfast.core.config import as_arrays
        from holdfast.core.contract import Context, Treatment
        from holdfast.core.noise import Noise
        from holdfast.core.spec import Spec
        from holdfast.data.dataset import Dataset
        from holdfast.data.feed.treatment import fit
        from holdfast.policy.export import reader, writers
        from holdfast.policy.export.served import serve
        from holdfast.policy.policy import Policy

        algorithm = registry.get(name)
        cfg = next(iter(algorithm.presets.values())).config
        spec = Spec((synthetic.OBS,), synthetic.ACTION)
        rng = np.random.default_rng(0)
        steps = 5000
        ends = np.arange(steps) % 100 == 99
        data = Dataset.from_arrays(
            rng.normal(size=(steps, synthetic.OBS)), np.tanh(rng.normal(size=(steps, synthetic.ACTION))),
            np.zeros(steps), ends, next_observations=rng.normal(size=(steps, synthetic.OBS)),
            action_space=Box(-1, 1, (synthetic.ACTION,), np.float32),
        )  # fmt: skip
        state = algorithm.init(as_arrays(cfg), Context(spec, None, {}), Noise(jax.random.PRNGKey(0)))
        policy = Policy(algorithm, cfg, state, spec, fit(Treatment(normalize_obs=1e-3), data), {})
        guarded = policy.with_support(data, fallback="nearest")
        served = serve(policy, "best")
        compiled = jax.jit(served.function)
        with tempfile.TemporaryDirectory() as folder:
            onnx = writers.onnx_runner(policy.export(folder).path.read_bytes())
            onnx_support = writers.onnx_runner(guarded.export(folder).path.read_bytes())
            numpy = reader.load(policy.export(folder, "numpy").path)
            self.bytes = {kind: Path(folder, f"policy.{end}").stat().st_size
                          for kind, end in (("onnx_support", "onnx"), ("numpy", "npz"))}  # fmt: skip
        self.call: dict[str, Callable[[np.ndarray], Any]] = {
            "onnx": lambda rows: onnx({"observation": rows}),
            "onnx_support": lambda rows: onnx_support({"observation": rows}),
            "numpy": lambda rows: numpy({"observation": rows}),
            "compiled": lambda rows: np.asarray(compiled(rows)[0]),
            "policy": lambda rows: policy(rows),
        }
        self.rows = rng.normal(size=(BATCH, synthetic.OBS)).astype(np.float32)

    def turn(self, kind: str, rows: int, seconds: float) -> dict[str, Any]:
        """Seconds of a call: the median and the 99th percentile of about `seconds` of calls."""
        given = self.rows[:rows]
        for _ in range(CALLS):
            self.call[kind](given)
        times = []
        end = time.perf_counter() + seconds
        while time.perf_counter() < end or len(times) < CALLS:
            began = time.perf_counter()
            self.call[kind](given)
            times.append(time.perf_counter() - began)
        return {"median": statistics.median(times), "p99": float(np.quantile(times, 0.99)), "calls": len(times)}


def measure(worker: Any, rounds: int, seconds: float) -> dict[str, Any]:
    """All kinds in turns, with one row and with many.

    Args:
        worker: the contestant, whose `ask` sends a request.
        rounds: turns of each kind.
        seconds: length of a turn.
    """
    turns: dict[str, list[dict[str, Any]]] = {}
    for count in range(rounds):
        order = [(kind, rows) for kind in KINDS for rows in (1, BATCH)]
        for kind, rows in order if count % 2 == 0 else order[::-1]:
            turns.setdefault(f"{kind}/{rows}", []).append(worker.ask("turn", kind=kind, rows=rows, seconds=seconds))
    found: dict[str, Any] = {"algorithm": NAME, "batch": BATCH, "kinds": {}}
    for kind in KINDS:
        one = turns[f"{kind}/1"]
        many = turns[f"{kind}/{BATCH}"]
        found["kinds"][kind] = {
            "latency_us": 1e6 * statistics.median(turn["median"] for turn in one),
            "latency_p99_us": 1e6 * statistics.median(turn["p99"] for turn in one),
            "rows_per_second": BATCH / statistics.median(turn["median"] for turn in many),
        }
    return found


def report(found: dict[str, Any]) -> list[str]:
    """The figures as lines below the table."""
    parts = [
        f"{KINDS[kind]} {each['latency_us']:,.0f} us (99th percentile {each['latency_p99_us']:,.0f}), "
        f"{each['rows_per_second']:,.0f} rows/s"
        for kind, each in found["kinds"].items()
    ]
    return [
        f"serving a policy of {found['algorithm']} on one core, time of a call with one row and throughput with "
        f"{found['batch']:,} rows: " + "; ".join(parts) + "."
    ]


if __name__ == "__main__":
    serving.serve(lambda: Shipped(sys.argv[1]))
