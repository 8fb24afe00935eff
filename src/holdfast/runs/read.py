"""Reads a run folder, finished or not, into arrays: the input of tables, pictures and pages."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..core.errors import UserError
from ..core.files import read_json
from ..core.trust import names_module
from ..data.dataset import Dataset
from ..data.sources import load_dataset, with_environment
from ..evaluation.scores import Reference, normalized, reference_of
from ..evaluation.statistics import Estimate, average, mean_interval, two_stage_interval
from ..policy import folder as folder_of
from . import csv_tables
from .csv_tables import Row
from .folder import OFFLINE, RunFolder
from .groups import Group, best_of, groups_of
from .schema import optional_result, require_name
from .settings import Settings


@dataclasses.dataclass(frozen=True, eq=False)
class Record:
    """A run of R replicas, with S rows of metrics for each, and T evaluations of E episodes."""

    path: Path
    config: dict[str, Any]
    result: dict[str, Any] | None  # None: the run is not finished
    replicas: list[str]
    seeds: list[int]
    sweep: list[dict[str, float]]  # swept settings of each replica
    metric_steps: np.ndarray  # [S] updates
    metrics: dict[str, np.ndarray]  # name -> [R, S], NaN if nothing was reported
    eval_steps: np.ndarray  # [T] updates
    returns: np.ndarray  # [R, T, E] undiscounted, raw
    lengths: np.ndarray  # [R, T, E] steps
    phases: list[tuple[str, int]]  # name, and updates at its first row
    environment: str | None
    reference: Reference | None  # returns of a random and an expert policy
    offline: csv_tables.Evaluations | None = None  # of the offline run that this run fine-tunes

    @property
    def origin(self) -> int:
        """Start of this run on the axis of a curve: updates of the offline run that it fine-tunes, else 0."""
        source = self.config.get("source")
        return int(source["step"]) if source else 0

    @property
    def groups(self) -> list[Group]:
        """Replicas by swept values, in the order of the run."""
        return groups_of(self.sweep)

    @property
    def title(self) -> str:
        """Algorithm and data set, and whether the run fine-tunes another."""
        tuned = " fine-tuned" if self.config.get("source") else ""
        return f"{self.config['algorithm']}{tuned} on {Path(self.subject).name if self.is_path else self.subject}"

    @property
    def subject(self) -> str:
        """What was learned from: the data set, or the environment."""
        return str(self.config["data"] or self.config["env"])

    @property
    def is_path(self) -> bool:
        """Whether the data set is named by its path."""
        return Path(self.subject).is_absolute()

    @property
    def logged(self) -> float | None:
        """Mean episode return of the data set; None if the run is not finished, or has no data."""
        return None if self.result is None else self.result.get("logged_return_mean")

    def final(self, rows: list[int]) -> np.ndarray:
        """Returns [r, E] of the given replicas in the last evaluation."""
        return self.returns[rows, -1]

    def average(self, rows: list[int]) -> Estimate:
        """The average of the given replicas' last returns with its interval: `evaluation.statistics.average`."""
        return average(self.final(rows))

    @property
    def best(self) -> Group:
        """The group with the highest average of the last returns: `runs.groups.best_of`."""
        return best_of(self.groups, self.returns[:, -1])

    def score(self, value: ArrayLike) -> Any:
        """Normalised score of returns of any shape; None if no reference is known."""
        return None if self.reference is None else normalized(value, self.reference)

    def over_seeds(self, rows: list[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Mean and 95 % bootstrap interval over seeds and episodes at each evaluation: mean, low and high, [T] each."""
        found = [two_stage_interval(self.returns[rows, t]) for t in range(len(self.eval_steps))]
        mean = np.array([e.value for e in found])
        low = np.array([e.value if e.low is None else e.low for e in found])
        high = np.array([e.value if e.high is None else e.high for e in found])
        return mean, low, high

    def curve(self, rows: list[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Steps, then `over_seeds`, [T] each; of a fine-tuning run, including the offline run."""
        steps = self.eval_steps + self.origin
        found = self.over_seeds(rows)
        if self.offline is None:
            return steps, *found
        earlier = dataclasses.replace(self, eval_steps=self.offline.steps, returns=self.offline.returns, offline=None)
        both = zip(earlier.over_seeds(rows), found, strict=True)
        mean, low, high = (np.concatenate(pair) for pair in both)
        return np.concatenate([self.offline.steps, steps]), mean, low, high

    def each(self, rows: list[int]) -> tuple[np.ndarray, np.ndarray]:
        """Steps [T] and mean returns [r, T] of the given replicas; of a fine-tuning run, including the offline run."""
        steps = self.eval_steps + self.origin
        means = self.returns[rows].mean(2)
        if self.offline is None:
            return steps, means
        earlier = self.offline.returns[rows].mean(2)
        return np.concatenate([self.offline.steps, steps]), np.concatenate([earlier, means], 1)

    def dataset(self) -> Dataset:
        """Load the data that the run learned from.

        Raises:
            UserError: the data no longer exist, or were only in memory. Nothing is downloaded because a file says so.
        """
        options = {name: value for name, value in self.config.get("data_options", {}).items() if name != "download"}
        if names_module(options.get("env")):
            options.pop("env")
        data = load_dataset(self.subject, **options)
        env = self.config.get("env")
        return data if env is None or names_module(env) else with_environment(data, env)


def read_run(path: str | Path) -> Record:
    """Read a run folder.

    Raises:
        UserError: it is not a run folder, the run has not written a row yet, or a file is damaged.
    """
    folder = RunFolder(path)
    config = folder.read_config()
    config = {**Settings.from_dict(config, str(folder.config)).to_dict(), **config}
    result = optional_result(folder.result)
    swept = list(config.get("sweep", {}))
    metric_rows = csv_tables.read(folder.metrics)
    rows = metric_rows or csv_tables.read(folder.evaluations)
    if not rows:
        raise UserError(
            f"{folder.path} has no metrics yet: wait for its first block, or resume it with --resume {path}"
        )
    try:
        first = {row["replica"]: row for row in reversed(rows)}
        replicas = csv_tables.replicas_of(rows)
        seeds = [int(first[name]["seed"]) for name in replicas]
        sweep = [{key: float(first[name][key]) for key in swept} for name in replicas]
        for name in replicas:
            require_name(name, str(folder.metrics))
        metric_steps, metrics = _metrics(metric_rows, replicas, swept)
        starts: dict[str, int] = {}
        for row in metric_rows:
            starts.setdefault(str(row["phase"]), int(row["step"]))
    except (KeyError, ValueError, TypeError, IndexError, OverflowError) as error:
        raise csv_tables.damaged(folder.metrics if metric_rows else folder.evaluations, error) from error
    played = csv_tables.evaluations(folder.evaluations, replicas)
    offline = None
    if config.get("source"):
        offline = csv_tables.evaluations(folder.path / OFFLINE / folder.evaluations.name, replicas)
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
        eval_steps=played.steps,
        returns=played.returns,
        lengths=played.lengths,
        phases=list(starts.items()),
        environment=environment,
        reference=reference_of({"dataset": config["data"], **info}, environment) if len(played.steps) else None,
        offline=offline if offline is not None and len(offline.steps) else None,
    )


def logged_returns(dataset: Dataset) -> Estimate:
    """Mean episode return of a data set with its 95 % bootstrap interval over episodes."""
    return mean_interval(dataset.returns())


def _metrics(rows: list[Row], replicas: list[str], swept: list[str]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Steps [S], and metrics [R, S] by name."""
    at = {name: i for i, name in enumerate(replicas)}
    labels = {"step", "phase", "replica", "seed", *swept}
    steps = sorted({int(row["step"]) for row in rows})
    column = {step: i for i, step in enumerate(steps)}
    names = [name for name in (rows[0] if rows else {}) if name not in labels]
    found = {name: np.full((len(at), len(steps)), np.nan) for name in names}
    for row in rows:
        where = at[row["replica"]], column[int(row["step"])]
        for name in names:
            found[name][where] = csv_tables.number(row[name])
    return np.array(steps, np.int64), found


def _policy_info(folder: RunFolder, replicas: list[str]) -> dict[str, Any]:
    """Facts of the first shipped policy or team about its data and environment; empty if no policy was shipped yet."""
    shipped = folder.policy_folders(replicas)[0]
    if (shipped / folder_of.TEAM).is_file():
        return folder_of.team_facts(shipped)["info"]
    file = shipped / folder_of.JSON
    return folder_of.checked_info(read_json(file).get("info", {}), str(file)) if file.is_file() else {}
