"""Trackers that send to Weights & Biases or MLflow: one run of the service for each replica."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import UserError, one_line
from ..core.files import read_json, write_json
from ..core.schema import require_types
from ..runs.replicas import Replica
from .hooks import Start
from .tracking import Tracker, missing, parameters

PROJECT = "holdfast"  # unless the service's own environment variable names another


class Service(Tracker):
    """Base class of trackers whose runs are stored by a service: one run of the service for each replica.

    The run's folder stores the ids that the service gave to its runs, so a resumed run continues the same ones.
    """

    extra: str  # of the package, and name of the file with the ids

    def start(self, start: Start) -> None:
        file = start.folder.path / f"{self.extra}.json"
        known = _known(file, [replica.name for replica in start.replicas])
        try:
            ids = {replica.name: self.begin(start, replica, known.get(replica.name)) for replica in start.replicas}
        except Exception as error:
            raise UserError(
                f"{self.extra} did not start a run: {one_line(error)}; start again with --resume {start.folder.path}"
            ) from error
        write_json(file, {"ids": ids})

    def begin(self, start: Start, replica: Replica, known: str | None) -> str:
        """Start a run of the service, or resume the one with the id `known`. Subclasses define this.

        Returns:
            The id of the run.
        """
        raise TypeError(f"{type(self).__name__} does not define begin()")


def _known(file: Path, names: Sequence[str]) -> dict[str, str]:
    """The ids in a file, by name of the replica. Older versions had one id for all replicas."""
    if not file.exists():
        return {}
    found = require_types(read_json(file), {"ids": dict[str, str], "id": str}, str(file))
    return found.get("ids") or ({names[0]: found["id"]} if "id" in found and len(names) == 1 else {})


class WandB(Service):
    """One Weights & Biases run for each replica, in the group of the run's folder.

    The project is `WANDB_PROJECT`, else `holdfast`.
    """

    extra = "wandb"

    def __init__(self) -> None:
        try:
            import wandb
        except ImportError as error:
            raise missing(self.extra) from error
        self.wandb = wandb
        self.runs: list[Any] = []

    def require_ready(self) -> None:
        mode = self.wandb.setup().settings.mode
        if mode in ("offline", "dryrun", "disabled") or self.wandb.login(verify=False, prompt=False):
            return
        raise UserError(
            "not logged in to W&B: run `wandb login`, set WANDB_API_KEY, or keep the log on this machine with "
            "WANDB_MODE=offline"
        )

    def begin(self, start: Start, replica: Replica, known: str | None) -> str:
        path = start.folder.path
        settings = start.settings
        run = self.wandb.init(
            project=os.environ.get("WANDB_PROJECT") or PROJECT,
            group=path.name,
            name=name_of(start, replica),
            id=known,
            dir=str(path),
            config={**settings.to_dict(), "config": {**settings.config, **replica.values}, **replica.values,
                    "seed": replica.seed},
            resume="allow",
            reinit="create_new",
        )  # fmt: skip
        # W&B's own step counts calls and cannot go back, which a resumed run does
        run.define_metric("step")
        run.define_metric("*", step_metric="step")
        self.runs.append(run)
        return str(run.id)

    def scalars(self, replica: int, values: dict[str, float], step: int) -> None:
        self.runs[replica].log({**values, "step": step})

    def end(self, result: dict[str, Any] | None) -> None:
        for i, run in enumerate(self.runs):
            if result:
                run.summary.update(results_of(result, i))
            run.finish(exit_code=0 if result else 1)


class MLflow(Service):
    """One MLflow run for each replica, at the tracking address that MLflow's environment variables name.

    The experiment is `MLFLOW_EXPERIMENT_NAME` or `MLFLOW_EXPERIMENT_ID`, else `holdfast`.
    """

    extra = "mlflow"

    def __init__(self) -> None:
        try:
            import mlflow
        except ImportError as error:
            raise missing(self.extra) from error
        self.mlflow = mlflow
        self.client: Any = None
        self.experiment: str | None = None
        self.runs: list[str] = []

    def require_ready(self) -> None:
        try:
            self.mlflow.MlflowClient().search_experiments(max_results=1)
        except Exception as error:
            where = self.mlflow.get_tracking_uri()
            raise UserError(f"MLflow at {where} does not answer: {one_line(error)}; set MLFLOW_TRACKING_URI") from error

    def begin(self, start: Start, replica: Replica, known: str | None) -> str:
        if self.client is None:
            self.client = self.mlflow.MlflowClient()
        if known is not None:
            self.client.update_run(known, status="RUNNING")
            self.runs.append(known)
            return known
        if self.experiment is None:
            number = os.environ.get("MLFLOW_EXPERIMENT_ID")
            name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or PROJECT
            found = self.mlflow.set_experiment(experiment_id=number) if number else self.mlflow.set_experiment(name)
            self.experiment = found.experiment_id
        run = self.client.create_run(
            self.experiment, run_name=name_of(start, replica), tags={"holdfast.run": start.folder.path.name}
        )
        self.runs.append(str(run.info.run_id))
        for name, value in parameters(start.settings, replica).items():
            self.client.log_param(self.runs[-1], name, value)
        return self.runs[-1]

    def scalars(self, replica: int, values: dict[str, float], step: int) -> None:
        self.mlflow.log_metrics(values, step=step, run_id=self.runs[replica])

    def end(self, result: dict[str, Any] | None) -> None:
        for run in self.runs:
            self.client.set_terminated(run, "FINISHED" if result else "FAILED")


def name_of(start: Start, replica: Replica) -> str:
    """Name of a replica's run in a service: that of the folder, and of the replica if there are several."""
    folder = start.folder.path.name
    return folder if len(start.replicas) == 1 else f"{folder}/{replica.name}"


def results_of(result: Mapping[str, Any], replica: int) -> dict[str, float | None]:
    """The last numbers of one replica, from the contents of `result.json`."""
    returns = result["returns"][replica] if result["returns"] else None
    scores = result["normalized_scores"]
    return {
        "return_mean": None if returns is None else float(np.mean(returns)),
        "normalized_score": None if scores is None else scores[replica],
        "updates_per_second": result["updates_per_second"],
    }
