"""The tables of a run as columns of NumPy arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..core.shown import counted, line, table_html
from . import csv_tables

WHOLE = ("step", "seed", "episode", "episode_seed", "length")
TEXT = ("phase", "replica")
SHOWN = 5  # rows at the beginning and at the end of the table in a notebook


class Columns(dict[str, np.ndarray]):
    """Columns by name, all of one length. `pandas.DataFrame(columns)` and `polars.DataFrame(columns)` make a frame."""

    @property
    def rows(self) -> int:
        """The length of the columns."""
        return len(next(iter(self.values()), ()))

    def __repr__(self) -> str:
        return line("Columns", f"{counted(self.rows, 'row')}: {', '.join(self)}")

    def _repr_html_(self) -> str:
        n = self.rows
        chosen = range(n) if n <= 2 * SHOWN else [*range(SHOWN), *range(n - SHOWN, n)]
        return table_html(counted(n, "row"), self, [[_cell(x[i]) for x in self.values()] for i in chosen])


def columns(path: Path) -> Columns:
    """The columns of a table of a run: texts, whole numbers, or floats (NaN if nothing was reported).

    Raises:
        UserError: the file cannot be read, or it is damaged.
    """
    rows = csv_tables.read(path)
    try:
        return Columns({name: _column(name, [row[name] for row in rows]) for name in (rows[0] if rows else {})})
    except (KeyError, ValueError, TypeError, OverflowError) as error:
        raise csv_tables.damaged(path, error) from error


def _column(name: str, cells: list[str]) -> np.ndarray:
    if name in TEXT:
        return np.array(cells)
    if name in WHOLE:
        return np.array([int(cell) for cell in cells], np.int64)
    return np.array([csv_tables.number(cell) for cell in cells])


def _cell(value: np.generic) -> str:
    return f"{value:.6g}" if isinstance(value, np.floating) else str(value)
