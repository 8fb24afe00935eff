"""The replay buffer: a ring of transitions on the device, with a traced size and cursor."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ...core.spec import Array, Batch, Spec
from ...core.tree import PyTree, field
from .episodes import blank_column


class Ring(PyTree):
    """The newest `capacity` transitions. Rows beyond `size` are zeros and must not be drawn."""

    rows: Batch  # leaves [capacity, ...]
    size: jax.Array  # int32, rows that hold something
    cursor: jax.Array  # int32, where the next row goes
    stride: int = field(static=True, default=1)  # rows from one step of an environment to its next

    @property
    def capacity(self) -> int:
        """How many rows it can hold."""
        return int(self.rows.reward.shape[0])


def empty(row: Batch, capacity: int, stride: int = 1) -> Ring:
    """A ring for rows like `row` (leaves of one transition, arrays or shapes)."""
    rows = jax.tree.map(lambda x: jnp.zeros((capacity, *x.shape), x.dtype), row)
    return Ring(rows, jnp.int32(0), jnp.int32(0), stride)


def add(ring: Ring, new: Batch, keep: Array) -> Ring:
    """The ring with the rows of `new` [m, ...] for which `keep` [m] holds, in their order; the oldest make room.

    `m` must not exceed the capacity.
    """
    keep = jnp.asarray(keep, bool)
    rank = jnp.cumsum(keep) - 1
    slot = jnp.where(keep, (ring.cursor + rank) % ring.capacity, ring.capacity)  # out of range: dropped
    rows = jax.tree.map(lambda old, x: old.at[slot].set(x, mode="drop"), ring.rows, new)
    count = keep.sum(dtype=jnp.int32)
    size = jnp.minimum(ring.size + count, ring.capacity)
    return Ring(rows, size, (ring.cursor + count) % ring.capacity, ring.stride)


def cut(ring: Ring) -> Ring:
    """The ring with every environment's newest row marked as truncated: what comes next does not continue it."""
    newest = (ring.cursor - 1 - jnp.arange(min(ring.stride, ring.capacity))) % ring.capacity
    ended = ring.rows.truncated.at[newest].max(1 - ring.rows.terminated[newest])
    return Ring(Batch(**{**vars(ring.rows), "truncated": ended}), ring.size, ring.cursor, ring.stride)


def blank_row(spec: Spec, columns: tuple[str, ...] = ()) -> Batch:
    """One transition of zeros, in the types that a ring holds, with some of the columns of `data.episodes`.

    Floats have JAX's own type: 64 bits if it is set to them, as the updates then have.
    """
    obs = spec.blank_obs()
    number = np.zeros((), np.float32)
    action = np.zeros(spec.action_shape, np.int32 if spec.discrete else np.float32)
    mask = np.zeros(spec.action, bool) if spec.masked else None
    extra = {name: blank_column(name, spec) for name in columns}
    fields: Any = (obs, action, number, obs, number, number, mask, mask, extra)
    kind = jnp.result_type(float)
    return jax.tree.map(lambda x: x.astype(kind) if x.dtype == np.float32 else x, Batch(*fields))
