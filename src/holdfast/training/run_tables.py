"""The CSV tables of a run, its counters, and its result."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..evaluation.evaluate import Evaluation
from ..evaluation.statistics import Estimate
from ..policy.folder import versions
from ..runs import csv_tables
from ..runs.csv_tables import Table
from ..runs.folder import RunFolder
from ..runs.groups import alone, by_setting
from ..runs.replicas import Replica
from ..runs.settings import Settings
from .plan.plan import Plan


class RunTables:
    """Writes a run's CSV tables and counters. On resume, both are rolled back to the checkpoint."""

    def __init__(
        self, folder: RunFolder, settings: Settings, replicas: Sequence[Replica], names: Sequence[str], began: float
    ) -> None:
        """
        Args:
            folder: the run's folder.
            settings: its settings; every row contains the swept ones.
            replicas: one row for each.
            names: every metric that one of the phases reports.
            began: when this process started the run, by `time.perf_counter`.
        """
        self.replicas = replicas
        self.names = list(names)
        labels = ["step", "phase", "replica", "seed", *settings.sweep]
        self.metrics = Table(folder.metrics, [*labels, *names])
        self.evaluations = Table(folder.evaluations, [*labels, "episode", "episode_seed", "return", "length"])
        self.timing = Table(folder.timing, ["step", "phase", "updates", "seconds", "updates_per_second"])
        heldout = Table(folder.heldout, [*labels, "estimator", "estimate", "low", "high", "refused"])
        self.heldout = heldout if settings.rule[0] == "estimate" else None  # estimates on held-out episodes
        self.evaluated: list[Any] = []  # phase and step of the last rows of evaluations
        self.updates = 0  # in all blocks
        self.seconds = 0.0  # in all blocks
        self.earlier = 0.0  # seconds in earlier processes of this run
        self.began = began

    @property
    def wall(self) -> float:
        """Seconds of the whole run, without the time between an interruption and the resume."""
        return self.earlier + time.perf_counter() - self.began

    def begin(self) -> None:
        """Write empty tables."""
        for table, _ in self._tables:
            table.begin()

    @property
    def _tables(self) -> list[tuple[Table, str]]:
        """The tables, with their names in a checkpoint."""
        found = [(self.metrics, "metrics"), (self.evaluations, "evaluation"), (self.timing, "timing")]
        return found if self.heldout is None else [*found, (self.heldout, "estimate")]

    def counts(self) -> dict[str, Any]:
        """What a checkpoint stores for `go_back`. All rows that it counts are on the disk."""
        for table, _ in self._tables:
            table.sync()
        return {
            **{f"{name}_rows": table.rows for table, name in self._tables},
            **{f"{name}_sha256": table.sha256 for table, name in self._tables},
            "evaluated": self.evaluated,
            "updates": self.updates,
            "seconds": self.seconds,
            "wall_seconds": self.wall,
        }

    def go_back(self, counts: Mapping[str, Any]) -> None:
        """Return to the counts of a checkpoint: later rows are removed.

        Raises:
            UserError: a table has fewer rows, another header or a changed field. No table is changed then.
        """
        counted = self._tables
        for table, name in counted:  # all are read before one is changed
            table.first(counts[f"{name}_rows"], counts.get(f"{name}_sha256"))
        for table, name in counted:
            table.cut(counts[f"{name}_rows"], counts.get(f"{name}_sha256"))
        self.evaluated = counts["evaluated"]
        self.earlier = counts["wall_seconds"]
        self.updates = counts["updates"]
        self.seconds = counts["seconds"]

    def block(self, step: int, phase: str, metrics: Mapping[str, np.ndarray], updates: int, seconds: float) -> None:
        """Add the rows of a block.

        Args:
            step: last step of the run.
            phase: the phase's name.
            metrics: [R] by name; NaN if a replica reported nothing.
            updates: number of updates of all replicas together.
            seconds: for the block.
        """
        self.updates += updates
        self.seconds += seconds
        rows = []
        for i in range(len(self.replicas)):
            values = [float(metrics[name][i]) if name in metrics else float("nan") for name in self.names]
            rows.append([*self._labels(step, phase, i), *("" if np.isnan(x) else x for x in values)])
        self.metrics.add(rows)
        self.timing.add([[step, phase, updates, seconds, updates / seconds]])

    def evaluation(self, step: int, phase: str, found: Evaluation) -> None:
        """Add a row for every episode of an evaluation."""
        if self.has_evaluation(step, phase):  # of a killed run: its checkpoint counts these rows already
            return
        rows = []
        for i in range(len(self.replicas)):
            played = zip(found.seeds[i], found.returns[i], found.lengths[i], strict=True)
            rows += [[*self._labels(step, phase, i), e, int(s), float(r), int(n)] for e, (s, r, n) in enumerate(played)]
        self.evaluations.add(rows)
        self.evaluated = [phase, step]

    def estimated(self, step: int, phase: str, found: Sequence[tuple[str, Estimate | None]]) -> None:
        """Add a row of held-out estimates for every replica: the estimator and its value, or why it is refused."""
        assert self.heldout is not None, "only a run with the rule estimate:N has this table"
        rows = []
        for i, (name, one) in enumerate(found):
            cells = ["", "", "", "", name] if one is None else [name, *("" if x is None else float(x) for x in one), ""]
            rows.append([*self._labels(step, phase, i), *cells])
        self.heldout.add(rows)

    def has_estimates(self, step: int, phase: str) -> bool:
        """Whether the table of held-out estimates has rows of this step."""
        assert self.heldout is not None, "only a run with the rule estimate:N has this table"
        rows = csv_tables.read(self.heldout.path)
        return any(int(row["step"]) == step and row["phase"] == phase for row in rows)

    def has_evaluation(self, step: int, phase: str) -> bool:
        """Whether the last rows of evaluations are of this step."""
        return self.evaluated == [phase, step]

    def _labels(self, step: int, phase: str, i: int) -> list[Any]:
        replica = self.replicas[i]
        return [step, phase, replica.name, replica.seed, *replica.values.values()]


