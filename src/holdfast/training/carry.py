"""The state of a phase between blocks, and the metrics of a block: leaves lead with the replicas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..data.feed import row_sources

Sources = Mapping[str, row_sources.OneOrTeam]
Sums = tuple[jax.Array, jax.Array, jax.Array]  # of metrics [R, M]: sums, weights, first updates that are not finite

SUMS = (np.float32, np.float32, np.int32)  # their types


class Carry(NamedTuple):
    """What a block takes and gives; all leaves lead with the replicas [R]."""

    state: Any
    done: Any  # [R] booleans: replicas that have stopped by their phase's `until`
    columns: Any  # {name: [R, N]}: columns of the data that the phase's `refresh` has written
    rings: Any  # {name: Ring of leaves [R, capacity, ...]}: rows that were collected
    world: Any = ()  # environments in JAX, in the middle of their episodes: leaves [R, n, ...]
    memory: Any = ()  # what the policies that collect keep from step to step: leaves [R, n, ...]


class BlockMetrics(NamedTuple):
    """Metrics of one block, [R, M]."""

    mean: np.ndarray  # NaN where nothing was reported
    first_bad: np.ndarray  # update at which the metric first was not finite; -1: never


def sums_of(values: Sequence[Any]) -> Sums:
    """Sums from the lists that a `Partial` has."""
    return tuple(np.asarray(x, kind) for x, kind in zip(values, SUMS, strict=True))  # type: ignore[return-value]


def means(sums: Sums) -> BlockMetrics:
    """Sums and weights as means."""
    total, weight, first_bad = (np.asarray(x) for x in sums)
    return BlockMetrics(np.divide(total, weight, out=np.full_like(total, np.nan), where=weight > 0), first_bad)


def replicate(trees: list[Any]) -> Any:
    """One tree of leaves [R, ...] from R trees."""
    return jax.tree.map(lambda *x: jax.device_put(np.stack([np.asarray(v, jnp.result_type(float)) for v in x])), *trees)


def seed_keys(seeds: Sequence[int]) -> jax.Array:
    """One raw key a replica: [R, 2]. They are those of `jax.random.PRNGKey`, which would compile two programs.

    Args:
        seeds: from 0 to 2^32 - 1.
    """
    return jax.device_put(np.array([(0, seed) for seed in seeds], np.uint32))


def one_replica(x: jax.Array | jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
    """The shape of one replica's part of an array, as a function under `vmap` sees it."""
    return jax.ShapeDtypeStruct(x.shape[1:], x.dtype, weak_type=x.weak_type)


class Partial(NamedTuple):
    """A block that has paused before its end: what its rows of the tables still need. JSON-ready."""

    lo: int  # first step of the block
    updates: int  # of each replica so far
    seconds: float  # so far
    sums: list[Any]  # `Sums` as lists
    episodes: list[Any]  # what the phase's collection needs of the episodes that have ended


class Position(NamedTuple):
    """A place in a run, as a checkpoint stores it."""

    phase: int  # index into `Plan.programs`
    local: int  # steps of that phase so far
    total: int  # steps of the run so far
    carry: Carry
    log: dict[str, Any] | None = None  # what the phase's collection stored, to restore its environments
    partial: Partial | None = None  # the open block, if the place is inside a block
    due: bool = False  # whether the policies of this place have still to be evaluated

    def facts(self) -> dict[str, Any]:
        """What a checkpoint stores of the place; JSON-ready."""
        place = {"phase": self.phase, "local": self.local, "total": self.total, "due": self.due}
        return {**place, "partial": self.partial and self.partial._asdict()}

    @classmethod
    def of(cls, facts: Mapping[str, Any], carry: Carry) -> Position:
        """The place in the metadata of a checkpoint."""
        partial = Partial(**facts["partial"]) if facts.get("partial") else None
        place = (facts["phase"], facts["local"], facts["total"])
        return cls(*place, carry, facts["rounds"], partial, bool(facts.get("due")))
