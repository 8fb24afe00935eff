"""A run folder read back into arrays, finished or not: what tables, pictures and pages are made of."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..core.errors import UserError
from ..core.files import read_json
from ..data.dataset import Dataset
from ..data.sources import load_dataset
from ..evaluation.scores import Reference, normalized, reference_of
from ..evaluation.statistics import Estimate, iqm_interval, mean_interval, two_stage_interval
from .folder import OFFLINE, RunFolder


class Group(NamedTuple):
    """Replicas that differ in their seed alone."""

    label: str  # "" where nothing was swept, else "expectile 0.7"
    rows: list[int]  # of the replicas


@dataclasses.dataclass(frozen=True, eq=False)
class Record:
    """A run. R replicas, S rows of metrics for each, T evaluations of E episodes."""

    path: Path
    config: dict[str, Any]
    result: dict[str, Any] | None  # None: the run has not ended
    replicas: list[str]
    seeds: list[int]
    sweep: list[dict[str, float]]  # swept settings of each replica
    metric_steps: np.ndarray  # [S] updates
    metrics: dict[str, np.ndarray]  # name -> [R, S], NaN where nothing was reported
    eval_steps: np.ndarray  # [T] updates
    returns: np.ndarray  # [R, T, E] undiscounted, raw
    lengths: np.ndarray  # [R, T, E] steps
    phases: list[tuple[str, int]]  # name, and updates at its first row
    environment: str | None
    reference: Reference | None  # returns of a random and an expert policy
    offline: tuple[np.ndarray, np.ndarray] | None = (
        None  # of a fine-tuning run: steps [S] and returns [R, S, E] before it
    )

    @property
    def origin(self) -> int:
        """Where this run begins on the axis of a curve: updates of the offline run that it takes up, else 0."""
        source = self.config.get("source")
        return int(source["step"]) if source else 0

    @property
    def groups(self) -> list[Group]:
        """Replicas by swept values, in the run's order."""
        found: dict[str, list[int]] = {}
        for i, values in enumerate(self.sweep):
            found.setdefault(", ".join(f"{name} {value:g}" for name, value in values.items()), []).append(i)
        return [Group(label, rows) for label, rows in found.items()]

    @property
    def title(self) -> str:
        """Algorithm and data set."""
        return f"{self.config['algorithm']} on {Path(self.subject).name if self.is_path else self.subject}"

    @property
    def subject(self) -> str:
        """What was learned from: the data set, or the environment."""
        return str(self.config["data"] or self.config["env"])

    @property
    def is_path(self) -> bool:
        """Whether the data set is named by its place on a disk."""
        return Path(self.subject).is_absolute()

    @property
    def logged(self) -> float | None:
        """Mean episode return in the data set: what the logging policy reached. None before the run has ended."""
        return None if self.result is None else self.result.get("logged_return_mean")

    def final(self, rows: list[int]) -> np.ndarray:
        """Returns [r, E] of some replicas in the last evaluation."""
        return self.returns[rows, -1]

    def iqm(self, rows: list[int]) -> Estimate:
        """Interquartile mean over replicas of their last mean returns, with its bootstrap interval."""
        return iqm_interval(self.final(rows).mean(1))

    def score(self, value: Any) -> Any:
        """Normalised score of returns of any shape; None where no reference is known."""
        return None if self.reference is None else normalized(value, self.reference)

    def over_seeds(self, rows: list[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Mean return and its 95 % bootstrap interval over seeds and episodes at each evaluation: three times [T]."""
        found = [two_stage_interval(self.returns[rows, t]) for t in range(len(self.eval_steps))]
        mean = np.array([e.value for e in found])
        low = np.array([e.value if e.low is None else e.low for e in found])
        high = np.array([e.value if e.high is None else e.high for e in found])
        return mean, low, high

    def curve(self, rows: list[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """`over_seeds` beside the steps, through the offline run too where this one takes it up: four times [T]."""
        steps, found = self.eval_steps + self.origin, self.over_seeds(rows)
        if self.offline is None:
            return steps, *found
        earlier = dataclasses.replace(self, eval_steps=self.offline[0], returns=self.offline[1], offline=None)
        both = zip(earlier.over_seeds(rows), found, strict=True)
        mean, low, high = (np.concatenate(pair) for pair in both)
        return np.concatenate([self.offline[0], steps]), mean, low, high

    def each(self, rows: list[int]) -> tuple[np.ndarray, np.ndarray]:
        """Steps [T] and mean returns [r, T] of some replicas, through the offline run too."""
        steps, means = self.eval_steps + self.origin, self.returns[rows].mean(2)
        if self.offline is None:
            return steps, means
        return np.concatenate([self.offline[0], steps]), np.concatenate([self.offline[1][rows].mean(2), means], 1)

    def dataset(self) -> Dataset:
        """The data it learned from, loaded anew.

        Raises:
            UserError: the data are no longer there, or were in memory only.
        """
        return load_dataset(self.subject, **self.config.get("data_options", {}))


def read_run(path: str | Path) -> Record:
    """Read a run folder.

    Raises:
        UserError: no run there, one that has not written a row yet, or files that are damaged.
    """
    folder = RunFolder(path)
    config = folder.read_config()
    result = read_json(folder.result) if folder.result.is_file() else None
    swept = list(config.get("sweep", {}))
    metric_rows, evaluation_rows = _rows(folder.metrics), _rows(folder.evaluations)
    rows = metric_rows or evaluation_rows
    if not rows:
        raise UserError(
            f"{folder.path} has no metrics yet: wait for its first block, or resume it with --resume {path}"
        )
    try:
        first = {row["replica"]: row for row in reversed(rows)}
        replicas = list(dict.fromkeys(row["replica"] for row in rows))
        seeds = [int(first[name]["seed"]) for name in replicas]
        sweep = [{key: float(first[name][key]) for key in swept} for name in replicas]
        at = {name: i for i, name in enumerate(replicas)}
        metric_steps, metrics = _metrics(metric_rows, at, swept)
        eval_steps, returns, lengths = _evaluations(evaluation_rows, at)
        earlier = (
            _evaluations(_rows(folder.path / OFFLINE / folder.evaluations.name), at) if config.get("source") else None
        )
    except (KeyError, ValueError, TypeError) as error:
        raise UserError(
            f"{folder.path}: metrics.csv or evaluations.csv is damaged ({error!r}); train it again"
        ) from error
    starts: dict[str, int] = {}
    for row in metric_rows:
        starts.setdefault(row["phase"], int(row["step"]))
    if config.get("source"):
        origin = int(config["source"]["step"])
        starts = {"offline": 0} | {name: origin + start * (i > 0) for i, (name, start) in enumerate(starts.items())}
    info = _policy_info(folder, replicas)
    environment = (result or {}).get("environment") or info.get("env_id") or config.get("env")
    return Record(
        path=folder.path,
        config=config,
        result=result,
        replicas=replicas,
        seeds=seeds,
        sweep=sweep,
        metric_steps=metric_steps,
        metrics=metrics,
        eval_steps=eval_steps,
        returns=returns,
        lengths=lengths,
        phases=list(starts.items()),
        environment=environment,
        reference=reference_of({"dataset": config["data"], **info}, environment) if len(eval_steps) else None,
        offline=earlier[:2] if earlier is not None and len(earlier[0]) else None,
    )


def logged_returns(dataset: Dataset) -> Estimate:
    """Mean episode return of a data set with its 95 % bootstrap interval over episodes."""
    return mean_interval(dataset.returns())


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(newline="") as file:
            return list(csv.DictReader(file))
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"cannot read {path}: {error}") from error


def _metrics(
    rows: list[dict[str, str]], at: dict[str, int], swept: list[str]
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    labels = {"step", "phase", "replica", "seed", *swept}
    steps = sorted({int(row["step"]) for row in rows})
    column = {step: i for i, step in enumerate(steps)}
    names = [name for name in (rows[0] if rows else {}) if name not in labels]
    found = {name: np.full((len(at), len(steps)), np.nan) for name in names}
    for row in rows:
        where = at[row["replica"]], column[int(row["step"])]
        for name in names:
            found[name][where] = float(row[name]) if row[name] else np.nan
    return np.array(steps, np.int64), found


def _evaluations(rows: list[dict[str, str]], at: dict[str, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Steps, returns and lengths of the evaluations that are whole."""
    played: dict[int, dict[tuple[int, int], tuple[float, int]]] = {}
    for row in rows:
        one = played.setdefault(int(row["step"]), {})
        one[at[row["replica"]], int(row["episode"])] = float(row["return"]), int(row["length"])
    most = max((len(one) for one in played.values()), default=0)
    steps = sorted(step for step, one in played.items() if len(one) == most)
    shape = (len(at), len(steps), most // max(1, len(at)))
    returns, lengths = np.full(shape, np.nan), np.zeros(shape, np.int64)
    for t, step in enumerate(steps):
        for (replica, episode), (value, length) in played[step].items():
            returns[replica, t, episode], lengths[replica, t, episode] = value, length
    return np.array(steps, np.int64), returns, lengths


def _policy_info(folder: RunFolder, replicas: list[str]) -> dict[str, Any]:
    """What the first shipped policy knows of its data and environment; nothing where none was shipped yet."""
    file = folder.policy_folders(replicas)[0] / "policy.json"
    return read_json(file).get("info", {}) if file.is_file() else {}
