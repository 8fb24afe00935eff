"""Finds the runs under a folder and summarises each in one row: the input of `holdfast runs`."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..algorithms import registry
from ..core.errors import UserError
from ..evaluation.statistics import Estimate, average_name
from .folder import RunFolder
from .read import Record, read_run
from .settings import Settings


@dataclasses.dataclass(frozen=True)
class Listed:
    """One run. Where a run cannot be read, most fields are None and `fault` says why."""

    path: Path
    state: str  # finished, in use, interrupted or damaged
    algorithm: str | None = None
    data: str | None = None  # the data set; the environment if there are no data
    preset: str | None = None
    seeds: int | None = None
    settings: int | None = None  # combinations of swept values, 1 if nothing was swept
    steps: int | None = None  # of each replica, as planned
    reached: int | None = None  # steps in the last row of metrics
    best: str | None = None  # swept values that `final` belongs to; None: nothing was swept
    average: str | None = None  # kind of `final`: "IQM" or "mean"
    final: Estimate | None = None  # average of the last returns; of the best swept values
    fault: str | None = None  # why the run cannot be read, or has no rows

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready values; `final` has the entries value, low and high."""
        values = {**dataclasses.asdict(self), "path": str(self.path)}
        return values | {"final": None if self.final is None else self.final._asdict()}


def list_runs(folder: str | Path) -> list[Listed]:
    """The runs under a folder, in the order of their paths.

    Raises:
        UserError: there is no such folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder: name one that contains runs, for example runs")
    return [summary(path) for path in find_runs(folder)]


def find_runs(folder: Path) -> Iterator[Path]:
    """Folders of runs under `folder`, and `folder` itself if it is one, in the order of their paths."""
    for path, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if {"config.json", "metrics.csv"} <= set(files):
            folders.clear()  # the copy of an offline run in a fine-tuning run is not a run of its own
            yield Path(path)


def summary(path: Path) -> Listed:
    """One run in a row."""
    folder = RunFolder(path)
    state = "finished" if folder.result.is_file() else "in use" if folder.in_use else "interrupted"
    try:
        settings = Settings.from_dict(folder.read_config(), str(folder.config))
        presets = registry.get(settings.algorithm).presets
        known = Listed(
            path,
            state,
            algorithm=settings.algorithm,
            data=settings.subject,
            preset=settings.preset or next(iter(presets)),
            seeds=settings.seeds,
            steps=settings.steps,
        )
    except UserError as error:
        return Listed(path, "damaged", fault=str(error))
    try:
        return _read(known, read_run(path))
    except UserError as error:
        return dataclasses.replace(known, fault=str(error))


def _read(known: Listed, record: Record) -> Listed:
    """The row with the numbers of the run's tables."""
    groups = record.groups
    found = dataclasses.replace(
        known,
        settings=len(groups),
        reached=int(record.metric_steps[-1]) if len(record.metric_steps) else 0,
    )
    if not len(record.eval_steps):
        return found
    best = record.best
    return dataclasses.replace(
        found,
        best=best.label or None,
        average=average_name(len(best.rows)),
        final=record.average(best.rows),
    )
