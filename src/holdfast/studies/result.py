"""The result of a study: a table, sentences, a picture, and the files that they are written to."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..core.errors import UserError
from ..core.files import write_atomic, write_json

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Cell = str | int | float
Row = tuple[Cell, ...]


class Result(NamedTuple):
    """A finished study."""

    name: str
    title: str
    settings: dict[str, Any]  # JSON-ready; enough to repeat the study
    header: tuple[str, ...]
    rows: Sequence[Row]  # text and numbers, one for each name in the header
    notes: list[str]  # the paper's claim and what the runs showed, in sentences
    draw: Callable[[Figure], None]  # draws the picture on an empty figure

    def record(self) -> dict[str, Any]:
        """Everything except the picture, JSON-ready. Numbers that are not finite become null."""
        rows = [dict(zip(self.header, map(_json, row), strict=True)) for row in self.rows]
        return {"study": self.name, "title": self.title, "settings": self.settings, "rows": rows, "notes": self.notes}


def _json(cell: Cell) -> Cell | None:
    return None if isinstance(cell, float) and not math.isfinite(cell) else cell


def write(result: Result, folder: str | Path) -> list[Path]:
    """Write `NAME.json` and `NAME.csv` into the folder, and `NAME.png` if matplotlib is installed.

    Returns:
        The paths of the files.

    Raises:
        UserError: a file cannot be written.
    """
    stem = Path(folder) / result.name
    write_json(stem.with_suffix(".json"), result.record())
    text = io.StringIO()
    csv.writer(text).writerows([result.header, *result.rows])
    write_atomic(stem.with_suffix(".csv"), text.getvalue().encode())
    written = [stem.with_suffix(".json"), stem.with_suffix(".csv")]
    try:
        data = picture(result)
    except UserError:
        return written
    write_atomic(stem.with_suffix(".png"), data)
    return [*written, stem.with_suffix(".png")]


def picture(result: Result) -> bytes:
    """The picture as PNG.

    Raises:
        UserError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure  # not pyplot, which opens windows and shares state
    except ImportError:
        raise UserError("pictures need matplotlib: pip install 'holdfast-rl[report]'") from None
    figure = Figure(layout="constrained")
    result.draw(figure)
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=150)
    return data.getvalue()
