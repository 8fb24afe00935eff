"""`holdfast completion SHELL`: the completion of the whole command line, as a script for a shell."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union

import tyro
from tyro.conf import OmitSubcommandPrefixes, Positional, subcommand

from . import COMMANDS, usage

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Shell = Literal["bash", "zsh"]
Flags = type | Mapping[str, Any]  # a dataclass of flags, or the subcommands by name


@dataclasses.dataclass(frozen=True)
class Args:
    """Print a script that completes commands, algorithms and flags in a shell. It needs python3 on the search path.

    bash: holdfast completion bash > ~/.local/share/bash-completion/completions/holdfast

    zsh: holdfast completion zsh > a file named _holdfast in a folder of $fpath"""

    shell: Positional[Shell]
    """The shell."""


def main(argv: Sequence[str]) -> int:
    """Print the script.

    Raises:
        UserError: an unknown shell.
    """
    shell = usage.parse(Args, "holdfast completion", argv).shell
    try:
        tyro.cli(
            tree({name: flags(name) for name in COMMANDS}),
            prog="holdfast",
            args=["--tyro-print-completion", shell],
            config=(*usage.STYLE, OmitSubcommandPrefixes),
            registry=usage.TYPES,
        )
    except SystemExit as end:
        sys.stdout.flush()
        return int(end.code or 0)
    return 0


def flags(command: str) -> Flags:
    """The flags of a command: what its module's `subcommands` returns, or else its `Args`."""
    module = importlib.import_module(f".{command}", __package__)
    return module.subcommands() if hasattr(module, "subcommands") else module.Args


def tree(commands: Mapping[str, Flags]) -> Any:
    """Commands as one type for tyro.

    Args:
        commands: for each name a dataclass of flags, an instance of one with other defaults, or its own subcommands.
    """
    return functools.reduce(lambda one, other: Union[one, other], [_branch(*item) for item in commands.items()])  # noqa: UP007


def _branch(name: str, found: Flags | DataclassInstance) -> Any:
    """One command of `tree`."""
    if isinstance(found, Mapping):
        made: Any = dataclasses.make_dataclass(name.replace("-", "_"), [("command", tree(found))])
        made.__doc__ = COMMANDS.get(name, name)
        return Annotated[made, subcommand(name, description=made.__doc__)]
    if isinstance(found, type):
        return Annotated[found, subcommand(name)]
    return Annotated[type(found), subcommand(name, default=found)]
