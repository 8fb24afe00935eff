"""Hooks that send the metrics of a run to TensorBoard, Weights & Biases or MLflow. Each is an extra of the package."""

from __future__ import annotations

from typing import Any

from ..core.errors import UserError, unknown
from ..core.files import read_json, write_json
from .hooks import Block, Evaluated, Hook, Start


class Tracker(Hook):
    """Base class: turns blocks and evaluations into scalars by name and step, one stream for each replica."""

    def scalars(self, replica: int, values: dict[str, float], step: int) -> None:
        """Send scalars of one replica. Subclasses define this.

        Args:
            replica: its index.
            values: scalars by name.
            step: step of the run.
        """
        raise TypeError(f"{type(self).__name__} does not define scalars()")

    def block(self, block: Block) -> None:
        replicas = len(next(iter(block.metrics.values()), ()))
        for i in range(replicas):
            values = {name: float(v[i]) for name, v in block.metrics.items() if v[i] == v[i]}
            self.scalars(i, values, block.step)

    def evaluated(self, evaluated: Evaluated) -> None:
        found = evaluated.evaluation
        for i, returns in enumerate(found.returns):
            values = {"evaluation/return_mean": float(returns.mean())}
            if found.scores is not None:
                values["evaluation/normalized_score"] = float(found.scores[i])
            self.scalars(i, values, evaluated.step)


class TensorBoard(Tracker):
    """Event files in the run's folder, `tensorboard/NAME/`."""

    def __init__(self) -> None:
        try:
            from tensorboard.summary.writer.event_file_writer import EventFileWriter
        except ImportError as error:
            raise missing("tensorboard") from error
        self.make = EventFileWriter
        self.writers: list[Any] = []

    def start(self, start: Start) -> None:
        folder = start.folder.path / "tensorboard"
        self.writers = [self.make(str(folder / replica.name)) for replica in start.replicas]

    def scalars(self, replica: int, values: dict[str, float], step: int) -> None:
        import time

        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        summary = Summary(value=[Summary.Value(tag=name, simple_value=value) for name, value in values.items()])
        self.writers[replica].add_event(Event(wall_time=time.time(), step=step, summary=summary))

    def end(self, result: dict[str, Any] | None) -> None:
        for writer in self.writers:
            writer.close()


class Service(Tracker):
    """Base class of trackers whose runs are stored by a service, one run for all replicas.

    With several replicas, the names of the metrics begin with the replica's name. The run's folder stores the id that
    the service gave to the run, so a resumed run continues the same run of the service.
    """

    extra: str  # of the package, and name of the file with the id

    def start(self, start: Start) -> None:
        self.names = [replica.name for replica in start.replicas]
        file = start.folder.path / f"{self.extra}.json"
        known = read_json(file)["id"] if file.exists() else None
        write_json(file, {"id": self.begin(start, known)})

    def begin(self, start: Start, known: str | None) -> str:
        """Start a run of the service, or resume the one with the id `known`. Subclasses define this.

        Returns:
            The id of the run.
        """
        raise TypeError(f"{type(self).__name__} does not define begin()")

    def named(self, replica: int, values: dict[str, float]) -> dict[str, float]:
        """The values by the names that the service displays."""
        prefix = f"{self.names[replica]}/" if len(self.names) > 1 else ""
        return {prefix + name: value for name, value in values.items()}


class WandB(Service):
    """One Weights & Biases run."""

    extra = "wandb"

    def __init__(self) -> None:
        try:
            import wandb
        except ImportError as error:
            raise missing(self.extra) from error
        self.wandb = wandb

    def begin(self, start: Start, known: str | None) -> str:
        path = start.folder.path
        self.run = self.wandb.init(
            project="holdfast", name=path.name, id=known, dir=str(path), config=start.settings.to_dict(), resume="allow"
        )
        # W&B's own step counts calls and cannot go back; a resumed run goes back, and each replica makes its own calls
        self.run.define_metric("step")
        self.run.define_metric("*", step_metric="step")
        return str(self.run.id)

    def scalars(self, replica: int, values: dict[str, float], step: int) -> None:
        self.run.log({**self.named(replica, values), "step": step})

    def end(self, result: dict[str, Any] | None) -> None:
        if result:
            self.run.summary.update({k: result[k] for k in ("return_mean", "normalized_score", "updates_per_second")})
        self.run.finish(exit_code=0 if result else 1)


class MLflow(Service):
    """One MLflow run, at the tracking address that MLflow's environment variables name."""

    extra = "mlflow"

    def __init__(self) -> None:
        try:
            import mlflow
        except ImportError as error:
            raise missing(self.extra) from error
        self.mlflow = mlflow

    def begin(self, start: Start, known: str | None) -> str:
        self.mlflow.set_experiment("holdfast")
        if known is not None:
            return str(self.mlflow.start_run(run_id=known).info.run_id)
        run = self.mlflow.start_run(run_name=start.folder.path.name)
        self.mlflow.log_params(
            {"algorithm": start.settings.algorithm, "data": start.settings.subject, **start.settings.config}
        )
        return str(run.info.run_id)

    def scalars(self, replica: int, values: dict[str, float], step: int) -> None:
        self.mlflow.log_metrics(self.named(replica, values), step=step)

    def end(self, result: dict[str, Any] | None) -> None:
        self.mlflow.end_run("FINISHED" if result else "FAILED")


TRACKERS: dict[str, type[Tracker]] = {"tensorboard": TensorBoard, "wandb": WandB, "mlflow": MLflow}

LOCAL = ("tensorboard",)  # those that write into the run's folder only


def tracker(name: str) -> Tracker:
    """Make a tracker by name. It sends nothing before its run starts.

    Raises:
        UserError: the name is unknown, or its package is not installed.
    """
    if name not in TRACKERS:
        raise unknown("logger", name, TRACKERS)
    return TRACKERS[name]()


def missing(extra: str) -> UserError:
    """The error for an extra that is not installed."""
    return UserError(f"{extra} is not installed: pip install 'holdfast-rl[{extra}]'")
