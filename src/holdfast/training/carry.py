"""The state of a phase between blocks, and the metrics of a block: leaves lead with the replicas."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..data.feed import sampler

Sources = Mapping[str, sampler.Source]
Sums = tuple[jax.Array, jax.Array, jax.Array]  # of metrics [R, M]: sums, weights, first updates that are not finite


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


def replicate(trees: list[Any]) -> Any:
    """One tree of leaves [R, ...] from R trees."""
    return jax.tree.map(lambda *x: jnp.stack([jnp.asarray(v, jnp.result_type(float)) for v in x]), *trees)


def seed_keys(seeds: list[int]) -> jax.Array:
    """One raw key a replica: [R, 2]."""
    return jnp.stack([jax.random.PRNGKey(seed) for seed in seeds])


class Position(NamedTuple):
    """A place in a run, as a checkpoint stores it."""

    phase: int  # index into `Plan.programs`
    local: int  # steps of that phase so far
    total: int  # steps of the run so far
    carry: Carry
    log: dict[str, Any] | None = None  # what the phase's collection stored, to restore its environments
