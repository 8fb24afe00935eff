"""Parsing of the command line with tyro. Every mistake becomes a `UserError` of one line."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import re
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import tyro

from ..core.errors import UserError

T = TypeVar("T")

# tyro frames its messages: with box characters, or with dashes if the terminal cannot print these
FRAME = re.compile(r"[╭╮╰╯│]|─{2,}|-{4,}")
STYLE = (tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff)


def parse(cls: type[T], prog: str, argv: Sequence[str], default: T | None = None, config: Sequence[Any] = STYLE) -> T:
    """Parse the arguments of a command.

    Args:
        cls: a dataclass. Each of its fields is a flag, and so are the fields of dataclasses inside it.
        prog: the command, for messages and help.
        argv: the arguments after it.
        default: values of the flags that are not given. None: the defaults of `cls`.
        config: markers of `tyro.conf` for the whole command.

    Raises:
        UserError: unknown flags, or missing or malformed values.
        SystemExit: after --help, with code 0.
    """
    start: Any = tyro.MISSING_NONPROP if default is None else default
    args = [whole(argument) for argument in argv]
    return _quiet(prog, lambda: tyro.cli(cls, prog=prog, args=args, default=start, config=tuple(config)))


def peek(prog: str, argv: Sequence[str], *names: str) -> tuple[dict[str, str | None], list[str]]:
    """Read some flags before the others: the flags that decide which other flags exist.

    Args:
        prog: the command, for messages.
        argv: all arguments.
        names: names of the flags.

    Returns:
        The value of each flag, None if it is not given, and the remaining arguments.

    Raises:
        UserError: one of the flags has no value.
    """
    flags: list[Any] = [(name, str | None, dataclasses.field(default=None)) for name in names]
    cls: Any = dataclasses.make_dataclass("Flags", flags)
    found, rest = _quiet(
        prog, lambda: tyro.cli(cls, prog=prog, args=list(argv), return_unknown_args=True, add_help=False)
    )
    return vars(found), rest


def whole(argument: str) -> str:
    """Write 1e6 as 1000000, because whole numbers are often given in that form. A float flag reads both alike."""
    if re.fullmatch(r"\d+(\.\d+)?[eE]\+?\d+", argument) and float(argument).is_integer():
        return str(int(float(argument)))
    return argument


def one_line(framed: str) -> str:
    """The text of a framed message, with the flag that was probably meant."""
    lines = [FRAME.sub("", line).strip() for line in framed.splitlines()]
    body = [line for line in lines[1:] if line and not line.startswith(("For full help", "Argument helptext"))]
    flags = [line.split()[0] for line in body[1:] if line.startswith("--")]
    text = " ".join(body[:1]) if not body or not body[0].startswith("Missing") else " ".join(body[:2])
    text = text.replace("Unrecognized options: ", "unknown: ").replace(
        "invalid literal for int() with base 10", "not a whole number"
    )
    meant = "Perhaps you meant" in framed and flags
    return f"{text}; did you mean {flags[0]}?" if meant else text


def _quiet(prog: str, call: Callable[[], T]) -> T:
    """Run tyro, with its message on stderr turned into a `UserError`."""
    printed = io.StringIO()
    try:
        with contextlib.redirect_stderr(printed):
            return call()
    except SystemExit as end:
        if end.code in (0, None):
            raise
        raise UserError(f"{one_line(printed.getvalue())}; see {prog} --help") from None
