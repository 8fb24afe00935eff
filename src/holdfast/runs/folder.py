"""The folder of a run: settings, tables, checkpoints, result and policies."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..core.errors import UserError
from ..core.files import ASIDE, read_json, write_json
from ..core.locks import Lock
from .checkpoints import Checkpoints

LOCK = ".lock"  # file in the folder while a process trains into it
OFFLINE = "offline"  # folder in a fine-tuning run, with evaluations.csv and config.json of the offline run


class InUse(UserError):
    """Another process trains into the folder."""


class RunFolder:
    """The paths of a run. The folder contains everything that is needed to repeat, resume, evaluate and report it."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.config = self.path / "config.json"
        self.result = self.path / "result.json"
        self.metrics = self.path / "metrics.csv"
        self.evaluations = self.path / "evaluations.csv"
        self.timing = self.path / "timing.csv"
        self.heldout = self.path / "heldout.csv"
        self.policy = self.path / "policy"
        self.checkpoints = Checkpoints(self.path / "checkpoints")
        self._lock = Lock(self.path / LOCK)
        self._made = False  # by `create` or `free`

    @classmethod
    def free(cls, base: Path, stem: str) -> RunFolder:
        """Make and lock `base/stem-N`, with the smallest N that no other process has taken.

        Raises:
            UserError: the folder cannot be made.
        """
        while True:
            folder = cls(free_folder(base, stem))
            with contextlib.suppress(FileExistsError):  # another process was quicker: take the next number
                folder._make()
                folder.lock()
                return folder

    def create(self) -> None:
        """Make the folder and lock it. Does nothing if this object holds the lock already.

        Raises:
            UserError: the folder is not empty, another process trains into it, or it cannot be made.
        """
        if self._lock.held:
            return
        with contextlib.suppress(FileExistsError):
            self._make()
        if not self.path.is_dir():
            raise UserError(f"{self.path} exists and is not an empty folder: name another with --out")
        self.lock()
        if not self._empty():  # looked at under the lock, so that of two processes only one finds it empty
            self.close()
            hint = f"resume it with --resume {self.path}" if self.config.exists() else "name another with --out"
            raise UserError(f"{self.path} exists and is not an empty folder: {hint}")

    def lock(self) -> None:
        """Take the lock of the folder, which ends with `close` or with the process.

        Raises:
            InUse: another process holds it.
            UserError: the lock file cannot be written.
        """
        try:
            free = self._lock.acquire()
        except OSError as error:
            raise UserError(f"cannot lock {self.path}: {error.strerror}; make the folder writable") from error
        if not free:
            raise InUse(
                f"{self.path} is in use: another process trains into it; wait for its end, or name another folder"
            )

    @property
    def in_use(self) -> bool:
        """Whether a process trains into the folder."""
        return self._lock.taken

    def close(self) -> None:
        """End the lock. A folder that `create` or `free` made is removed if it is still empty."""
        held = self._lock.held
        self._lock.release()
        if held and self._made:
            with contextlib.suppress(OSError):
                self.path.rmdir()
        self._made = False

    def _make(self) -> None:
        """Make the folder.

        Raises:
            FileExistsError: it exists.
            UserError: it cannot be made.
        """
        place = self.path.parent
        try:
            place.mkdir(parents=True, exist_ok=True)
            place = self.path
            place.mkdir()
        except OSError as error:
            if place is self.path and isinstance(error, FileExistsError):
                raise
            raise UserError(f"cannot make {self.path}: {error.strerror}; name another folder with --out") from error
        self._made = True

    def _empty(self) -> bool:
        return all(_aside(path) or path.name == LOCK for path in self.path.iterdir())

    def clear(self) -> None:
        """Remove the partial files of a killed process."""
        for path in [p for p in self.path.rglob("*") if _aside(p)]:
            with contextlib.suppress(OSError):
                path.unlink()

    def read_config(self) -> dict[str, Any]:
        """The settings that the run was started with.

        Raises:
            UserError: the folder has no config.json, or it is damaged.
        """
        if not self.config.is_file():
            raise UserError(
                f"{self.path} is not a run folder: it has no config.json; name a folder that `holdfast train` made"
            )
        return read_json(self.config)

    def write_config(self, values: Mapping[str, Any]) -> None:
        """Write the settings."""
        write_json(self.config, dict(values))

    def prolong(self, values: Mapping[str, Any]) -> None:
        """Write the settings of a prolonged run, and remove the result of the shorter one.

        Raises:
            UserError: the disk is full or read-only.
        """
        try:
            self.result.unlink(missing_ok=True)  # first: a result of fewer steps than config.json would look finished
        except OSError as error:
            raise UserError(f"cannot remove {self.result}: {error.strerror}; make the folder writable") from error
        self.write_config(values)

    def dynamics_folders(self, names: Sequence[str]) -> list[Path]:
        """The folder of each replica's model: `dynamics`, or `dynamics/NAME` if there are several replicas."""
        base = self.path / "dynamics"
        return [base] if len(names) == 1 else [base / name for name in names]

    def policy_folders(self, names: Sequence[str], step: int | None = None) -> list[Path]:
        """The folder of each replica's policy: `policy`, or `policy/NAME` if there are several replicas.

        Args:
            names: names of the replicas.
            step: step of an evaluation whose policies were kept (`keep_policies`): `policies/step-N` instead of
                `policy`. None: the last policy.
        """
        base = self.policy if step is None else self.path / "policies" / f"step-{step}"
        return [base] if len(names) == 1 else [base / name for name in names]


def _aside(path: Path) -> bool:
    return path.name.startswith(ASIDE)


def run_of(folder: Path) -> Path | None:
    """The run that a policy's folder belongs to; None if it is not in a run."""
    return next((parent for parent in folder.absolute().parents if (parent / "config.json").is_file()), None)


def free_folder(base: Path, stem: str) -> Path:
    """`base/stem-N` with the smallest N from 1 that does not exist yet."""
    taken = {p.name for p in base.iterdir()} if base.is_dir() else set()
    return next(base / f"{stem}-{n}" for n in range(1, len(taken) + 2) if f"{stem}-{n}" not in taken)
