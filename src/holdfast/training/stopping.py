"""Stopping a run by a signal: the run saves a checkpoint first, and then it ends.

A handler only records the signal. The run looks at it between two pieces of a block. While nothing can be saved, for
example while a program compiles, the handler raises `Stopped` instead.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType

from ..core.errors import Stopped

COMMAND = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
GRACE = 2.0  # seconds that a compilation may take after a signal before the process ends without waiting for it
PIECE = 1.0  # seconds that a piece of a block should take, by default
SAVE = 60.0  # seconds between two checkpoints, at most
SHARE = 20  # a checkpoint that is written by time may take this part of the time


class _State:
    """The signal that asks the main thread to stop, and whether the main thread will look for it by itself."""

    signum: int | None = None
    shielded = False


def requested() -> int | None:
    """The signal that asks this thread to stop; None: no signal."""
    return _State.signum if _main() else None


@contextlib.contextmanager
def watching(*signals: int, exits: bool = False) -> Iterator[None]:
    """Record these signals instead of ending the process, in the main thread. Other threads get no signals.

    A signal that is ignored or has a handler of its own already is left alone. The handlers are restored at the end.

    Args:
        signals: the signals. None: Ctrl-C.
        exits: end the process if the main thread does not answer a signal because it compiles.
    """
    before = {}
    if _main():
        for signum in signals or (signal.SIGINT,):
            if signal.getsignal(signum) in (signal.SIG_DFL, signal.default_int_handler):
                before[signum] = signal.signal(signum, _record)
    try:
        with _watchdog() if exits and before else contextlib.nullcontext():
            yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
        if before:
            _State.signum = None


@contextlib.contextmanager
def shielded(shield: bool = True) -> Iterator[None]:
    """Let signals be recorded only, and not raised.

    Args:
        shield: False: inside a `shielded` section, let signals be raised again. A recorded one is raised at once.
    """
    if not _main():
        yield
        return
    before = _State.shielded
    try:
        _State.shielded = shield
        if not shield:
            require_no_stop()
        yield
    finally:
        _State.shielded = before


def require_no_stop() -> None:
    """Raise `Stopped` if a signal was recorded."""
    signum = requested()
    if signum is not None:
        raise Stopped(signum)


def settle() -> None:
    """Wait for computations that still run: a process that ends while XLA computes may crash."""
    import jax

    for array in jax.live_arrays():
        with contextlib.suppress(RuntimeError):  # of a donated array, or of a computation that has failed
            array.block_until_ready()


class Pace:
    """Cuts the blocks of a run into pieces of equal time, and says when to save between two of them."""

    def __init__(self) -> None:
        self.saved = time.perf_counter()  # time of the last checkpoint
        self.wait = SAVE  # seconds until the next one
        self.size = 1  # pieces are that many units long
        self.piece = PIECE  # seconds that a piece should take
        self.held = False  # whether no checkpoint is due by time

    def pause(self) -> bool:
        """Whether the block has to pause, because a signal came or because a checkpoint is due by time."""
        late = time.perf_counter() - self.saved > self.wait
        return requested() is not None or (late and not self.held)

    def ends(self, lo: int, hi: int, unit: int = 1) -> Iterator[int]:
        """The end of each piece of a block. The caller has done a piece before it asks for the next one.

        Args:
            lo: first step.
            hi: step after the last one. The pieces end before it if the block has to pause.
            unit: pieces are multiples of this number of steps long, except for the last one.
        """
        while lo < hi:
            end = min(hi, lo + self.size * unit)
            began = time.perf_counter()
            yield end
            speed = (end - lo) / unit / max(time.perf_counter() - began, 1e-6)
            self.size = max(1, min(int(speed * self.piece), self.size * 8))
            lo = end
            if lo < hi and self.pause():
                return

    @contextlib.contextmanager
    def saving(self) -> Iterator[None]:
        """Measure how long a checkpoint takes, for the time until the next one."""
        began = time.perf_counter()
        yield
        self.saved = time.perf_counter()
        self.wait = max(SAVE, SHARE * (self.saved - began))


def _main() -> bool:
    return threading.current_thread() is threading.main_thread()


def _record(signum: int, frame: FrameType | None) -> None:
    """The handler: record a signal. Raise if nobody looks for it, and at the second Ctrl-C."""
    again = _State.signum is not None
    _State.signum = _State.signum or signum
    if not _State.shielded or (again and signum == signal.SIGINT):
        raise Stopped(signum)


@contextlib.contextmanager
def _watchdog() -> Iterator[None]:
    """End the process from another thread where the main thread is in compiled code and cannot run a handler."""
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    before = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
    thread = threading.Thread(target=_watch, args=(ours,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        theirs.close()  # ends the thread
        thread.join()
        ours.close()


def _watch(signals: socket.socket) -> None:
    """Read the signals as they come. The first Ctrl-C gets its time, the second one does not."""
    interrupts = 0
    signals.settimeout(None)
    while data := signals.recv(1):
        signum = data[0]
        interrupts += signum == signal.SIGINT
        if signum == signal.SIGINT and interrupts > 1:
            _exit(signum, "ended at once by a second Ctrl-C")
        signals.settimeout(GRACE)
        with contextlib.suppress(TimeoutError):
            if not signals.recv(1, socket.MSG_PEEK):
                return
        signals.settimeout(None)
        if signum in COMMAND and _State.signum is None and not _State.shielded:
            _exit(signum, f"stopped by {Stopped.NAMES[signum]} during a compilation; a checkpoint of the run is kept")


def _exit(signum: int, text: str) -> None:
    shown = "\x1b[?25h\n" if sys.stderr.isatty() else ""  # the progress bar hides the cursor
    with contextlib.suppress(OSError):
        os.write(2, f"{shown}holdfast: {text}\n".encode())
    os._exit(128 + signum)
