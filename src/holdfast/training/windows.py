"""Training with a window over a large log: before each part of a block, the rows that the window then has."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from .compilation import STRIDE, stride_of

if TYPE_CHECKING:
    from .loop import Program


def bring(program: Program, step: int) -> None:
    """Let a program draw from the rows that its window has at a step, if it has a window."""
    if program.window is not None:
        program.sources = {**program.sources, "data": program.window.at(step)}


def pieces(program: Program, lo: int, hi: int) -> Iterator[tuple[int, int]]:
    """The updates lo <= step < hi in parts that draw from the same rows. Each part's rows are brought before it."""
    parts = [(lo, hi)] if program.window is None else program.window.pieces(lo, hi)
    for begin, end in parts:
        bring(program, begin)
        yield begin, end


def stride_in(program: Program, lo: int, hi: int) -> int:
    """Updates of an inner loop of a block. They divide every part of the block."""
    return 1 if program.window is not None and lo % STRIDE else stride_of(hi - lo)
