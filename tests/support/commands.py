"""Commands of the command line, played in this process, and the examples of a page."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from holdfast.cli import main

DOCS = Path(__file__).resolve().parents[2] / "docs"


class Played(NamedTuple):
    """What a command did."""

    status: int
    out: str
    err: str


def play(command: str, capsys: pytest.CaptureFixture[str]) -> Played:
    """Run `holdfast ...` in this process and folder."""
    capsys.readouterr()
    try:
        status = main(shlex.split(command, comments=True)[1:])
    except SystemExit as end:  # --help
        status = int(end.code or 0)
    return Played(status, *capsys.readouterr())


def refused(command: str, capsys: pytest.CaptureFixture[str]) -> str:
    """The one line of a command that ends with status 2 and prints nothing else."""
    status, out, err = play(command, capsys)
    assert (status, out, err.count("\n")) == (2, "", 1), (status, out, err)
    return err.strip()


def examples(page: str, kind: str, changes: Mapping[str, str]) -> list[str]:
    """The blocks of code of a page, with some texts replaced; each must occur.

    Args:
        page: name of the file in docs/.
        kind: language of the blocks.
        changes: texts and what replaces them.
    """
    blocks = re.findall(rf"```{kind}\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), flags=re.S)
    whole = "\0".join(blocks)
    for text, other in changes.items():
        assert text in whole, f"{page} has no {text!r}"
        whole = whole.replace(text, other)
    return whole.split("\0")
