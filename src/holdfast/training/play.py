"""How a phase advances by one block: the interface, and the phases that collect nothing."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import jax
import numpy as np

from ..core.errors import UserError
from .carry import BlockMetrics, Carry, Partial, means, sums_of
from .loop import Program
from .stopping import Pace


class PlayResult(NamedTuple):
    """The result of one block, before the checks of the loop. R replicas."""

    carry: Carry
    metrics: BlockMetrics  # of the updates
    episodes: dict[str, np.ndarray]  # means and number of the collected episodes that ended, [R] by metric name
    updates: int  # of each replica
    step: int  # where the block ended
    failure: UserError | None = None  # why it ended before the step that was asked for
    partial: tuple[list[Any], list[Any]] | None = None  # sums and episodes of a block that has paused


class Play(Protocol):
    """What advances a phase by one block: `Offline`, `GymCollection` or `JaxCollection`."""

    @property
    def exact(self) -> bool | None:
        """Whether a resumed run has the same bits as an uninterrupted one; None if nothing is collected."""

    def start(self, carry: Carry) -> None:
        """Begin a phase at its first step."""

    def restore(self, log: dict[str, Any], carry: Carry) -> Carry:
        """Continue a phase from a checkpoint, of which `log` is the part that `log()` gave."""

    def compile(self, carry: Carry, updates: int) -> None:
        """Compile what a block of so many steps needs, if it is not compiled yet."""

    def run(self, carry: Carry, lo: int, hi: int, partial: Partial | None = None) -> PlayResult:
        """Advance from step `lo` to step `hi`, or until the pace asks for a pause. The carry given is consumed.

        Args:
            carry: where the phase is.
            lo: first step, or the step where the block has paused.
            hi: step after the last one.
            partial: the block so far, if it has paused.
        """

    def log(self) -> dict[str, Any] | None:
        """JSON-ready facts that a checkpoint stores next to the carry."""

    def close(self) -> None:
        """Close the environments."""


class Offline:
    """The `Play` of a phase that collects nothing: updates alone."""

    exact = None

    def __init__(self, program: Program, pace: Pace | None = None) -> None:
        """
        Args:
            program: program of the phase.
            pace: cuts blocks into pieces. None: a block is one piece.
        """
        self.program = program
        self.pace = pace

    def start(self, carry: Carry) -> None:
        """Do nothing: the carry is all that the phase needs."""

    def restore(self, log: dict[str, Any], carry: Carry) -> Carry:
        """Return the carry as it is."""
        return carry

    def compile(self, carry: Carry, updates: int) -> None:
        """Compile the program for blocks of this kind."""
        self.program.compile(carry, updates)

    def run(self, carry: Carry, lo: int, hi: int, partial: Partial | None = None) -> PlayResult:
        """Updates lo <= step < hi of each replica, fewer if the pace asks for a pause."""
        program = self.program
        sums = program.nothing() if partial is None else sums_of(partial.sums)
        stride = program.stride(lo, hi)
        at = lo
        for end in [hi] if self.pace is None else self.pace.ends(lo, hi, stride):
            for begin, stop in program.pieces(at, end):
                carry, sums = program.advance(carry, sums, begin, stop, stride)
                jax.block_until_ready(sums)
            at = end
        kept: list[Any] | None = None if at == hi else [np.asarray(x).tolist() for x in sums]
        return PlayResult(carry, means(sums), {}, at - lo, at, None, None if kept is None else (kept, []))

    def log(self) -> None:
        """Nothing to store."""

    def close(self) -> None:
        """Nothing to close."""
