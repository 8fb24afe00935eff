"""The block loop. Every training goes through `blocks`: runs on disk, studies in memory, tests and benchmarks.

A phase is trained in blocks of updates, or of environment steps if it collects. After each block the loop checks that
the metrics are finite, calls the phase's `refresh` if it is due, and marks the replicas that have stopped.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from ..core.contract import Phase
from ..core.errors import Diverged, UserError
from ..data.feed import sampler
from .carry import BlockMetrics, Carry
from .loop import Program


class PlayResult(NamedTuple):
    """The result of one block, before the checks of the loop. R replicas."""

    carry: Carry
    metrics: BlockMetrics  # of the updates
    episodes: dict[str, np.ndarray]  # means and number of the collected episodes that ended, [R] by metric name
    updates: int  # of each replica
    step: int  # where the block ended
    failure: UserError | None = None  # why it ended before the step that was asked for


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

    def run(self, carry: Carry, lo: int, hi: int) -> PlayResult:
        """Advance from step `lo` to step `hi`. The carry given is consumed."""

    def log(self) -> dict[str, Any] | None:
        """JSON-ready facts that a checkpoint stores next to the carry."""

    def close(self) -> None:
        """Close the environments."""


class Offline:
    """The `Play` of a phase that collects nothing: updates alone."""

    exact = None

    def __init__(self, program: Program) -> None:
        self.program = program

    def start(self, carry: Carry) -> None:
        """Do nothing: the carry is all that the phase needs."""

    def restore(self, log: dict[str, Any], carry: Carry) -> Carry:
        """Return the carry as it is."""
        return carry

    def compile(self, carry: Carry, updates: int) -> None:
        """Compile the program for blocks of this kind."""
        self.program.compile(carry, updates)

    def run(self, carry: Carry, lo: int, hi: int) -> PlayResult:
        """Updates lo <= step < hi of each replica."""
        carry, metrics = self.program.run(carry, lo, hi)
        return PlayResult(carry, metrics, {}, hi - lo, hi)

    def log(self) -> None:
        """Nothing to store."""

    def close(self) -> None:
        """Nothing to close."""


class Block(NamedTuple):
    """One block of a phase. R replicas.

    Do not keep a reference to `carry` or to its state: the next block reuses their memory. Copy what you need.
    """

    phase: Phase
    lo: int  # first step
    hi: int  # step after the last one
    carry: Carry
    metrics: dict[str, np.ndarray]  # mean over the block by name, [R]; NaN if a replica reported nothing
    updates: int  # of each replica
    seconds: float  # without compilation
    failure: UserError | None  # the environment failed: this is the last block, and its rows and updates are whole


class NotFinite(Diverged):
    """A metric became NaN or infinite.

    Attributes:
        metric: its name.
        replica: index of the first replica with such a metric.
        update: the first such step of the phase.
    """

    def __init__(self, metric: str, replica: int, update: int, algorithm: str) -> None:
        super().__init__(f"{metric} of replica {replica} is NaN or infinite at update {update} of {algorithm}")
        self.metric = metric
        self.replica = replica
        self.update = update


def enter(program: Program, before: Carry | None) -> Carry:
    """The first carry of a phase.

    Args:
        program: the phase.
        before: the last carry of the phase before, whose states and replay buffers are handed on; None for the first
            phase.
    """
    state = None if before is None else before.state
    rings = None if before is None else before.rings
    if not program.metrics:
        program.shapes(state, rings)
    return program.start(state, rings)


def blocks(
    program: Program, carry: Carry, lo: int, stop: int, due: Callable[[int], int], play: Play | None = None
) -> Iterator[Block]:
    """Train one phase from step `lo` to step `stop`, or until every replica has stopped.

    Args:
        program: the phase.
        carry: where the phase is at `lo`, first of all from `enter`; it is consumed.
        lo: first step.
        stop: step after the last one.
        due: step at which the block that starts at a given step has to end. A block may end earlier, for a refresh or
            at `stop`, or a few steps later, after a whole step of all environments.
        play: how the phase collects; None for a phase that collects nothing.

    Yields:
        Every block, after its checks. After a block with a `failure` the iteration ends.

    Raises:
        NotFinite: a metric of an update or of a refresh became NaN or infinite.
        UserError: the phase draws from a replay buffer that is empty.
        EnvironmentFailed: an environment failed in a way that leaves no state to save.
    """
    require_rows(program, carry)
    play = Offline(program) if play is None else play
    phase = program.phase
    while lo < stop and not np.asarray(carry.done).all():
        hi = block_end(phase, lo, due(lo), stop)
        play.compile(carry, hi - lo)
        began = time.perf_counter()
        result = play.run(carry, lo, hi)
        seconds = time.perf_counter() - began
        carry = result.carry
        hi = result.step
        if result.failure and hi == lo:  # nothing was collected: there is nothing to check or to report
            yield Block(phase, lo, lo, carry, {}, 0, seconds, result.failure)
            return
        _require_finite(program, program.metrics, result.metrics)
        metrics = _by_name(program.metrics, result.metrics) | result.episodes
        if phase.refresh is not None and hi % phase.every == 0:
            carry, fresh = program.refresh(carry, hi)
            _require_finite(program, program.fresh, fresh)
            metrics |= _by_name(program.fresh, fresh)
        carry = program.stopped(carry)
        yield Block(phase, lo, hi, carry, metrics, result.updates, seconds, result.failure)
        if result.failure:
            return
        lo = hi


def require_rows(program: Program, carry: Carry) -> None:
    """Refuse a phase that draws from an empty replay buffer: the drawn rows would be zeros.

    Raises:
        UserError: the buffer is empty and this phase does not collect into it.
    """
    collect = program.phase.collect
    for name in sampler.drawn(program.phase.mix, {**program.sources, **carry.rings}):
        if name in carry.rings and (collect is None or collect.to != name) and not carry.rings[name].size.all():
            raise UserError(f"phase {program.phase.name} draws from '{name}', which no phase has filled")


def block_end(phase: Phase, lo: int, due: int, stop: int) -> int:
    """The step at which a block that starts at `lo` ends."""
    refresh = (lo // phase.every + 1) * phase.every if phase.refresh is not None else due
    at_once = phase.collect.envs if phase.collect else 1  # one step of every environment is the least
    whole = -(-min(due, refresh) // at_once) * at_once
    return min(whole, stop)


def _by_name(names: Sequence[str], metrics: BlockMetrics) -> dict[str, np.ndarray]:
    return dict(zip(names, metrics.mean.T, strict=True))


def _require_finite(program: Program, names: Sequence[str], metrics: BlockMetrics) -> None:
    replicas, columns = np.nonzero(metrics.first_bad >= 0)
    if not len(replicas):
        return
    first = int(np.argmin(metrics.first_bad[replicas, columns]))
    replica = int(replicas[first])
    column = int(columns[first])
    raise NotFinite(names[column], replica, int(metrics.first_bad[replica, column]), program.algorithm.name)
