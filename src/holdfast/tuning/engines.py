"""Where tasks are trained: in this process, or on the workers of a Ray cluster."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import socket
from collections import deque
from collections.abc import Iterator
from types import ModuleType
from typing import Any, Literal, Protocol

from ..core.errors import UserError, one_line
from ..training.hooks import Hook, Progress
from .work import FAILED, Outcome, Task, packed, unpacked, work

Engine = Literal["local", "ray"]
STORE = 2**27  # bytes of Ray's object store on this machine: tasks and outcomes are small texts


@dataclasses.dataclass(frozen=True)
class EngineOptions:
    """Where the tasks are trained. The trials and their bits do not depend on it."""

    engine: Engine = "local"
    """local: one task after the other, in this process. ray: on the workers of a Ray cluster."""
    address: str | None = None
    """Address of the Ray cluster. None: that of RAY_ADDRESS, else a cluster of this machine, for this search only."""
    cpus: float = 1.0
    """Cores that Ray reserves for a task."""
    gpus: float = 0.0
    """GPUs that Ray reserves for a task; 0.25: four tasks share one."""
    retries: int = 5
    """How often a task starts again after its worker or its machine was lost. It continues from its last checkpoint."""

    def faults(self) -> list[str]:
        """All numbers that are out of range, one text each."""
        found = [
            f"--{name} is {getattr(self, name)}, expected at least {least}"
            for name, least in (("cpus", 0), ("gpus", 0), ("retries", 0))
            if not getattr(self, name) >= least
        ]
        if self.engine == "local" and self.address is not None:
            found.append("--address is of a Ray cluster: add --engine ray, or leave it out")
        return found


class Workers(Protocol):
    """The workers of an engine."""

    def submit(self, task: Task) -> None:
        """Add a task."""

    def next(self) -> tuple[Task, Outcome]:
        """Wait for the next task that is done."""


@contextlib.contextmanager
def opened(options: EngineOptions, progress: bool) -> Iterator[Workers]:
    """The workers of an engine, until the search ends.

    Args:
        options: which engine.
        progress: show the runs that are trained in this process.

    Raises:
        UserError: Ray is not installed, or there is no cluster at the address.
    """
    if options.engine == "local":
        yield Local([_Bar()] if progress else [])
        return
    with _ray(options) as workers:
        yield workers


class _Bar(Progress):
    """The progress of one run of many: without its hints, which would be the same for each."""

    def note(self, text: str) -> None:
        """Nothing is shown."""


class Local:
    """Trains one task after the other in this process."""

    def __init__(self, hooks: list[Hook]) -> None:
        """
        Args:
            hooks: observers of every run.
        """
        self.hooks = hooks
        self.waiting: deque[Task] = deque()

    def submit(self, task: Task) -> None:
        self.waiting.append(task)

    def next(self) -> tuple[Task, Outcome]:
        task = self.waiting.popleft()
        return task, work(task, self.hooks)


class OnRay:
    """Trains tasks on the workers of a Ray cluster. The folder of the search has to be on storage that all share."""

    def __init__(self, ray: ModuleType, options: EngineOptions) -> None:
        """
        Args:
            ray: the module.
            options: what a task needs.
        """
        self.ray = ray
        how = {"num_cpus": options.cpus, "num_gpus": options.gpus, "max_retries": options.retries}
        self.remote = ray.remote(**how)(_on_worker)
        self.running: dict[Any, Task] = {}

    def submit(self, task: Task) -> None:
        self.running[self.remote.remote(packed(task))] = task

    def next(self) -> tuple[Task, Outcome]:
        done, _ = self.ray.wait(list(self.running), num_returns=1)
        task = self.running.pop(done[0])
        try:
            return task, Outcome(*self.ray.get(done[0]))
        except self.ray.exceptions.RayError as error:  # all retries are used, or a fault that is not a user's
            return task, Outcome(FAILED, [], [], f"{task.folder}: {one_line(error)[-300:]}")


def _on_worker(text: str) -> tuple[Any, ...]:
    """The task on a worker. The outcome is a plain tuple."""
    return tuple(work(unpacked(text)))


def _require_reachable(address: str) -> None:
    """Try to connect to `HOST:PORT` or `ray://HOST:PORT`: Ray would wait for a minute. Other addresses are left to Ray.

    Raises:
        OSError: nothing answers there.
    """
    host, _, port = address.rpartition("/")[2].rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=5).close()


@contextlib.contextmanager
def _ray(options: EngineOptions) -> Iterator[OnRay]:
    try:
        import ray
    except ImportError:
        raise UserError("--engine ray needs Ray: pip install 'holdfast-rl[ray]'") from None
    ours = not ray.is_initialized()
    if ours:
        here = options.address is None and "RAY_ADDRESS" not in os.environ
        how: dict[str, Any] = {"include_dashboard": False, "object_store_memory": STORE}
        if not here:
            how = {"address": options.address or "auto"}
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray sends no usage statistics
        where = options.address or os.environ.get("RAY_ADDRESS", "")
        try:
            _require_reachable(where)
            ray.init(log_to_driver=False, configure_logging=False, **how)
        except (OSError, ValueError, RuntimeError) as error:
            raise UserError(f"no Ray cluster at {where}: {one_line(error)[:200]}; start one with ray start") from error
    try:
        yield OnRay(ray, options)
    finally:
        if ours:
            ray.shutdown()
