"""What a study gives: a record, a table, a picture, and the files they are written to."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from ..core.errors import UserError
from ..core.files import write_atomic, write_json


class Result(NamedTuple):
    """One study, finished."""

    name: str
    title: str
    settings: dict[str, Any]  # JSON-ready: enough to repeat it
    header: tuple[str, ...]
    rows: list[tuple[Any, ...]]  # text and numbers, one for each name in the header
    notes: list[str]  # what the table says, in sentences
    draw: Callable[[Any], None]  # puts the picture on an empty matplotlib figure

    def record(self) -> dict[str, Any]:
        """Everything but the picture, JSON-ready: numbers that are not finite are null."""
        rows = [dict(zip(self.header, map(_json, row), strict=True)) for row in self.rows]
        return {"study": self.name, "title": self.title, "settings": self.settings, "rows": rows, "notes": self.notes}


def _json(cell: Any) -> Any:
    return None if isinstance(cell, float) and not math.isfinite(cell) else cell


def write(result: Result, folder: str | Path) -> list[Path]:
    """`NAME.json`, `NAME.csv` and, where matplotlib is installed, `NAME.png` in the folder; the paths written.

    Raises:
        UserError: the disk refuses.
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
        UserError: matplotlib is missing.
    """
    try:
        from matplotlib.figure import Figure  # not pyplot: no window, no state that others share
    except ImportError:
        raise UserError("pictures need matplotlib: pip install 'holdfast[report]'") from None
    figure = Figure(layout="constrained")
    result.draw(figure)
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=150)
    return data.getvalue()
