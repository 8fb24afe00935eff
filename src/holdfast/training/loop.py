"""The loop: blocks of updates in one compiled program, with every replica (a config and a seed) inside it.

A block is `fori_loop(lo, hi)` over `vmap` over replicas of sample, update, freeze. Its bounds are traced, so a program
serves blocks of any length. See `compilation.loop` for GPUs, and `devices` for replicas on several devices.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np

from ..core.contract import Algorithm, Context, Phase
from ..core.noise import Noise
from ..core.spec import Batch, Cfg, State, Step
from ..core.trained import weighted
from ..core.tree import where
from ..data.feed import buffer, row_sources, sampler
from ..data.feed.augment import shifted
from ..data.feed.columns import Columns
from ..data.feed.window import Window
from ..environments.jax import env as jax_env
from . import compilation
from .carry import BlockMetrics, Carry, Sources, Sums, means, one_replica
from .devices import ALL, DEFAULT, EACH, Hardware
from .refreshing import refreshed, reported
from .rings import Rings


@dataclasses.dataclass
class Program:
    """One phase of one algorithm, compiled for R replicas."""

    algorithm: Algorithm
    phase: Phase
    index: int  # of the phase, part of every key
    cfgs: Any  # leaves [R]
    keys: jax.Array  # [R, 2]
    ctx: Context
    sources: Mapping[str, row_sources.OneOrTeam]
    rows: int = 0  # that the phases which collect bring to a ring, at most
    env: jax_env.JaxEnv | None = None  # what the phase collects in, where that is written in JAX
    filled: Any = None  # columns of the data that the ring holds from the phase's start on, by number [m]
    shift: int = 0  # pixels by which images are moved at random, see `augment.shifted`
    growth: tuple[float, int] | None = None  # rows of the data that arrive an update, and updates until all are there
    window: Window | None = None  # of a log larger than memory, from which the source "data" comes
    hardware: Hardware = DEFAULT
    compiling: compilation.Clock = dataclasses.field(default_factory=compilation.Clock)
    flops: float | None = None  # of one update of all replicas, as XLA counts
    metrics: tuple[str, ...] = ()  # of the update
    fresh: tuple[str, ...] = ()  # of the refresh

    def __post_init__(self) -> None:
        self.cfgs, self.keys = self.hardware.divided((self.cfgs, self.keys))
        self.ctx, self.sources = self.hardware.copied((self.ctx, self.sources))
        cfg = jax.tree.map(lambda x: np.asarray(x)[0], self.cfgs)
        self.update = self.phase.update or self.algorithm.update
        self.needs = self.phase.needs or self.algorithm.needs(cfg)
        self.batch_size = self.phase.batch_size or cfg.batch_size
        self.rings = Rings(self.phase, self.ctx.spec, self.needs.columns, len(self.keys), self.rows, self.filled)
        self._blocks: dict[int, Future[Any]] = {}  # by stride
        self._refresh: Any = None
        self._begin = compilation.once(self.hardware.precise(self._start))

    def noise(self, keys: jax.Array, purpose: str, step: Step) -> Noise:
        """The stream of one replica for one purpose at one step."""
        return Noise(jax.random.fold_in(jax.random.fold_in(keys, self.index), step)).sub(purpose)

    def start(self, state: State | None, rings: Mapping[str, buffer.Ring] | None = None) -> Carry:
        """The first carry: `init` if there is no state yet, then the phase's `enter`; earlier rings are kept."""
        with self.compiling:
            self._bring(0)
            begin = self.hardware.spread(self._begin, (EACH, EACH, ALL, EACH))
            state = begin(self.cfgs, self.keys, self.ctx, self.hardware.divided(state))
            after = jax.jit(self.rings.after) if self.phase.capacities else self.rings.after  # else it makes nothing
            made = self.hardware.divided(after(dict(rings or {}), self.sources))
        played = self.hardware.jit(self._played, (EACH, EACH)) if self.phase.collect else self._played
        world, memory = played(self.cfgs, self.keys)
        carry = Carry(state, self.hardware.divided(np.zeros(len(self.keys), bool)), {}, made, world, memory)
        return carry if self.phase.refresh is None else self.refresh(carry, 0)[0]

    def shapes(self, state: State | None, rings: Mapping[str, buffer.Ring] | None = None) -> Carry:
        """What `start` would give, as shapes, from those of the phase before; also finds the metrics' names."""
        state = self.state_shape(state)
        done = jax.ShapeDtypeStruct((len(self.keys),), bool)
        made = jax.eval_shape(self.rings.after, dict(rings or {}), self.sources)
        world, memory = jax.eval_shape(self._played, self.cfgs, self.keys)
        carry = Carry(state, done, {}, made, world, memory)
        fresh: Mapping[str, Any] = {}
        if self.phase.refresh is not None:
            given = (self.cfgs, self.keys, carry, self.sources, self.ctx, jnp.int32(0))
            carry, fresh = jax.eval_shape(self._refreshed, *given)
        one = jax.tree.map(one_replica, (self.cfgs, self.keys, carry))
        batch = self.hardware.precise(self._drawn.eval_shape)(*one, self.sources, 0)
        self.metrics = tuple(self.hardware.precise(self._learned.eval_shape)(*one, batch, 0)[1])
        self.fresh = tuple(fresh)
        return carry

    def state_shape(self, state: State | None) -> Any:
        """The states after `enter`, as shapes, from those of the phase before."""
        return jax.eval_shape(self._begin, self.cfgs, self.keys, self.ctx, state)  # `start` uses the same trace

    def compile(self, carry: Carry, updates: int = 0) -> Any:
        """The program for carries of this shape and blocks of so many updates (a refresh is compiled on first use)."""
        self.compile_ahead(carry, updates)
        with self.compiling:
            block = self._blocks[compilation.stride_of(updates)].result()
            if self.flops is None:
                flops = (block.cost_analysis() or {}).get("flops")  # of one device
                self.flops = flops and flops * self.hardware.devices
        return block

    def compile_ahead(self, carry: Carry, updates: int = 0) -> None:
        """Lower the program that `compile` gives, and begin to compile it in a thread; `carry` may be of shapes."""
        stride = compilation.stride_of(updates)
        if stride not in self._blocks:
            with self.compiling:
                if not self.metrics:
                    self.shapes(None)
                taken = (*[EACH] * 4, ALL, ALL, ALL)
                run = self.hardware.jit(functools.partial(self.updates, stride=stride), taken, donate=0)
                lowered = run.lower(carry, self.nothing(), self.cfgs, self.keys, self.sources, 0, 0)
                self._blocks[stride] = compilation.in_thread(lowered)

    def run(self, carry: Carry, lo: int, hi: int) -> tuple[Carry, BlockMetrics]:
        """Updates lo <= step < hi of this phase. The carry given is consumed."""
        carry, found = self.advance(carry, self.nothing(), lo, hi, compilation.stride_of(hi - lo))
        return carry, means(found)

    def advance(self, carry: Carry, found: Sums, lo: int, hi: int, stride: int) -> tuple[Carry, Sums]:
        """Like `run`, with the sums `found` of the block so far. Pieces of a block give the bits of the whole block."""
        block = self.compile(carry, stride if stride > 1 else 0)
        return block(carry, found, self.cfgs, self.keys, self.sources, lo, hi)

    def stride(self, lo: int, hi: int) -> int:
        """Updates of an inner loop of a block. They divide every part of the block."""
        return 1 if self.window is not None and lo % compilation.STRIDE else compilation.stride_of(hi - lo)

    def pieces(self, lo: int, hi: int) -> Iterator[tuple[int, int]]:
        """The updates lo <= step < hi in parts that draw from the same rows. Each part's rows are brought before it."""
        for begin, end in [(lo, hi)] if self.window is None else self.window.pieces(lo, hi):
            self._bring(begin)
            yield begin, end

    def _bring(self, step: int) -> None:
        """Draw from the rows that the window has at a step, if there is one."""
        if self.window is not None:
            self.sources = {**self.sources, "data": self.hardware.copied(self.window.at(step))}

    def nothing(self) -> tuple[Any, Any, Any]:
        """Sums, weights and first bad updates of no update at all: [R, M] each."""
        zeros = np.zeros((len(self.keys), len(self.metrics)), np.float32)
        return zeros, zeros, np.full(zeros.shape, -1, np.int32)

    def refresh(self, carry: Carry, step: int) -> tuple[Carry, BlockMetrics]:
        """The phase's slow clock, outside the block: state, written columns and the metrics `fresh`, at `step`."""
        if self._refresh is None:
            kept = (2,) if self.phase.rings else ()
            self._refresh = self.hardware.jit(self._refreshed, (*[EACH] * 3, ALL, ALL, ALL), donate=kept)
        done = np.asarray(carry.done)
        carry, metrics = self._refresh(self.cfgs, self.keys, carry, self.sources, self.ctx, jnp.int32(step))
        return carry, reported(metrics, self.fresh, done, step)

    def stopped(self, carry: Carry) -> Carry:
        """Replicas newly stopped by `until`, marked."""
        if self.phase.until is None:
            return carry
        ended = jax.vmap(self.phase.until)(self.cfgs, carry.state)
        return carry._replace(done=self.hardware.divided(carry.done | ended))

    def _start(self, cfgs: Cfg, keys: jax.Array, ctx: Context, state: State) -> Any:
        def one(cfg: Cfg, key: jax.Array, state: State) -> Any:
            made = self.algorithm.init(cfg, ctx, self.noise(key, "init", 0)) if state is None else state
            return made if (enter := self.phase.enter) is None else enter(cfg, made, ctx, self.noise(key, "enter", 0))

        return jax.vmap(one, (0, 0, None if state is None else 0))(cfgs, keys, state)

    def _refreshed(self, cfgs: Cfg, keys: jax.Array, carry: Carry, sources: Sources, ctx: Context, step: Step) -> Any:
        def one(cfg: Cfg, key: jax.Array, carry: Carry) -> Any:
            return refreshed(self.phase, self.rings, cfg, carry, sources, ctx, self.noise(key, "refresh", step), step)

        return jax.vmap(one)(cfgs, keys, carry)

    def _draw(self, cfg: Cfg, key: jax.Array, carry: Carry, sources: Sources, step: Step) -> Batch:
        sources = {**sources, **carry.rings}
        if self.growth is not None:
            rows, updates = self.growth
            sources["data"] = row_sources.grown(cast(Columns, sources["data"]), updates - 1 - step, rows)
        discount = getattr(cfg, "discount", None)
        noise = self.noise(key, "sample", step)
        given = (self.phase.mix, self.batch_size, self.needs, noise, carry.columns, discount)
        batch = sampler.sample(sources, *given, self.noise(key, "bootstrap", 0))
        return shifted(batch, self.ctx.spec, self.shift, noise)

    def _learn(self, cfg: Cfg, key: jax.Array, carry: Carry, batch: Batch, step: Step) -> tuple[Any, Any]:
        noise = self.noise(key, "update", step)
        state, metrics = self.update(cfg, carry.state, batch, noise, step)  # type: ignore[misc]
        return state, weighted(metrics)

    # one trace gives the names of the metrics and is inlined into the program of the updates
    _drawn = functools.cached_property(lambda program: jax.jit(program._draw, inline=True))
    _learned = functools.cached_property(lambda program: jax.jit(program._learn, inline=True))

    def _played(self, cfgs: Cfg, keys: jax.Array) -> tuple[Any, Any]:
        """Environments in JAX, and the memories of the policies that collect: leaves [R, n, ...]."""
        if self.phase.collect is None:
            return (), ()
        env, n = self.env, self.phase.collect.envs
        world = jax.vmap(lambda key: jax_env.begin(env, self.noise(key, "world", 0), n))(keys) if env else ()
        return world, jax.vmap(lambda cfg: self.algorithm.memory(cfg, self.ctx.spec, n))(cfgs)

    def updates(self, carry: Carry, found: Sums, cfgs: Cfg, keys: jax.Array, sources: Sources, lo: Step, hi: Step,
                stride: int = 1) -> Any:  # fmt: skip
        """Updates lo <= step < hi, traced: the carry after them, and `found` with their metrics added.

        `stride` divides hi - lo. If no rows arrive in between, each update's batch is drawn during the update before:
        drawing and gathering fill a core that the networks leave idle (5 % of an update of IQL on two cores).
        """
        ahead = self.phase.collect is None

        def draw(carry: Carry, step: Step) -> Batch:
            return jax.vmap(self._drawn, (0, 0, 0, None, None))(cfgs, keys, carry, sources, step)

        def one(cfg: Cfg, key: jax.Array, carry: Carry, batch: Batch, step: Step) -> Any:
            new, metrics = self._learned(cfg, key, carry, batch, step)
            value, weight = (jnp.stack(x) for x in zip(*(metrics[name] for name in self.metrics), strict=True))
            if self.phase.until is not None:  # only then can a replica be done
                new = where(carry.done, carry.state, new)
                weight = jnp.where(carry.done, 0, weight)
            return carry._replace(state=new), value, weight

        def body(step: Step, all_: tuple) -> Any:
            carry, batch, total, weights, first_bad = all_
            batch, after = (batch, draw(carry, step + 1)) if ahead else (draw(carry, step), ())
            carry, value, weight = jax.vmap(one, (0, 0, 0, 0, None))(cfgs, keys, carry, batch, step)
            bad = ~jnp.isfinite(value) & (weight > 0) & (first_bad < 0)
            total = total + jnp.where(weight > 0, value * weight, 0)
            return carry, after, total, weights + weight, jnp.where(bad, step, first_bad)

        batch = draw(carry, lo) if ahead else ()
        carry, _, *sums = compilation.loop(lo, hi, stride, body, (carry, batch, *found))
        return carry, tuple(sums)
