"""`holdfast algorithms [ALGO]`: the algorithms that can be trained, or the presets and settings of one."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, arg

from . import usage

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


@dataclasses.dataclass(frozen=True)
class Args:
    """List all algorithms, or print what is known of one: its paper, presets and settings."""

    algorithm: Positional[Annotated[str | None, arg(metavar="ALGO")]] = None
    """Name of an algorithm. None: list all."""
    json: bool = False
    """Print JSON, with the values of all presets."""


def main(argv: Sequence[str]) -> int:
    """Print the table, or the facts of one algorithm.

    Raises:
        UserError: an unknown name.
    """
    args = usage.parse(Args, "holdfast algorithms", argv, Args())
    from rich.console import Console

    from ..algorithms import registry
    from ..core.errors import UserError, printable

    found = {}
    broken = []
    for name in registry.names() if args.algorithm is None else [args.algorithm]:
        try:
            found[name] = facts(name)
        except UserError as fault:
            if args.algorithm is not None:
                raise
            broken.append(str(fault))  # of an installed package
    if args.json:
        chosen = found if args.algorithm is None else found[args.algorithm]
        sys.stdout.write(json.dumps(chosen, indent=2) + "\n")
    elif args.algorithm is None:
        Console().print(overview(found))
        sys.stdout.write("holdfast algorithms ALGO prints the presets and settings of one\n")
    else:
        show(Console(soft_wrap=True, highlight=False), args.algorithm, found[args.algorithm])
    for text in broken:
        sys.stderr.write(f"{printable(text)}\n")
    return 0


def facts(name: str) -> dict[str, Any]:
    """What is known of an algorithm, JSON-ready.

    Args:
        name: registry name.

    Raises:
        UserError: the name is not registered, or an installed package does not give the algorithm that it names.
    """
    from ..algorithms import registry
    from ..algorithms.citations import CITATIONS, short
    from ..core import config

    algorithm = registry.get(name)
    row = registry.row(name)
    paper = CITATIONS.get(row.paper or "")
    default = next(iter(algorithm.presets.values())).config
    presets = {
        preset: {"source": one.source, "config": config.to_dict(one.config), "treatment": one.treatment._asdict()}
        for preset, one in algorithm.presets.items()
    }
    return {
        "title": row.title,
        "paper": short(paper) if paper else "-",
        "bibtex": row.paper,
        "actions": sorted(algorithm.actions),
        "phases": [phase.name for phase in algorithm.phases(default)],
        "can_finetune": algorithm.finetune is not None,
        "settings": config.to_dict(default),
        "presets": presets,
    }


def overview(found: dict[str, dict[str, Any]]) -> Table:
    """A table of all algorithms that fits into 80 columns."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("name", no_wrap=True, style="bold")
    table.add_column("method", overflow="fold")
    table.add_column("actions", no_wrap=True)
    table.add_column("paper", overflow="fold")
    for name, one in found.items():
        actions = "both" if len(one["actions"]) > 1 else one["actions"][0]
        table.add_row(name, one["title"], actions, one["paper"])
    return table


def show(console: Console, name: str, one: dict[str, Any]) -> None:
    """Print what is known of one algorithm.

    Args:
        console: a console of rich.
        name: registry name.
        one: its `facts`.
    """
    from rich.markup import escape

    console.print(f"[bold]{name}[/]: {one['title']} ({one['paper']}; holdfast cite {name})", end="\n\n")
    for label, values in (("actions", one["actions"]), ("phases", one["phases"])):
        console.print(f"{label:<10}{', '.join(values)}")
    if one["can_finetune"]:
        console.print("online    holdfast finetune RUN continues a run in an environment")
    console.print("\n[bold]presets[/] (--preset NAME; published is the one that is named like the data, or the first)")
    width = max(map(len, one["presets"])) + 2
    for preset, values in one["presets"].items():
        console.print(f"  {preset:<{width}}{escape(values['source'])}")
    console.print(f"\n[bold]settings[/] (defaults of the first preset; holdfast train {name} --help explains them)")
    width = max(map(len, one["settings"])) + 2
    for setting, value in one["settings"].items():
        text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        console.print(f"  {setting:<{width}}{escape(text)}")
