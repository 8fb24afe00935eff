"""`holdfast algorithms`: the algorithms that can be trained."""

from __future__ import annotations

import dataclasses
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

    table = Table()
    for column in ("name", "method", "paper", "actions", "phases", "presets"):
        table.add_column(column, no_wrap=column == "name")
    for name in registry.names():
        row = registry.ROWS[name]
        algorithm = registry.get(name)
        default = next(iter(algorithm.presets.values())).config
        phases = ", ".join(phase.name for phase in algorithm.phases(default))
        actions = ", ".join(sorted(algorithm.actions))
        table.add_row(name, row.title, short(CITATIONS[row.paper]), actions, phases, ", ".join(algorithm.presets))
    Console().print(table)
    return 0
