"""The folder of a run: settings, tables, checkpoints, result and policies."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..core.errors import UserError
from ..core.files import ASIDE, read_json, write_json
from .checkpoints import Checkpoints

OFFLINE = "offline"  # folder in a fine-tuning run, with evaluations.csv and config.json of the offline run


class RunFolder:
    """The paths of a run. The folder contains everything that is needed to repeat, resume, evaluate and report it."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.config = self.path / "config.json"
        self.result = self.path / "result.json"
        self.metrics = self.path / "metrics.csv"
        self.evaluations = self.path / "evaluations.csv"
        self.timing = self.path / "timing.csv"
        self.policy = self.path / "policy"
        self.checkpoints = Checkpoints(self.path / "checkpoints")

    def create(self) -> None:
        """Make the folder.

        Raises:
            UserError: the folder is not empty, or it cannot be made.
        """
        try:
            if self.path.exists() and (not self.path.is_dir() or any(not _aside(p) for p in self.path.iterdir())):
                hint = f"resume it with --resume {self.path}" if self.config.exists() else "name another with --out"
                raise UserError(f"{self.path} exists and is not an empty folder: {hint}")
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"cannot make {self.path}: {error.strerror}; name another folder with --out") from error

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


def free_folder(base: Path, stem: str) -> Path:
    """`base/stem-N` with the smallest N from 1 that does not exist yet."""
    taken = {p.name for p in base.iterdir()} if base.is_dir() else set()
    return next(base / f"{stem}-{n}" for n in range(1, len(taken) + 2) if f"{stem}-{n}" not in taken)