def result_of(
    plan: Plan, tables: RunTables, step: int, last: Evaluation | None, exact: bool | None = None
) -> dict[str, Any]:
    """The contents of `result.json`.

    Args:
        plan: the plan of the run.
        tables: its tables.
        step: last step of the run.
        last: its last evaluation.
        exact: whether a resumed run has the same bits; None if the run collects nothing.
    """
    settings = plan.settings
    replicas = plan.replicas
    more: dict[str, Any] = {}
    if exact is not None:
        more["exact"] = "exact" if exact else "exact except the environment"
    if settings.source:
        more["source"] = settings.source
    if plan.task.spec.networks.changed:
        more["networks"] = plan.task.spec.networks.changed
    names = [r.name for r in replicas]
    sweep = [r.values for r in replicas]
    settings_found = by_setting(names, sweep, last.returns, last.scores) if last else []
    return {
        "algorithm": settings.algorithm,
        "dataset": settings.data,
        "dataset_fingerprint": plan.task.fingerprint,
        "steps": step,
        "seeds": [r.seed for r in replicas],
        "replicas": names,
        "sweep": sweep,
        "environment": last.env_id if last else None,
        "returns": last.returns.tolist() if last else [],
        "episode_seeds": last.seeds.tolist() if last else [],
        "by_setting": settings_found,
        **alone(settings_found),
        "normalized_scores": last.scores.tolist() if last and last.scores is not None else None,
        "logged_return_mean": plan.task.logged,
        "updates_per_second": tables.updates / tables.seconds if tables.seconds else None,
        "compile_seconds": sum(program.compiling.seconds for program in plan.programs),
        "wall_seconds": tables.wall,
        "flops_per_update": [p.flops / len(replicas) if p.flops else None for p in plan.programs],
        "versions": versions(),
        "device": plan.programs[0].hardware.name,
        "config": settings.to_dict(),
        **more,
    }
