"""Hooks that send the metrics of a run to TensorBoard, Weights & Biases or MLflow. Each is an extra of the package."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.errors import unknown
from .hooks import Start, by_setting
from .services import MLflow, WandB
from .tracking import Tracker, missing, parameters

if TYPE_CHECKING:
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter


class TensorBoard(Tracker):
    """Event files in the run's folder, `tensorboard/NAME/`, with hyper-parameters.

    If a setting has several seeds, `tensorboard/mean` has the means over them (`expectile-0.5-mean` in a sweep).
    """

    def __init__(self) -> None:
        try:
            from tensorboard.summary.writer.event_file_writer import EventFileWriter
        except ImportError as error:
            raise missing("tensorboard") from error
        self.make = EventFileWriter
        self.writers: list[Any] = []
        self.means: list[tuple[list[int], Any]] = []  # the replicas of a setting, and the writer of their means

    def start(self, start: Start) -> None:
        from tensorboard.plugins.hparams.summary_v2 import hparams_pb

        folder = start.folder.path / "tensorboard"
        self.writers = [self.make(str(folder / replica.name)) for replica in start.replicas]
        for rows in by_setting(start.replicas):
            setting = start.replicas[rows[0]].name.removesuffix(f"seed-{start.replicas[rows[0]].seed}")
            if len(rows) > 1:
                self.means.append((rows, self.make(str(folder / f"{setting}mean"))))
            for i in rows:
                values = parameters(start.settings, start.replicas[i])
                self._add(self.writers[i], hparams_pb(values, trial_id=setting or "all"), 0)

    def scalars(self, replica: int, values: dict[str, float], step: int) -> None:
        self._scalars(self.writers[replica], values, step)

    def values(self, values: Mapping[str, np.ndarray], step: int) -> None:
        super().values(values, step)
        for rows, writer in self.means:
            some = {name: np.asarray(x)[rows] for name, x in values.items()}
            means = {name: float(x[np.isfinite(x)].mean()) for name, x in some.items() if np.isfinite(x).any()}
            self._scalars(writer, means, step)

    def _scalars(self, writer: EventFileWriter, values: Mapping[str, float], step: int) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary

        found = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        self._add(writer, Summary(value=found), step)

    def _add(self, writer: EventFileWriter, summary: Summary, step: int) -> None:
        import time

        from tensorboard.compat.proto.event_pb2 import Event

        writer.add_event(Event(wall_time=time.time(), step=step, summary=summary))

    def end(self, result: dict[str, Any] | None) -> None:
        for writer in [*self.writers, *(writer for _, writer in self.means)]:
            writer.close()


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
