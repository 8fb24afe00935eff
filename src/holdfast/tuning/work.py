"""One task of a search: a group of trials that share a program, as one resumable run. It runs in any process."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..core.errors import Diverged, UserError
from ..core.files import read_json, write_json
from ..core.schema import require_types
from ..evaluation.statistics import average, estimate_of
from ..policy.policy import Policy
from ..runs.folder import InUse, RunFolder
from ..runs.settings import Settings
from ..runs.trials import FINISHED
from ..selection.ope import ope
from ..training.hooks import Hook
from ..training.launch import ensure_finished

DIVERGED = "diverged"
REFUSED = "refused"  # there is no estimate
FAILED = "failed"  # these settings or this machine refuse to train
OUTCOME = "outcome.json"  # in the folder of a run whose task is done
WAIT = 300.0  # seconds for the lock of a run: the worker that trained it before may take some time to die


class Held(NamedTuple):
    """How trials are compared on logged data."""

    log: str  # data that no trial learns from
    estimator: str  # see `evaluation.ope.estimators.ESTIMATORS`


class Task(NamedTuple):
    """A run to train and to score."""

    folder: str
    settings: dict[str, Any]  # `Settings.to_dict`
    points: int  # trials in the run; its replicas are `points` times the seeds
    held: Held | None  # None: trials are compared by their returns
    trust: bool  # whether a run that is resumed may import what its files name


class Scored(NamedTuple):
    """What became of one trial. Its fields are those of `runs.trials.Trial`."""

    state: str
    each: list[float]
    value: float | None = None
    low: float | None = None
    high: float | None = None
    score: float | None = None
    note: str = ""


class Outcome(NamedTuple):
    """What became of a task."""

    state: str
    trials: list[Scored]  # one for each point; empty unless the run is finished
    replicas: list[str]
    note: str = ""


SCORED: dict[str, Any] = {
    "state": str, "each": list[float], "value": float | None, "low": float | None, "high": float | None,
    "score": float | None, "note": str,
}  # fmt: skip
FACTS: dict[str, Any] = {"state": str, "trials": list[dict[str, Any]], "replicas": list[str], "note": str}


def work(task: Task, hooks: Sequence[Hook] = ()) -> Outcome:
    """Train the run of a task, or resume it, and score its trials. The outcome is written into the run's folder.

    Raises:
        Stopped: a signal came; the run can be resumed.
    """
    file = Path(task.folder) / OUTCOME
    if file.is_file():
        return read_outcome(file)
    try:
        result = _trained(task, hooks)
        outcome = Outcome(FINISHED, _scored(task, result), result["replicas"])
    except Diverged as error:
        outcome = Outcome(DIVERGED, [], [], str(error))
    except UserError as error:
        return Outcome(FAILED, [], [], str(error))  # it is tried again when the search is resumed
    facts = outcome._asdict() | {"trials": [one._asdict() for one in outcome.trials]}
    write_json(file, facts)
    return outcome


def read_outcome(path: Path) -> Outcome:
    """The outcome of a task that is done.

    Raises:
        UserError: the file is damaged.
    """
    facts = require_types(read_json(path), FACTS, str(path), tuple(FACTS))
    trials = [require_types(one, SCORED, f"trials of {path}", tuple(SCORED)) for one in facts["trials"]]
    return Outcome(facts["state"], [Scored(**one) for one in trials], facts["replicas"], facts["note"])


def _trained(task: Task, hooks: Sequence[Hook]) -> dict[str, Any]:
    settings = Settings.from_dict(task.settings, task.folder)
    began = time.monotonic()
    while True:
        try:
            return ensure_finished(settings, task.folder, "--out", hooks, task.trust).result
        except InUse:
            if time.monotonic() - began > WAIT:
                raise
            time.sleep(0.5)


def _scored(task: Task, result: Mapping[str, Any]) -> list[Scored]:
    """The score of each trial of a finished run."""
    seeds = len(result["replicas"]) // task.points
    rows = [slice(i * seeds, (i + 1) * seeds) for i in range(task.points)]
    if task.held is None:
        return [_by_return(result, some) for some in rows]
    folders = RunFolder(task.folder).policy_folders(result["replicas"])
    return [_by_estimate(folders[some], task.held) for some in rows]


def _by_return(result: Mapping[str, Any], rows: slice) -> Scored:
    """The average return of a trial in the last evaluation, [R, E]; the average is that of `holdfast compare`."""
    returns = np.array(result["returns"], np.float64)[rows]
    if not returns.size:
        return Scored(REFUSED, [], note="nothing was evaluated: there is no environment")
    found = average(returns)
    scores = result["normalized_scores"]
    score = None if scores is None else float(np.mean(scores[rows]))
    return Scored(FINISHED, returns.mean(1).tolist(), found.value, found.low, found.high, score)


def _by_estimate(folders: Sequence[Path], held: Held) -> Scored:
    """The estimate of a trial: the mean of those of its seeds, all from the same resamples of the log."""
    found = [ope(Policy.load(folder), held.log, estimators=(held.estimator,))[held.estimator] for folder in folders]
    values = [row.value for row in found]
    draws = [row.draws for row in found]
    if any(value is None for value in values) or any(draw is None for draw in draws):
        reasons = next((row.refused for row in found if row.value is None), ("it has no resamples",))
        return Scored(REFUSED, [], note=f"{held.estimator}: {'; '.join(reasons)}")
    each = [float(value) for value in values if value is not None]
    resampled = np.mean(np.stack([draw for draw in draws if draw is not None]), 0)
    mean = estimate_of(float(np.mean(each)), resampled, len(resampled))
    return Scored(FINISHED, each, mean.value, mean.low, mean.high)


def packed(task: Task) -> str:
    """A task as text, for another process."""
    return json.dumps(task._asdict() | {"held": task.held and task.held._asdict()})


def unpacked(text: str) -> Task:
    """The task that `packed` wrote."""
    facts = json.loads(text)
    return Task(**facts | {"held": facts["held"] and Held(**facts["held"])})
