"""What a run writes of itself: rows of its metrics, evaluations and times, what it has cost, and the result."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from ..evaluation.evaluate import Evaluation
from ..policy.folder import versions
from ..runs.folder import RunFolder, Table
from ..runs.settings import Replica, Settings
from .loop import Program
from .plan.task import Problem


class Ledger:
    """The tables of a run and its counts, which go back together to what a checkpoint counted."""

    def __init__(
        self, folder: RunFolder, settings: Settings, replicas: Sequence[Replica], names: Sequence[str], began: float
    ) -> None:
        """
        Args:
            folder: of the run.
            settings: its sweep stands in every row.
            replicas: a row each.
            names: every metric that one of its phases reports.
            began: when this part of the run began, by `time.perf_counter`.
        """
        self.replicas, self.names = replicas, list(names)
        labels = ["step", "phase", "replica", "seed", *settings.sweep]
        self.metrics = Table(folder.metrics, [*labels, *names])
        self.evaluations = Table(folder.evaluations, [*labels, "episode", "episode_seed", "return", "length"])
        self.timing = Table(folder.timing, ["step", "phase", "updates", "seconds", "updates_per_second"])
        self.evaluated: list[Any] = []  # phase and step of the last rows of evaluations
        self.updates, self.seconds = 0, 0.0  # of blocks
        self.earlier, self.began = 0.0, began  # seconds before it was resumed, and when it went on

    @property
    def wall(self) -> float:
        """Seconds of the whole run, without the time between a stop and going on."""
        return self.earlier + time.perf_counter() - self.began

    def begin(self) -> None:
        """Empty tables."""
        for table in (self.metrics, self.evaluations, self.timing):
            table.begin()

    def counts(self) -> dict[str, Any]:
        """What a checkpoint keeps to `go_back` by; the rows counted are on the disk."""
        for table in (self.metrics, self.evaluations, self.timing):
            table.sync()
        return {
            "metrics_rows": self.metrics.rows,
            "evaluation_rows": self.evaluations.rows,
            "timing_rows": self.timing.rows,
            "evaluated": self.evaluated,
            "updates": self.updates,
            "seconds": self.seconds,
            "wall_seconds": self.wall,
        }

    def go_back(self, counts: Mapping[str, Any]) -> None:
        """To what a checkpoint counted: rows after it are cut off.

        Raises:
            UserError: a table has fewer rows, or another header.
        """
        self.metrics.cut(counts["metrics_rows"])
        self.evaluations.cut(counts["evaluation_rows"])
        self.timing.cut(counts["timing_rows"])
        self.evaluated, self.earlier = counts["evaluated"], counts["wall_seconds"]
        self.updates, self.seconds = counts["updates"], counts["seconds"]

    def block(self, step: int, phase: str, metrics: Mapping[str, np.ndarray], updates: int, seconds: float) -> None:
        """A block that ended at `step`: metrics [R] by name, where NaN stands for nothing reported."""
        self.updates, self.seconds = self.updates + updates, self.seconds + seconds
        rows = []
        for i in range(len(self.replicas)):
            values = [float(metrics[name][i]) if name in metrics else float("nan") for name in self.names]
            rows.append([*self._labels(step, phase, i), *("" if np.isnan(x) else x for x in values)])
        self.metrics.add(rows)
        self.timing.add([[step, phase, updates, seconds, updates / seconds]])

    def evaluation(self, step: int, phase: str, found: Evaluation) -> None:
        """Every episode of an evaluation at `step`."""
        if self.has_evaluation(step, phase):  # of a killed run, whose checkpoint counts these rows already
            return
        rows = []
        for i in range(len(self.replicas)):
            played = zip(found.seeds[i], found.returns[i], found.lengths[i], strict=True)
            rows += [[*self._labels(step, phase, i), e, int(s), float(r), int(n)] for e, (s, r, n) in enumerate(played)]
        self.evaluations.add(rows)
        self.evaluated = [phase, step]

    def has_evaluation(self, step: int, phase: str) -> bool:
        """Whether the last rows of evaluations are of this step."""
        return self.evaluated == [phase, step]

    def _labels(self, step: int, phase: str, i: int) -> list[Any]:
        replica = self.replicas[i]
        return [step, phase, replica.name, replica.seed, *replica.values.values()]


def result_of(
    settings: Settings,
    problem: Problem,
    programs: Sequence[Program],
    ledger: Ledger,
    step: int,
    last: Evaluation | None,
) -> dict[str, Any]:
    """What `result.json` holds of a run that ended at `step`; `last` is its last evaluation."""
    replicas = ledger.replicas
    return {
        "algorithm": settings.algorithm,
        "dataset": settings.data,
        "dataset_fingerprint": problem.fingerprint,
        "steps": step,
        "seeds": [r.seed for r in replicas],
        "replicas": [r.name for r in replicas],
        "sweep": [r.values for r in replicas],
        "environment": last.env_id if last else None,
        "returns": last.returns.tolist() if last else [],
        "episode_seeds": last.seeds.tolist() if last else [],
        "return_mean": float(last.returns.mean()) if last else None,
        "return_interval": [last.mean.low, last.mean.high] if last else None,
        "return_iqm": last.iqm._asdict() if last else None,
        "normalized_score": last.score if last else None,
        "normalized_scores": last.scores.tolist() if last and last.scores is not None else None,
        "logged_return_mean": problem.logged,
        "updates_per_second": ledger.updates / ledger.seconds if ledger.seconds else None,
        "compile_seconds": sum(p.compile_seconds for p in programs),
        "wall_seconds": ledger.wall,
        "flops_per_update": [p.flops / len(replicas) if p.flops else None for p in programs],
        "versions": versions(),
        "device": jax.devices()[0].device_kind,
        "config": settings.to_dict(),
    }
