"""The evaluations of a run: at once, or while it trains.

An evaluation that plays while the run trains has a copy of the states. Its results are written between two blocks, at
the latest before the next evaluation begins and before the phase ends. No checkpoint is saved before that: a resumed
run repeats the evaluation from the checkpoint at its step, and trains on from there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from typing import NamedTuple

import jax

from ..core.errors import UserError
from ..evaluation.evaluate import Evaluation
from .carry import Carry, Position
from .loop import Program
from .overlap import piece
from .shipping import Shipping
from .stopping import PIECE, Pace, shielded


class Pending(NamedTuple):
    """An evaluation that plays."""

    program: Program
    carry: Carry  # with a copy of the states, and nothing else
    step: int
    found: Future[Evaluation]


class Evaluations:
    """Evaluates the policies of a run. All files are written by the caller's thread."""

    def __init__(self, shipping: Shipping, pace: Pace, evaluated: Callable[[int, Evaluation], None]) -> None:
        """
        Args:
            shipping: plays, and writes what it finds.
            pace: the pace of the run, which saves no checkpoint while an evaluation plays.
            evaluated: is called with the step and the results of each evaluation, after they are written.
        """
        self.shipping = shipping
        self.pace = pace
        self.evaluated = evaluated
        self.pending: Pending | None = None

    @property
    def overlap(self) -> bool:
        """Whether evaluations may play while the run trains."""
        return self.shipping.player.threaded and self.shipping.evaluator is not None

    def now(self, program: Program, at: Position) -> None:
        """Evaluate the policies of a place, and wait for it.

        Raises:
            UserError: an environment fails, or the disk is full.
            Stopped: a signal came while it played.
        """
        found = self.shipping.evaluate(program, at.carry, at.total)
        if found is not None:
            self.evaluated(at.total, found)

    def begin(self, program: Program, at: Position) -> None:
        """Begin to evaluate the policies of a place. Only one evaluation plays at a time; `collect` ends it."""
        # a copy, because the next block takes the memory of the states
        state = jax.tree.map(lambda x: jax.device_put(x, x.sharding, may_alias=False), at.carry.state)
        carry = Carry(state, (), {}, {})
        found = self.shipping.player.begin(lambda: self.shipping.play(program, carry, at.total))
        self.pending = Pending(program, carry, at.total, found)
        self.pace.held = True
        self.pace.piece = piece() or PIECE

    def collect(self, ended: bool = False) -> bool:
        """Write the results of the evaluation that plays, if it has ended.

        Args:
            ended: wait for its end.

        Returns:
            Whether nothing plays any more.

        Raises:
            UserError: its environment failed, or the disk is full. Nothing plays any more.
            Stopped: a signal came while it was waited for. It still plays.
        """
        if self.pending is None:
            return True
        program, carry, step, future = self.pending
        if ended and not future.done():
            with shielded(False):
                wait([future])
        if not future.done():
            return False
        self.pending = None
        self.pace.held = False
        self.pace.piece = PIECE
        found = future.result()
        self.shipping.record(program, carry, step, found)
        self.evaluated(step, found)
        return True

    @contextlib.contextmanager
    def collected(self) -> Iterator[None]:
        """If training fails in this section, write the results of the evaluation that plays."""
        try:
            yield
        except Exception:
            with contextlib.suppress(UserError):
                self.collect(ended=True)
            raise
