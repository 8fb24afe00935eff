"""Flags by tyro, with its framed messages told in one line."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Sequence
from typing import Any, TypeVar

import tyro

from ..core.errors import UserError

T = TypeVar("T")

FRAME = re.compile(r"[╭╮╰╯│]|─{2,}|-{4,}")  # where the terminal knows no boxes: rules of dashes


def parse(
    cls: type[T], prog: str, argv: Sequence[str], default: Any = tyro.MISSING_NONPROP, config: Sequence[Any] = ()
) -> T:
    """Arguments of a command.

    Raises:
        UserError: unknown flags, missing or malformed values, in one line; `SystemExit(0)` after --help.
    """
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(cls, prog=prog, args=[whole(a) for a in argv], default=default, config=tuple(config))
    except SystemExit as end:
        if end.code in (0, None):
            raise
        raise UserError(f"{one_line(said.getvalue())}; see {prog} --help") from None


def whole(argument: str) -> str:
    """1e6 as 1000000: whole numbers are often written so, and a float flag reads the same."""
    if re.fullmatch(r"\d+(\.\d+)?[eE]\+?\d+", argument) and float(argument).is_integer():
        return str(int(float(argument)))
    return argument


def one_line(framed: str) -> str:
    """What a framed message says, with the flag that it thinks was meant."""
    lines = [FRAME.sub("", line).strip() for line in framed.splitlines()]
    body = [line for line in lines[1:] if line and not line.startswith(("For full help", "Argument helptext"))]
    flags = [line.split()[0] for line in body[1:] if line.startswith("--")]
    text = " ".join(body[:1]) if not body or not body[0].startswith("Missing") else " ".join(body[:2])
    text = text.replace("Unrecognized options: ", "unknown: ").replace(
        "invalid literal for int() with base 10", "not a whole number"
    )
    meant = "Perhaps you meant" in framed and flags
    return f"{text}; did you mean {flags[0]}?" if meant else text
