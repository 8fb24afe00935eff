"""The CSV tables of a run: written row by row, cut back on resume, and read as rows or as arrays."""

from __future__ import annotations

import csv
import hashlib
import io
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..core.errors import UserError
from ..core.files import read_regular, require_regular, write_atomic

Row = dict[str, str]  # cell by column name


class Table:
    """Writes one CSV file: appends rows, and removes the last ones when the run resumes from a checkpoint."""

    def __init__(self, path: Path, header: Sequence[str]) -> None:
        """
        Args:
            path: the file.
            header: names of its columns.
        """
        self.path = path
        self.header = list(header)
        self.rows = 0
        self._digest = hashlib.sha256()

    def begin(self) -> None:
        """Write a table without rows."""
        self._write([self.header])

    def first(self, rows: int, sha256: str | None = None) -> list[list[str]]:
        """The header and the first `rows` rows, after a check of every field. The file is not changed.

        Args:
            rows: the number of rows that a checkpoint counts.
            sha256: the checksum of these rows; None: an older checkpoint has none.

        Raises:
            UserError: the file has fewer rows or another header, or a field has been changed.
        """
        try:
            text = read_regular(self.path).decode()
            lines = list(csv.reader(io.StringIO(text, newline="")))
        except UserError as error:
            raise UserError(f"cannot read {self.path}: {error}; the run cannot resume without it") from error
        except (UnicodeDecodeError, csv.Error) as error:
            raise damaged(self.path, error) from error
        kept = lines[: rows + 1]
        whole = len(kept) == rows + 1 and kept[0] == self.header and (len(lines) > len(kept) or text.endswith("\n"))
        if not whole or any(len(line) != len(self.header) for line in kept):
            raise UserError(
                f"{self.path} is not what the checkpoint left ({rows} rows): restore it, or start a new run"
            )
        if sha256 is not None and hashlib.sha256(_text(kept)).hexdigest() != sha256:
            raise UserError(
                f"{self.path} has changed since the checkpoint was saved (its checksum differs): restore it, or start "
                "a new run"
            )
        return kept

    def cut(self, rows: int, sha256: str | None = None) -> None:
        """Keep the first `rows` rows. The run writes the removed ones again. The arguments are those of `first`.

        Raises:
            UserError: the file has fewer rows or another header, or a field has been changed.
        """
        self._write(self.first(rows, sha256))
        self.rows = rows

    @property
    def sha256(self) -> str:
        """The checksum of all rows so far, with the header."""
        return self._digest.hexdigest()

    def add(self, rows: Iterable[Sequence[Any]]) -> None:
        """Append rows. Floats are written so that reading them gives the same bits.

        Raises:
            UserError: the disk is full or read-only.
        """
        cells = [[repr(float(x)) if isinstance(x, float) else x for x in row] for row in rows]
        data = _text(cells)
        try:
            with self.path.open("ab") as file:
                file.write(data)
        except OSError as error:
            raise UserError(f"cannot write {self.path}: {error.strerror}; the last checkpoint is kept") from error
        self.rows += len(cells)
        self._digest.update(data)

    def sync(self) -> None:
        """Wait until the rows are on the disk, before a checkpoint that counts them.

        Raises:
            UserError: the disk is full or read-only.
        """
        try:
            with self.path.open("ab") as file:
                os.fsync(file.fileno())
        except OSError as error:
            raise UserError(f"cannot write {self.path}: {error.strerror}; the last checkpoint is kept") from error

    def _write(self, rows: Iterable[Sequence[Any]]) -> None:
        data = _text(rows)
        write_atomic(self.path, data)
        self._digest = hashlib.sha256(data)


def _text(rows: Iterable[Sequence[Any]]) -> bytes:
    """Rows as the bytes of a CSV file."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


class Evaluations(NamedTuple):
    """The evaluations of a run: R replicas, T evaluations of E episodes."""

    replicas: list[str]  # [R] names
    steps: np.ndarray  # [T] ascending
    returns: np.ndarray  # [R, T, E] undiscounted, raw
    lengths: np.ndarray  # [R, T, E] steps


def read(path: Path) -> list[Row]:
    """All rows of a table; none if the file does not exist yet.

    Raises:
        UserError: the file cannot be read.
    """
    try:
        if not path.exists():
            return []
        require_regular(path)
        with path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"cannot read {path}: {error}") from error


def replicas_of(rows: Iterable[Row]) -> list[str]:
    """Names of the replicas, in the run's order."""
    return list(dict.fromkeys(row["replica"] for row in rows))


def number(cell: str) -> float:
    """A cell as a number; NaN if it is empty: nothing was reported."""
    return float(cell) if cell else float("nan")


def evaluations(path: Path, replicas: Sequence[str] | None = None) -> Evaluations:
    """Read `evaluations.csv`, without evaluations of which episodes are missing.

    Args:
        path: the file.
        replicas: names of the run's replicas; None for those in the file.

    Raises:
        UserError: the file cannot be read, or it is damaged.
    """
    rows = read(path)
    try:
        return _evaluations(rows, replicas_of(rows) if replicas is None else list(replicas))
    except (KeyError, ValueError, TypeError, IndexError, OverflowError) as error:
        raise damaged(path, error) from error


def damaged(path: Path, error: Exception) -> UserError:
    """The error for a table that does not have the expected rows."""
    return UserError(f"{path} is damaged ({error!r}): restore it, or start a new run")


def _evaluations(rows: list[Row], names: list[str]) -> Evaluations:
    at = {name: i for i, name in enumerate(names)}
    played: dict[int, dict[tuple[int, int], tuple[float, int]]] = {}
    for row in rows:
        one = played.setdefault(int(row["step"]), {})
        one[at[row["replica"]], int(row["episode"])] = float(row["return"]), int(row["length"])
    most = max((len(one) for one in played.values()), default=0)
    if most % max(1, len(at)) or (most and not len(at)):
        raise ValueError(f"{most} episodes in an evaluation of {len(at)} replicas")
    steps = sorted(step for step, one in played.items() if len(one) == most)
    shape = (len(at), len(steps), most // max(1, len(at)))
    returns = np.full(shape, np.nan)
    lengths = np.zeros(shape, np.int64)
    for t, step in enumerate(steps):
        for (replica, episode), (value, length) in played[step].items():
            returns[replica, t, episode] = value
            lengths[replica, t, episode] = length
    return Evaluations(names, np.array(steps, np.int64), returns, lengths)
