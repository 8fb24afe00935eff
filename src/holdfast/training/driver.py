"""The block loop. Every training goes through `blocks`: runs on disk, studies in memory, tests and benchmarks.

A phase is trained in blocks of updates, or of environment steps if it collects. After each block the loop checks that
the metrics are finite, calls the phase's `refresh` if it is due, and marks the replicas that have stopped.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from ..core.contract import Phase
from ..core.errors import Diverged, UserError
from ..data.feed import row_sources
from .carry import BlockMetrics, Carry, Partial
from .loop import Program
from .play import Offline, Play


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
    partial: Partial | None = None  # not None: the block has paused at `hi`, and comes again when it is whole


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
    program: Program,
    carry: Carry,
    lo: int,
    stop: int,
    due: Callable[[int], int],
    play: Play | None = None,
    partial: Partial | None = None,
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
        partial: the block in which `lo` is, if it has paused there.

    Yields:
        Every block, after its checks, and the block so far if it pauses. The iteration ends after a block with a
        `failure`.

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
        result = play.run(carry, lo, hi) if partial is None else play.run(carry, lo, hi, partial)
        before = partial or Partial(lo, 0, 0.0, [], [])
        seconds = before.seconds + max(time.perf_counter() - began, 1e-9)  # two readings of a clock may be equal
        updates = before.updates + result.updates
        carry = result.carry
        hi = result.step
        if result.failure and hi == before.lo:  # nothing was collected: there is nothing to check or to report
            yield Block(phase, lo, lo, carry, {}, 0, seconds, result.failure)
            return
        _require_finite(program, program.metrics, result.metrics)
        if result.partial is not None:
            partial = Partial(before.lo, updates, seconds, *result.partial)
            yield Block(phase, before.lo, hi, carry, {}, updates, seconds, None, partial)
            lo = hi
            continue
        partial = None
        metrics = _by_name(program.metrics, result.metrics) | result.episodes
        if phase.refresh is not None and hi % phase.every == 0:
            carry, fresh = program.refresh(carry, hi)
            _require_finite(program, program.fresh, fresh)
            metrics |= _by_name(program.fresh, fresh)
        carry = program.stopped(carry)
        yield Block(phase, before.lo, hi, carry, metrics, updates, seconds, result.failure)
        if result.failure:
            return
        lo = hi


def require_rows(program: Program, carry: Carry) -> None:
    """Refuse a phase that draws from an empty replay buffer: the drawn rows would be zeros.

    Raises:
        UserError: the buffer is empty and this phase does not collect into it.
    """
    collect = program.phase.collect
    for name in row_sources.drawn(program.phase.mix, {**program.sources, **carry.rings}):
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
