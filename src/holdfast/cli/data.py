"""`holdfast data COMMAND ...`: inspect, check, collect, convert and list data sets."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import Any

from ..core.errors import unknown
from . import usage

# name -> (module and class in this package, what it does)
COMMANDS = {
    "info": ("data_commands", "Info", "episodes, returns, spaces and action coverage of a data set"),
    "check": ("data_commands", "Check", "faults of a data set, each with its place and how to fix it"),
    "doctor": ("data_commands", "Doctor", "is a log fit for offline learning, and which methods suit it"),
    "schema": ("data_commands", "Schema", "propose the roles of a table's columns, as a file for --columns"),
    "collect": ("collect", "Collect", "make a log in an environment"),
    "convert": ("data_commands", "Convert", "write a copy in another form, with faults fixed on request"),
    "list": ("data_commands", "List", "the bundled data sets and the local Minari data sets"),
}


def main(argv: Sequence[str]) -> int:
    """Run `holdfast data ...`.

    Returns:
        0, or 1 if `check` found a fault that would make training wrong, or if a log is not fit for `doctor`.

    Raises:
        UserError: a mistake in the flags, or a data set that cannot be read or written.
    """
    if not argv or argv[0] in ("-h", "--help"):
        sys.stdout.write(overview())
        return 0
    if argv[0] not in COMMANDS:
        raise unknown("command of holdfast data", argv[0], COMMANDS)
    return usage.parse(subcommand(argv[0]), f"holdfast data {argv[0]}", argv[1:]).run()


def subcommand(name: str) -> Any:
    """The dataclass with the flags of a command of `holdfast data`."""
    module, cls, _ = COMMANDS[name]
    return getattr(importlib.import_module(f".{module}", __package__), cls)


def subcommands() -> dict[str, Any]:
    """The flags of each command of `holdfast data`."""
    return {name: subcommand(name) for name in COMMANDS}


def overview() -> str:
    """What `holdfast data --help` prints. The flags are in the help of each command."""
    lines = [f"  {name:<9} {text}" for name, (_, _, text) in COMMANDS.items()]
    return "usage: holdfast data COMMAND ...   (holdfast data COMMAND --help: all flags)\n\n" + "\n".join(lines) + "\n"
