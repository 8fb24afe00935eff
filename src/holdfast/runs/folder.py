"""The run folder: settings, rows of metrics and evaluations, checkpoints, the result and the policies."""

from __future__ import annotations

import contextlib
import csv
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..core.errors import UserError
from ..core.files import ASIDE, read_json, write_atomic, write_json
from .checkpoints import Checkpoints

OFFLINE = "offline"  # folder inside a fine-tuning run: evaluations.csv and config.json of the offline run


class Table:
    """A CSV file of a run: grown row by row, cut back to what a checkpoint counted when the run resumes."""

    def __init__(self, path: Path, header: Sequence[str]) -> None:
        self.path, self.header, self.rows = path, list(header), 0

    def begin(self) -> None:
        """An empty table."""
        self._write([self.header])

    def cut(self, rows: int) -> None:
        """Keep the first `rows` rows, whole; what a killed run wrote after its last checkpoint comes again.

        Raises:
            UserError: the file has fewer rows or another header.
        """
        try:
            lines = list(csv.reader(io.StringIO(self.path.read_text())))
        except OSError as error:
            raise UserError(f"cannot read {self.path}: {error.strerror}; the run cannot resume without it") from error
        if not lines or lines[0] != self.header or len(lines) < rows + 1:
            raise UserError(f"{self.path} is not what the checkpoint left ({rows} rows): restore it, or train anew")
        self._write(lines[: rows + 1])
        self.rows = rows

    def add(self, rows: Iterable[Sequence[Any]]) -> None:
        """Append rows; numbers are written so that they read back to the same bits."""
        rows = [[repr(float(x)) if isinstance(x, float) else x for x in row] for row in rows]
        try:
            with self.path.open("a", newline="") as file:
                csv.writer(file).writerows(rows)
        except OSError as error:
            raise UserError(f"cannot write {self.path}: {error.strerror}; the last checkpoint is kept") from error
        self.rows += len(rows)

    def sync(self) -> None:
        """Wait until the rows are on the disk: a checkpoint that counts them comes next."""
        try:
            with self.path.open("ab") as file:
                os.fsync(file.fileno())
        except OSError as error:
            raise UserError(f"cannot write {self.path}: {error.strerror}; the last checkpoint is kept") from error

    def _write(self, rows: Iterable[Sequence[Any]]) -> None:
        text = io.StringIO()
        csv.writer(text).writerows(rows)
        write_atomic(self.path, text.getvalue().encode())


class RunFolder:
    """Paths of a run; everything that is needed to repeat, resume, evaluate and report it stands in here."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.config, self.result = self.path / "config.json", self.path / "result.json"
        self.metrics, self.evaluations, self.timing = (
            self.path / f"{n}.csv" for n in ("metrics", "evaluations", "timing")
        )
        self.policy = self.path / "policy"
        self.checkpoints = Checkpoints(self.path / "checkpoints")

    def create(self) -> None:
        """Make the folder.

        Raises:
            UserError: there is something in it already, or the disk refuses.
        """
        try:
            if self.path.exists() and (not self.path.is_dir() or any(not _aside(p) for p in self.path.iterdir())):
                hint = f"resume it with --resume {self.path}" if self.config.exists() else "name another with --out"
                raise UserError(f"{self.path} exists and is not an empty folder: {hint}")
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"cannot make {self.path}: {error.strerror}; name another folder with --out") from error

    def clear(self) -> None:
        """Remove files that a killed process was writing."""
        for path in [p for p in self.path.rglob("*") if _aside(p)]:
            with contextlib.suppress(OSError):
                path.unlink()

    def read_config(self) -> dict[str, Any]:
        """The settings it was started with.

        Raises:
            UserError: no run there.
        """
        if not self.config.is_file():
            raise UserError(
                f"{self.path} is no run: expected a folder that `holdfast train` made, with config.json in it"
            )
        return read_json(self.config)

    def write_config(self, values: Mapping[str, Any]) -> None:
        """Write the settings."""
        write_json(self.config, dict(values))

    def policy_folders(self, names: Sequence[str], step: int | None = None) -> list[Path]:
        """Where each replica's policy stands: `policy/`, or `policy/NAME/` where there are several.

        With a step, that evaluation's: `policies/step-N` in place of `policy`, where `keep_policies` was set.
        """
        base = self.policy if step is None else self.path / "policies" / f"step-{step}"
        return [base] if len(names) == 1 else [base / name for name in names]


def _aside(path: Path) -> bool:
    return path.name.startswith(ASIDE)


def free_folder(base: Path, stem: str) -> Path:
    """`base/stem-N` with the first N from 1 that is not taken."""
    taken = {p.name for p in base.iterdir()} if base.is_dir() else set()
    return next(base / f"{stem}-{n}" for n in range(1, len(taken) + 2) if f"{stem}-{n}" not in taken)
