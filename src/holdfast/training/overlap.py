"""The thread in which evaluations play while a run trains, and whether a run uses it."""

from __future__ import annotations

import contextlib
import os
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

import jax

from ..runs.settings import Settings

T = TypeVar("T")

CORES = 4  # with fewer, an evaluation slows down the updates that are made meanwhile
GRACE = 1.0  # seconds that a cancelled evaluation may take to end
# Seconds of a piece of a block on an accelerator meanwhile. It computes one program after the other, so that an action
# waits for the end of a piece.
PIECE = 0.02


class Cancelled(Exception):
    """The run has ended before an evaluation."""


def overlaps(settings: Settings) -> bool:
    """Whether the evaluations of a run play while it trains, by `Settings.overlap`, the device and the CPU cores."""
    if settings.rule[0]:  # the newest evaluation decides whether the run continues
        return False
    if settings.overlap != "auto":
        return settings.overlap == "on"
    return _accelerated() or _cores() >= CORES


def piece() -> float | None:
    """Seconds of a piece of a block while an evaluation plays; None: as otherwise."""
    return PIECE if _accelerated() else None


def _accelerated() -> bool:
    return jax.default_backend() != "cpu"


def _cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Player:
    """Calls functions one after the other: in a thread of its own, or at once in the thread of the caller.

    The environments are opened, played and closed in the same thread, as some of them need it.
    """

    def __init__(self, threaded: bool) -> None:
        """
        Args:
            threaded: use a thread of its own. It starts with the first function.
        """
        self.threaded = threaded
        self._jobs: queue.SimpleQueue[tuple[Future, Callable[[], Any]] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._newest: Future | None = None
        self._cancelled = threading.Event()

    def begin(self, function: Callable[[], T]) -> Future[T]:
        """Call `function` in the thread, after those before it."""
        if self._thread is None:
            # a daemon: an environment that hangs does not keep the process alive
            self._thread = threading.Thread(target=self._work, name="holdfast-evaluation", daemon=True)
            self._thread.start()
        found: Future[T] = Future()
        self._newest = found
        self._jobs.put((found, function))
        return found

    def call(self, function: Callable[[], T]) -> T:
        """The result of `function`."""
        return self.begin(function).result() if self.threaded else function()

    def require_going(self) -> None:
        """Raise `Cancelled` if the player was closed."""
        if self._cancelled.is_set():
            raise Cancelled

    def close(self, last: Callable[[], None]) -> None:
        """Cancel what plays, and call `last`. An environment that hangs is left to its thread."""
        self._cancelled.set()
        if self._thread is None:
            last()
            return
        idle = self._newest is None or self._newest.done()
        ended = self.begin(last)
        self._jobs.put(None)
        with contextlib.suppress(TimeoutError):
            ended.result(None if idle else GRACE)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            found, function = job
            try:
                found.set_result(function())
            except BaseException as fault:  # it belongs to the thread that asks for the result
                found.set_exception(fault)
