"""`holdfast runs [FOLDER]`: the runs under a folder, one row each."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from . import usage

if TYPE_CHECKING:
    from ..runs.listing import Listed


@dataclasses.dataclass(frozen=True)
class Args:
    """List the runs under a folder: algorithm, data, preset, seeds, steps, state and last return of each."""

    folder: tyro.conf.Positional[Path] = Path("runs")
    """The folder. Folders inside it are searched too."""
    json: bool = False
    """Print JSON instead of the table."""


def main(argv: Sequence[str]) -> int:
    """Run the command and return its exit code.

    Raises:
        UserError: there is no such folder.
    """
    args = usage.parse(Args, "holdfast runs", argv)
    from ..runs.listing import list_runs

    found = list_runs(args.folder)
    if args.json:
        sys.stdout.write(json.dumps([one.to_dict() for one in found], indent=2) + "\n")
    elif not found:
        sys.stdout.write(f"no runs under {args.folder}: holdfast train makes them\n")
    else:
        show(found)
    return 0


def show(found: Sequence[Listed]) -> None:
    """Print the runs: a table, or a paragraph for each run if the table is wider than the terminal."""
    from rich.console import Console
    from rich.measure import Measurement

    from ..report.table import table_of

    header = ("run", "algorithm", "data", "preset", "seeds", "steps", "state", "return [95 % interval]")
    rows = [cells(one) for one in found]
    console = Console(highlight=False, markup=False)
    table = table_of(header, rows, left=4)
    if Measurement.get(console, console.options.update(width=1000), table).maximum <= console.width:
        console.print(table)
    else:
        for path, algorithm, data, preset, seeds, steps, state, final in rows:
            console.print(path, style="bold", soft_wrap=True)
            text = f"{state}; {algorithm} on {data}, preset {preset}, seeds {seeds}, steps {steps}; return {final}"
            console.print(f"  {text}", soft_wrap=True)
    if any(one.best for one in found):
        console.print("The return of a sweep is that of its best setting; it is too high if there are many settings.")
    for one in found:
        if one.fault is not None:
            console.print(f"{one.path}: {one.fault}", style="yellow", soft_wrap=True)


def cells(one: Listed) -> tuple[str, ...]:
    """The cells of one run."""
    from ..report.table import estimate_text

    data = one.data or "-"
    planned = "-" if one.steps is None else f"{one.steps:,}"
    stopped = one.state != "finished" and one.reached is not None
    swept = f" for each of {one.settings} settings" if one.settings and one.settings > 1 else ""
    final = "-" if one.final is None else estimate_text(one.final)
    return (
        str(one.path),
        one.algorithm or "-",
        Path(data).name if Path(data).is_absolute() else data,
        one.preset or "-",
        "-" if one.seeds is None else f"{one.seeds}{swept}",
        f"{one.reached:,} of {planned}" if stopped else planned,
        one.state,
        final + (f" ({one.best})" if one.best else ""),
    )
