"""Collection in Gymnasium: step the environments, store the rows, update, act. Each round is one compiled call.

Collection counts environment steps of a replica; the updates follow from them: after `warmup` steps at random, `every`
updates for each `steps` vector steps.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..core.contract import Collect
from ..core.spec import Batch, Seen, Spec
from ..data.feed import buffer, row_sources
from ..data.feed.episodes import Episodes
from ..data.feed.treatment import Fitted
from ..environments.gym.collector import Collector, EnvironmentFailed, Steps
from .carry import Carry, Partial, Sums, means, sums_of
from .compilation import options
from .devices import ALL, EACH, Places
from .exploring import ended, explore
from .loop import Program
from .plan.schedule import updates_by
from .play import PlayResult
from .stopping import Pace

CHUNK = 256  # rows of whole episodes that join the ring in one call


class GymCollection:
    """The online half of a phase: R x n environments and the ring that they fill."""

    def __init__(
        self, program: Program, collector: Collector, fitted: Fitted, spec: Spec, pace: Pace | None = None
    ) -> None:
        """
        Args:
            program: program of a phase that collects.
            collector: its environments.
            fitted: treatment of observations, rewards and actions.
            spec: shapes of the problem.
            pace: says when a block has to pause. None: never.
        """
        self.pace = pace
        self.program, self.collector, self.fitted, self.spec = program, collector, fitted, spec
        self.collect = program.phase.collect or Collect()
        self.n = self.collect.envs
        self.actions: np.ndarray | None = None  # inside units, for the observations at hand
        self.episodes: Episodes | None = None
        if self.collect.whole:
            discount = getattr(program.cfgs, "discount", np.ones(len(program.keys)))
            self.episodes = Episodes(self.n, program.needs.columns, np.asarray(discount, float).tolist())
        self.held = 0  # rows that every replica has in the ring, at least
        self._fixed, self._fixed_tree = jax.tree.flatten((program.cfgs, program.keys, program.sources))
        self._tree: Any = None  # of the carry
        self._blank: tuple[Any, ...] = ()  # what a round without rows is given
        self._round: Any = None
        self._add: Any = None

    def start(self, carry: Carry) -> None:
        """Reset the environments and choose the first actions."""
        self.collector.begin()
        self.compile(carry)
        self._count(carry)

    def compile(self, carry: Carry, updates: int = 0) -> None:
        """Compile the round for carries of this shape, once, whatever the number of updates of a block."""
        if self._round is not None:
            return
        with self.program.compiling:
            leaves, self._tree = jax.tree.flatten(carry)
            self._blank = self._empty()
            args = (leaves, self.program.nothing(), self._blank, self._seen(), np.zeros(4, np.int32))
            shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(jnp.shape(x), jnp.result_type(x)), args)
            fixed: list[Places] = [EACH] * len(jax.tree.leaves((self.program.cfgs, self.program.keys)))
            fixed += [ALL] * (len(self._fixed) - len(fixed))
            taken = (fixed, EACH, EACH, EACH, EACH, ALL)
            run = self.program.hardware.jit(self._one_round, taken, donate=(1, 2))
            self._round = run.lower(self._fixed, *shapes).compile(options())

    def run(self, carry: Carry, lo: int, hi: int, partial: Partial | None = None) -> PlayResult:
        """Environment steps lo <= step < hi of each replica, with the updates that they bring.

        If an environment fails, the block ends at the last whole step, so that everything before it can be saved.
        It also ends earlier if the pace asks for a pause.
        """
        found = self.program.nothing()
        if partial is not None:
            found = sums_of(partial.sums)
            self.collector.finished = [(int(r), float(value), int(length)) for r, value, length in partial.episodes]
        made = 0
        failure: EnvironmentFailed | None = None
        leaves = jax.tree.leaves(carry)  # once: in every round, walking the trees of networks costs more than a step
        if self.actions is None:
            leaves, found = self._call(leaves, found, None, lo, 0, 0)
        for step in range(lo, hi, self.n):
            try:
                stepped = self.collector.step(self.fitted.act_outside(np.asarray(self.actions)))
            except EnvironmentFailed as fault:
                hi, failure = step, fault
                break
            first = updates_by(self.collect, step)
            last = updates_by(self.collect, step + self.n)
            if self.episodes is not None:
                leaves = jax.tree.leaves(self._store(self._tree.unflatten(leaves), self.episodes, stepped))
            if not self.held:
                first = last  # nothing to draw yet: these updates are left out
            rows = stepped if self.episodes is None else None
            leaves, found = self._call(leaves, found, rows, step + self.n, first, last)
            made += last - first
            if self.pace is not None and step + self.n < hi and self.pace.pause():
                kept = ([np.asarray(x).tolist() for x in found], [list(x) for x in self.collector.finished])
                carry = self._tree.unflatten(leaves)
                return PlayResult(carry, means(found), {}, made, step + self.n, None, kept)
        return PlayResult(self._tree.unflatten(leaves), means(found), self._ended(), made, hi, failure)

    def log(self) -> dict[str, Any]:
        """What a checkpoint keeps in addition to the carry, JSON-ready."""
        actions = None if self.actions is None else self.actions.tolist()
        episodes = None if self.episodes is None else self.episodes.log()
        return {"environments": self.collector.log(), "actions": actions, "episodes": episodes}

    def restore(self, log: dict[str, Any], carry: Carry) -> Carry:
        """Bring environments and pending actions to where `log` left them.

        Returns:
            The carry. If an environment did not repeat itself, the newest rows of the ring are marked as truncated.
        """
        dtype = np.int32 if self.spec.discrete else np.float32
        if self.episodes is None:
            same = self.collector.restore(log["environments"])
        else:
            inside = [[[np.asarray(a, dtype) for a in env] for env in row] for row in log["episodes"]]

            def watch(r: int, e: int, t: int, steps: Steps) -> None:
                self.episodes.add(r, e, Batch(*self._fields(steps, inside[r][e][t])))  # type: ignore[union-attr]

            same = self.collector.restore(log["environments"], watch)
        if not same:
            name = self.collect.to
            ring = self.program.hardware.jit(jax.vmap(buffer.cut), (EACH,))(carry.rings[name])
            carry = carry._replace(rings={**carry.rings, name: ring})
        self.actions = None if log["actions"] is None else np.asarray(log["actions"], dtype)
        self.compile(carry)
        self._count(carry)
        return carry

    def close(self) -> None:
        """Close the environments."""
        self.collector.close()

    @property
    def exact(self) -> bool:
        """Whether a resumed run can be the same as one never stopped: environments repeat themselves."""
        return self.collector.exact

    def _count(self, carry: Carry) -> None:
        rings = row_sources.drawn(self.program.phase.mix, {**self.program.sources, **carry.rings})
        own = self.collect.to
        self.held = 1  # a ring that each step adds to has rows before its first update, one of whole episodes may not
        if self.episodes is not None and own in rings:
            self.episodes.stored = np.asarray(carry.rings[own].size).tolist()
            self.held = min(self.episodes.stored)

    def _store(self, carry: Carry, episodes: Episodes, rows: Steps) -> Carry:
        """Rows join their episodes, and episodes that have ended join the ring, a chunk of rows at a time."""
        treated = Batch(*self._fields(rows, self.actions))
        for r, e in np.ndindex(self.collector.start.shape):
            episodes.add(r, e, jax.tree.map(lambda x, at=(r, e): x[at], treated))
        name = self.collect.to
        for batch, keep in episodes.chunks(min(CHUNK, carry.rings[name].rows.reward.shape[1])):
            if self._add is None:
                self._add = self.program.hardware.jit(jax.vmap(buffer.add), (EACH,) * 3, donate=0)
            carry = carry._replace(rings={**carry.rings, name: self._add(carry.rings[name], batch, keep)})
        self.held = min(episodes.stored) if not self.held else self.held
        return carry

    def _call(self, leaves: list, found: Sums, rows: Steps | None, step: int, lo: int, hi: int) -> tuple[Any, Any]:
        row = self._blank if rows is None else self._fields(rows, self.actions)
        numbers = np.array([step, lo, hi, rows is not None], np.int32)
        leaves, found, actions = self._round(self._fixed, leaves, found, row, self._seen(), numbers)
        self.actions = np.asarray(actions)
        return leaves, found

    def _one_round(self, fixed: list, leaves: list, found: Sums, row: tuple, seen: tuple, numbers: jax.Array) -> Any:
        """Store a row of every environment (where the last of `numbers` says so), update, and act on what is seen."""
        cfgs, keys, sources = jax.tree.unflatten(self._fixed_tree, fixed)
        carry = self._tree.unflatten(leaves)
        step, lo, hi, stored = numbers
        name = self.collect.to
        obs, reward, mask, start = seen
        keep = jnp.full(row[2].shape, stored > 0)
        ring = jax.vmap(buffer.add)(carry.rings[name], Batch(*row), keep)
        carry = carry._replace(rings={**carry.rings, name: ring})
        carry, found = self.program.updates(carry, found, cfgs, keys, sources, lo, hi)
        shown = Seen(obs, reward, mask, jnp.full(len(keys), hi))
        act = functools.partial(explore, self.program, self.spec)
        given = (cfgs, keys, carry.state, shown, carry.memory, start)
        actions, memory = jax.vmap(act, (0, 0, 0, 0, 0, 0, None))(*given, step)
        return jax.tree.leaves(carry._replace(memory=memory)), found, actions

    def _fields(self, rows: Steps, actions: np.ndarray | None) -> tuple[Any, ...]:
        """Those of a `Batch`, treated; plain, for making a module costs more than all else that is done to a row."""
        return (
            self.fitted.observe(rows.obs),
            actions,
            self.fitted.rewards(rows.reward),
            self.fitted.observe(rows.next_obs),
            rows.terminated.astype(np.float32),
            rows.truncated.astype(np.float32),
            rows.mask if self.spec.masked else None,
            rows.next_mask if self.spec.masked else None,
            {},
        )

    def _empty(self) -> tuple[Any, ...]:
        lead = self.collector.start.shape
        blank = buffer.blank_row(self.spec, self.program.needs.columns if self.collect.whole else ())
        wide = jax.tree.map(lambda x: np.zeros((*lead, *x.shape), x.dtype), blank)
        return tuple(getattr(wide, f.name) for f in dataclasses.fields(wide) if not f.metadata.get("static"))

    def _seen(self) -> tuple[Any, ...]:
        """Fields of a `Seen` except the step, and which observations begin an episode."""
        c = self.collector
        reward = np.where(c.start, np.float32(0), self.fitted.rewards(c.reward))
        return self.fitted.observe(c.obs), reward, c.mask if self.spec.masked else None, c.start

    def _ended(self) -> dict[str, np.ndarray]:
        return ended(self.collector.take_finished(), len(self.collector.seeds))
