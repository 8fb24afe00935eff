"""The switch from offline to online: what a fine-tuning run takes from the offline one, and what the switch cost."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ..core.errors import UserError
from ..core.files import read_checked, write_atomic
from ..evaluation.statistics import LEVEL, RESAMPLES
from ..policy.storage import arrays_of, fill, load_tree, save_tree
from ..runs.folder import OFFLINE, RunFolder

T = TypeVar("T")

START = "start.safetensors"  # of a fine-tuning run: the states that it began with


def read(source: dict[str, Any], like: T) -> T:
    """The states that an offline run ended with.

    Args:
        source: its folder (`run`) and the step of its checkpoint (`step`).
        like: shapes of the states, leaves [R, ...].

    Raises:
        UserError: the run is gone, its checkpoint is damaged, or its states are of other shapes.
    """
    saved = RunFolder(source["run"]).checkpoints.read(source["step"])
    arrays = arrays_of(saved.data, saved.where)
    states = {name.removeprefix("state."): x for name, x in arrays.items() if name.startswith("state.")}
    return fill(like, states, saved.where)


def keep(folder: RunFolder, source: dict[str, Any], state: Any) -> None:
    """Copy what a fine-tuning run needs of the offline one, which it then never reads again: states, evaluations."""
    run = RunFolder(source["run"])
    for name in (run.evaluations, run.config):
        write_atomic(folder.path / OFFLINE / name.name, read_checked(name))
    save_tree(folder.path / START, state)


def kept(folder: RunFolder, source: dict[str, Any], like: T) -> T:
    """The states that `keep` wrote; where it was killed before, it is done now.

    Raises:
        UserError: the copy is damaged, or it is not there and the offline run is gone.
    """
    start = folder.path / START
    if not start.is_file():
        try:
            keep(folder, source, read(source, like))
        except UserError as error:
            raise UserError(
                f"{folder.path} was stopped before it had copied what it fine-tunes from {source['run']}: bring that "
                f"run back, or start anew ({error})"
            ) from error
    return load_tree(start, like)


def summary(evaluations: Path) -> dict[str, Any] | None:
    """What the switch did to the returns, from the evaluations of a fine-tuning run; None where there was only one.

    `return_before` is the mean return before the first online step, `return_lowest` the lowest mean return of the
    evaluations after it (at `lowest_step`) and `deepest_dip` how far that lies below the first, at least 0;
    `return_end` is the last one. `regret` is the mean over the evaluations after the switch of how far each lies below
    the best of all. Each is of the replicas' mean curve; `replicas` has the same of each alone, and `intervals`, where
    there are several, the 95 % bootstrap interval over replicas.
    """
    with evaluations.open(newline="") as file:
        rows = list(csv.DictReader(file))
    steps = sorted({int(row["step"]) for row in rows})
    names = list(dict.fromkeys(row["replica"] for row in rows))
    if len(steps) < 2:
        return None
    sums, counts = np.zeros((len(names), len(steps))), np.zeros((len(names), len(steps)))
    for row in rows:
        at = names.index(row["replica"]), steps.index(int(row["step"]))
        sums[at] += float(row["return"])
        counts[at] += 1
    curves = sums / counts
    found = {**_of_curve(steps, curves.mean(0)), "replicas": [_of_curve(steps, curve) for curve in curves]}
    if len(names) > 1:
        draws = np.random.default_rng(0).integers(0, len(names), (RESAMPLES, len(names)))
        spread = _measures(curves[draws].mean(1))
        tail = 100 * (1 - LEVEL) / 2
        found["intervals"] = {name: np.percentile(x, [tail, 100 - tail]).tolist() for name, x in spread.items()}
    return found


def _of_curve(steps: list[int], curve: np.ndarray) -> dict[str, Any]:
    found = {name: float(x[0]) for name, x in _measures(curve[None]).items()}
    return {**found, "lowest_step": steps[int(curve[1:].argmin()) + 1]}


def _measures(curves: np.ndarray) -> dict[str, np.ndarray]:
    """Of mean returns [K, evaluations], the first before the switch: [K] each."""
    before, after = curves[:, 0], curves[:, 1:]
    return {
        "return_before": before,
        "return_lowest": after.min(1),
        "deepest_dip": np.maximum(0.0, before - after.min(1)),
        "return_end": after[:, -1],
        "regret": (curves.max(1, keepdims=True) - after).mean(1),
    }
