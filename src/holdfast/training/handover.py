"""From offline to online: what a fine-tuning run copies from the offline run, and what the handover cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ..core.errors import UserError
from ..core.files import read_checked, write_atomic
from ..core.tree import Tree
from ..evaluation.statistics import LEVEL, RESAMPLES
from ..policy.storage import arrays_of, fill, load_tree, save_tree
from ..runs import csv_tables
from ..runs.folder import OFFLINE, RunFolder

T = TypeVar("T")

START = "start.safetensors"  # file of a fine-tuning run: the states that it starts from


def read(source: Mapping[str, Any], like: T) -> T:
    """The last states of an offline run.

    Args:
        source: its folder (`run`) and the step of its checkpoint (`step`).
        like: shapes of the states, leaves [R, ...].

    Raises:
        UserError: the run no longer exists, its checkpoint is damaged, or its states have other shapes.
    """
    saved = RunFolder(source["run"]).checkpoints.read(source["step"])
    arrays = arrays_of(saved.data, saved.where)
    states = {name.removeprefix("state."): x for name, x in arrays.items() if name.startswith("state.")}
    return fill(like, states, saved.where)


def keep(folder: RunFolder, source: Mapping[str, Any], state: Tree) -> None:
    """Copy states and evaluations of the offline run into the fine-tuning run, which needs nothing else of it.

    Args:
        folder: the fine-tuning run; the copies go there.
        source: the offline run, as for `read`.
        state: its last states.

    Raises:
        UserError: a file of the offline run cannot be read, or the disk is full or read-only.
    """
    run = RunFolder(source["run"])
    for name in (run.evaluations, run.config):
        write_atomic(folder.path / OFFLINE / name.name, read_checked(name))
    save_tree(folder.path / START, state)


def kept(folder: RunFolder, source: Mapping[str, Any], like: T) -> T:
    """Load the states saved by `keep`, copying them first if the earlier process was killed before it did so.

    Args:
        folder: the fine-tuning run.
        source: the offline run, as for `read`.
        like: shapes of the states, leaves [R, ...].

    Raises:
        UserError: the copy is damaged, or there is no copy and the offline run no longer exists.
    """
    start = folder.path / START
    if not start.is_file():
        try:
            keep(folder, source, read(source, like))
        except UserError as error:
            raise UserError(
                f"{folder.path} was stopped before it had copied the states of {source['run']}: restore that run, or "
                f"start a new fine-tuning run ({error})"
            ) from error
    return load_tree(start, like)


def summary(path: Path, rows: Sequence[int] | None = None) -> dict[str, Any] | None:
    """What the handover did to the returns, from the evaluations of a fine-tuning run.

    Args:
        path: its `evaluations.csv`.
        rows: indices of the replicas that count, which have the same settings; None: all.

    Returns:
        None if there is only one evaluation. Else, for the mean curve of the replicas: `return_before`, the mean return
        before the first online step; `return_lowest`, the lowest mean return of the later evaluations, at
        `lowest_step`; `return_end`, the last mean return. Two numbers are computed for each replica, then averaged:
        `deepest_dip`, how far the lowest of its later evaluations is below its first, at least 0; `regret`, the mean
        distance of its later evaluations to its best one. `replicas` has all of them for each replica alone. If there
        are several, `intervals` has the 95 % bootstrap interval over replicas; that of `return_lowest` is at
        `lowest_step`.

    Raises:
        UserError: the table cannot be read.
    """
    table = csv_tables.evaluations(path)
    steps = table.steps.tolist()
    if len(steps) < 2:
        return None
    curves = table.returns.mean(2) if rows is None else table.returns[list(rows)].mean(2)
    count = len(curves)
    lowest = _lowest(curves.mean(0))
    measures = _measures(curves, np.full(count, lowest))
    found: dict[str, Any] = {name: float(x.mean()) for name, x in measures.items()}
    found["lowest_step"] = steps[lowest]
    own = np.array([_lowest(curve) for curve in curves])
    alone = _measures(curves, own)
    found["replicas"] = [
        {**{name: float(x[i]) for name, x in alone.items()}, "lowest_step": steps[own[i]]} for i in range(count)
    ]
    if count > 1:
        draws = np.random.default_rng(0).integers(0, count, (RESAMPLES, count))
        tail = 100 * (1 - LEVEL) / 2
        bounds = [tail, 100 - tail]
        found["intervals"] = {name: np.percentile(x[draws].mean(1), bounds).tolist() for name, x in measures.items()}
    return found


def add_summaries(result: dict[str, Any], path: Path) -> None:
    """Write `summary` into the results of a fine-tuning run: of a sweep, into the entry of each setting.

    Args:
        result: the contents of `result.json`; `finetune` is added. It is None in a sweep.
        path: the run's `evaluations.csv`.

    Raises:
        UserError: the table cannot be read.
    """
    entries = result["by_setting"]
    result["finetune"] = summary(path) if len(entries) == 1 else None
    if len(entries) > 1:
        for entry in entries:
            entry["finetune"] = summary(path, [result["replicas"].index(name) for name in entry["replicas"]])


def _lowest(curve: np.ndarray) -> int:
    """Index of the lowest value after the first."""
    return int(curve[1:].argmin()) + 1


def _measures(curves: np.ndarray, lowest: np.ndarray) -> dict[str, np.ndarray]:
    """The numbers of each replica, [R] each.

    Args:
        curves: mean returns [R, T] of R replicas in T evaluations, of which the first is before the handover.
        lowest: index [R] of the evaluation that `return_lowest` is of.
    """
    before = curves[:, 0]
    after = curves[:, 1:]
    return {
        "return_before": before,
        "return_lowest": curves[np.arange(len(curves)), lowest],
        "deepest_dip": np.maximum(0.0, before - after.min(1)),
        "return_end": after[:, -1],
        "regret": (curves.max(1, keepdims=True) - after).mean(1),
    }
