"""`holdfast report RUN`: the results of a run as a table, a picture and an HTML page."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

import tyro

from ..core.errors import UserError
from . import usage


@dataclasses.dataclass(frozen=True)
class Args:
    """Print the results of a run, and write them as a self-contained HTML page and a picture of the learning curve."""

    run: tyro.conf.Positional[Path]
    """The run's folder."""
    out: Path | None = None
    """Path of the page. Default: report.html in the run's folder."""
    open: bool = False
    """Open the page in the browser."""


def main(argv: Sequence[str]) -> int:
    """Run the command and return its exit code.

    Raises:
        UserError: the folder is not a run or contains no metrics yet, the extra `report` is not installed, or a file
            cannot be written.
    """
    args = _parsed(argv)
    from rich.console import Console

    from ..report.curves import write_curve
    from ..report.page import write_page
    from ..report.table import results_table
    from ..runs.listing import find_runs
    from ..runs.read import read_run

    if not (args.run / "config.json").is_file():
        inside = list(find_runs(args.run))
        if inside:
            others = f", or compare them with holdfast compare {args.run}" if len(inside) > 1 else ""
            raise UserError(
                f"{args.run} is not a run folder, it contains {len(inside)}: name one, for example {inside[0]}{others}"
            )
    record = read_run(args.run)
    Console().print(results_table(record))
    written = [write_page(record, args.out)]
    if len(record.eval_steps):
        written.append(write_curve(record))
    for path in written:
        sys.stdout.write(f"{path}\n")
    if args.open:
        import webbrowser

        webbrowser.open(written[0].resolve().as_uri())
    return 0


def _parsed(argv: Sequence[str]) -> Args:
    """The arguments.

    Raises:
        UserError: a mistake in them; several folders get the command that compares them.
    """
    try:
        return usage.parse(Args, "holdfast report", argv, tyro.MISSING_NONPROP, config=(tyro.conf.FlagCreatePairsOff,))
    except UserError as error:
        folders = [word for word in argv if Path(word).is_dir()]
        if len(folders) < 2:
            raise
        raise UserError(
            f"holdfast report takes one run; to compare these: holdfast compare {' '.join(folders)}"
        ) from error
