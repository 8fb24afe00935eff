"""Compares runs: `holdfast.compare`, and the files that it writes."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

from ..core.errors import UserError
from ..core.files import write_atomic
from ..core.shown import counted
from .compare_page import page, picture, tables
from .comparison import ComparisonTables, pair_row
from .drawing import png
from .entries import entries_of, find


class Comparison(ComparisonTables):
    """Compared runs: their tables, and the files with pictures."""

    def __repr__(self) -> str:
        tasks = dict.fromkeys([*self.tasks, *(one.task for one in self.estimated)])
        return f"Comparison of {len(self.entries) + len(self.estimated)} entries on {', '.join(tasks)}"

    def _repr_html_(self) -> str:
        return tables(self)

    def write(self, folder: str | Path = "comparison") -> list[Path]:
        """Write `comparison.png`, `comparison.csv`, `differences.csv` and `comparison.html` into a folder.

        Without two runs that were evaluated there is no picture and no file of differences.

        Files of an earlier comparison in the same folder are replaced.

        Args:
            folder: the folder; it is made if it does not exist.

        Returns:
            The paths of the files.

        Raises:
            UserError: matplotlib or Jinja2 is not installed, or a file cannot be written.
        """
        folder = Path(folder)
        pairs = [pair_row(found) for found in self.pairs()]
        files = {
            "comparison.csv": _csv(self.rows()),
            "comparison.html": page(self).encode(errors="backslashreplace"),
        }
        if pairs:
            files = {"comparison.png": png(picture(self)), "differences.csv": _csv(pairs), **files}
        for name, data in files.items():
            write_atomic(folder / name, data)
        return [folder / name for name in files]


class Trained(Protocol):
    """A run that `holdfast.train` returned."""

    @property
    def path(self) -> Path:
        """The run's folder."""


def compare(*runs: str | Path | Trained) -> Comparison:
    """Compare runs.

    Args:
        runs: runs, folders of runs, folders that contain runs, or patterns (`runs/iql-*`). Each setting of a sweep is
            an entry of its own. The first entry is the reference.

    Returns:
        The comparison; `rows()` is its table, and `write(folder)` writes a picture, tables and a page.

    Raises:
        UserError: a name is not a run, a file is damaged, or there are fewer than two entries with evaluations or
            estimates.
    """
    paths = find([run if isinstance(run, (str, Path)) else run.path for run in runs])
    entries, estimated, left_out = entries_of(paths)
    if len(entries) < 2 and len(estimated) + len(entries) < 2:
        why = f" ({'; '.join(left_out)})" if left_out else ""
        raise UserError(
            f"{counted(len(entries), 'run')} with evaluations, expected at least two to compare{why}: name more runs, "
            "or a sweep"
        )
    return Comparison(entries, left_out, estimated)


def _csv(rows: Iterable[dict[str, Any]]) -> bytes:
    rows = list(rows)
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode(errors="backslashreplace")
