"""What the tests of the studies share: runs of made-up returns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from holdfast.runs.read import Record


def run_of(returns: Any, steps: Sequence[int] | None = None, metrics: Mapping[str, Any] | None = None) -> Record:
    """A run with the seeds 0, 1 ... and these returns [R, T, E], evaluated at `steps` [T]: 100, 200 ... if None.

    Metrics are [R, T], reported at the same steps.
    """
    returns = np.asarray(returns, float)
    seeds = list(range(len(returns)))
    names = [f"seed-{seed}" for seed in seeds]
    at = np.arange(1, returns.shape[1] + 1) * 100 if steps is None else np.asarray(steps)
    arrays = {name: np.asarray(values, float) for name, values in (metrics or {}).items()}
    config = {"algorithm": "sac", "data": None, "env": "E"}
    return Record(None, config, None, names, seeds, [{}] * len(seeds), at, arrays, at, returns, None, [], "E", None)
