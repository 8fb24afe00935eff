"""The slow clock of a phase: its `refresh`, which runs between blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..core.contract import Context, Phase
from ..core.noise import Noise
from ..core.spec import Cfg, Step
from ..core.trained import weighted
from ..core.tree import where
from .carry import BlockMetrics, Carry, Sources
from .rings import Rings


def refreshed(
    phase: Phase, rings: Rings, cfg: Cfg, carry: Carry, sources: Sources, ctx: Context, noise: Noise, step: Step
) -> tuple[Carry, dict[str, Any]]:
    """The carry of one replica after a refresh, and the refresh's metrics as pairs of value and weight.

    Args:
        phase: the phase, which has a refresh.
        rings: how the phase writes to its replay buffers.
        cfg: config of the replica.
        carry: its carry.
        sources: the data.
        ctx: what the algorithm may look at.
        noise: noise of this refresh.
        step: steps of the phase so far.
    """
    given = phase.refresh(cfg, carry.state, {**sources, **carry.rings}, ctx, noise, step)  # type: ignore[misc]
    written = {name: rings.appended(carry.rings, name, rows) for name, rows in given.rows.items()}
    new = carry._replace(state=given.state, columns=dict(given.columns), rings={**carry.rings, **written})
    if phase.until is not None:  # only then can a replica be done
        old = carry if carry.columns else carry._replace(columns=new.columns)
        new = where(carry.done, old, new)
    return new, weighted(given.metrics)


def reported(metrics: Mapping[str, Any], names: Sequence[str], done: np.ndarray, step: int) -> BlockMetrics:
    """The metrics of a refresh.

    Args:
        metrics: values [R] and weights [R] by name.
        names: names of the metrics in their order, M in all.
        done: which replicas have stopped, [R].
        step: steps of the phase so far.
    """
    mean = np.full((len(done), len(names)), np.nan)
    known = np.zeros(mean.shape, bool)
    for i, name in enumerate(names):
        value, weight = metrics[name]
        mean[:, i] = value
        known[:, i] = np.asarray(weight) > 0
    known &= ~done[:, None]
    return BlockMetrics(np.where(known, mean, np.nan), np.where(known & ~np.isfinite(mean), step, -1))
