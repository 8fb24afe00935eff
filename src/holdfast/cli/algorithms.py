"""`holdfast algorithms`: the algorithms that can be trained."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence

from . import usage


@dataclasses.dataclass(frozen=True)
class Args:
    """List all algorithms: name, method, paper, kinds of actions, phases and presets."""


def main(argv: Sequence[str]) -> int:
    """Print the table."""
    usage.parse(Args, "holdfast algorithms", argv)
    from rich.console import Console
    from rich.table import Table

    from ..algorithms import registry
    from ..algorithms.citations import CITATIONS, short
    from ..core.errors import UserError, printable

    table = Table()
    for column in ("name", "method", "paper", "actions", "phases", "presets"):
        table.add_column(column, no_wrap=column == "name")
    broken = []
    for name in registry.names():
        row = registry.row(name)
        try:
            algorithm = registry.get(name)
        except UserError as fault:  # of an installed package
            broken.append(str(fault))
            continue
        default = next(iter(algorithm.presets.values())).config
        phases = ", ".join(phase.name for phase in algorithm.phases(default))
        actions = ", ".join(sorted(algorithm.actions))
        paper = CITATIONS.get(row.paper or "")
        cited = short(paper) if paper else "-"
        table.add_row(name, row.title, cited, actions, phases, ", ".join(algorithm.presets))
    Console().print(table)
    for text in broken:
        sys.stdout.write(f"{printable(text)}\n")
    return 0
