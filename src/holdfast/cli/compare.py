"""`holdfast compare A B C`: runs side by side."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from . import usage


@dataclasses.dataclass(frozen=True)
class Args:
    """Compare runs: a picture of their curves, a table with differences and intervals, and a page."""

    runs: Positional[Annotated[tuple[str, ...], arg(metavar="RUN [RUN ...]")]]
    """Folders of runs, folders that contain runs, or patterns. The first one is the reference."""
    out: Path = Path("comparison")
    """Folder of the files. Files of an earlier comparison are replaced."""
    json: bool = False
    """Print the table as JSON, and write no file."""


def main(argv: Sequence[str]) -> int:
    """Run the command and return its exit code.

    Raises:
        UserError: a name is not a run, fewer than two runs have evaluations, or a file cannot be written.
    """
    args = usage.parse(Args, "holdfast compare", argv)
    from rich.console import Console

    from ..report import compare_page as texts
    from ..report.compare import compare
    from ..report.entries import ESTIMATE_HEADER
    from ..report.table import table_of

    found = compare(*args.runs)
    if args.json:
        sys.stdout.write(json.dumps(found.rows(), indent=2) + "\n")
        return 0
    console = Console(highlight=False, markup=False)
    lines = found.lines()
    for task in found.tasks:
        console.print(task, style="bold")
        console.print(table_of(texts.HEADER, [texts.row_texts(line) for line in lines if line.entry.task == task]))
    if found.estimated:
        console.print("not evaluated: estimates from logged data", style="bold")
        console.print(table_of(ESTIMATE_HEADER, [one.cells for one in found.estimated]))
    aggregates = found.aggregates()
    if aggregates and len(found.tasks) > 1:
        console.print("all tasks", style="bold")
        console.print(table_of(texts.AGGREGATE_HEADER, [texts.aggregate_texts(one) for one in aggregates]))
    for sentence in texts.lines_of(found):
        console.print(sentence)
    for line in found.left_out:
        console.print(f"left out: {line}", style="yellow")
    for path in found.write(args.out):
        sys.stdout.write(f"{path}\n")
    return 0
