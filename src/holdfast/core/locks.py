"""A lock file that no killed process keeps: the operating system ends the lock together with the process."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from pathlib import Path

# what a file system without locks answers: the run continues without a lock there
UNSUPPORTED = {errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.ENOSYS, errno.EINVAL}


class Lock:
    """An exclusive lock between processes and between threads. The file exists while the lock is held."""

    def __init__(self, path: str | Path) -> None:
        """
        Args:
            path: the file. Its folder has to exist.
        """
        self.path = Path(path)
        self._file: int | None = None

    @property
    def held(self) -> bool:
        """Whether this object holds the lock."""
        return self._file is not None

    @property
    def taken(self) -> bool:
        """Whether any holder has the lock. The file is neither made nor removed."""
        try:
            file = os.open(self.path, os.O_RDWR | getattr(os, "O_NONBLOCK", 0))
        except OSError:  # there is no such file, or it belongs to another user
            return self.held
        try:
            return not _lock(file)
        finally:
            os.close(file)

    def acquire(self) -> bool:
        """Take the lock, without waiting. Returns False if another holder has it.

        Raises:
            OSError: the file cannot be made.
        """
        while not self.held:
            file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                if not _lock(file):
                    return False
                if _same(file, self.path):  # else its last holder has removed it in the meantime
                    self._file = file
            finally:
                if not self.held:
                    os.close(file)
        return True

    def release(self) -> None:
        """Remove the file and end the lock. Does nothing if the lock is not held."""
        if self._file is None:
            return
        with contextlib.suppress(OSError):  # Windows removes no open file
            self.path.unlink()
        os.close(self._file)
        self._file = None


def _lock(file: int) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in UNSUPPORTED
    return True


def _same(file: int, path: Path) -> bool:
    """Whether an open file is still the one at `path`."""
    try:
        there = os.stat(path)
    except FileNotFoundError:
        return False
    return os.path.samestat(os.fstat(file), there)
