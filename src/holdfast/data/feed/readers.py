"""The rows of each kind of `Needs` at given row numbers: transitions, n-step rows, windows and chunks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from ...core.contract import Anchor, Chunks, NStep, Transitions, Windows
from ...core.spec import Batch, Scalar
from .buffer import Ring
from .columns import Columns
from .row_sources import Source, View, at, size


def spans(source: Source, index: jax.Array, length: int, discount: Scalar) -> Batch:
    """Rows that span up to `length` steps of their episode, from the transitions at `index` [...].

    A span of k steps has the reward `r_0 + discount r_1 + ... + discount^(k-1) r_(k-1)` and leads to the observation
    after its last step; its column "discount" is `discount^(k-1)`, so that `targets.td` bootstraps with `discount^k`.
    It stops at a true end, at a time limit (and bootstraps beyond it), where a log breaks off, and at the newest row.
    A logged column "discount" enters step by step. `next_action` is that of the last step, other columns of the first.
    """
    where, steps, alive = _until_the_end(source, index, length)
    factor = discount * steps.extra["discount"] if "discount" in steps.extra else jnp.full_like(steps.reward, discount)
    weight = jnp.cumprod(jnp.concatenate([jnp.ones_like(factor[:1]), factor[:-1]]), 0)
    last = alive.sum(0) - 1
    first = at(source, index)
    end = at(source, jnp.take_along_axis(where, last[None], 0)[0])
    onward = jnp.take_along_axis(weight, last[None], 0)[0]
    if "discount" in end.extra:
        onward = onward * end.extra["discount"]
    extra = {name: (end if name == "next_action" else first).extra[name] for name in first.extra}
    return Batch(
        obs=first.obs,
        action=first.action,
        reward=(steps.reward * weight * alive).sum(0),
        next_obs=end.next_obs,
        terminated=end.terminated,
        truncated=end.truncated,
        mask=first.mask,
        next_mask=end.next_mask,
        extra={**extra, "discount": onward},
    )


def windows(source: Source, index: jax.Array, length: int, anchor: Anchor = "last") -> Batch:
    """The `length` steps around the transitions at `index` [...]: leaves [..., length, *], the oldest step first.

    A window does not reach over the start or the end of its episode, over a time limit, over a place where a log breaks
    off, or over the oldest or the newest row of a ring. A shorter window is padded on the left: its column "valid"
    [..., length] is False there. Padding repeats the first valid step, so that every row holds numbers that occur.

    Args:
        source: where the rows are.
        index: numbers of the drawn rows.
        length: K.
        anchor: where the drawn row is in its window, see `core.contract.Windows`.
    """
    if anchor == "full":
        ahead, count = _until_end(source, index, length)
        index = jnp.take_along_axis(ahead, count[None] - 1, 0)[0]
    onward = anchor == "first"
    where, count = (_until_end if onward else _since_start)(source, index, length)
    place = jnp.arange(length).reshape(-1, *[1] * index.ndim)
    step = jnp.maximum(place - (length - count[None]), 0)  # steps since the window's first
    order = step if onward else count[None] - 1 - step
    rows_of = jnp.moveaxis(jnp.take_along_axis(where, order, 0), 0, -1)
    steps = at(source, rows_of)
    extra = {**steps.extra, "valid": jnp.moveaxis(place >= length - count[None], 0, -1)}
    return Batch(**{**vars(steps), "extra": extra, "axis": -2})


def _since_start(source: Source, index: jax.Array, length: int) -> tuple[jax.Array, jax.Array]:
    """Numbers of the row at `index` and of `length` - 1 rows before it, and how many of them are of its episode.

    The newest comes first: [length, ...] and [...].
    """
    where, alive = _backward(source, index, length)
    steps = at(source, where)
    ended = (steps.terminated + steps.truncated) > 0
    return where, jnp.cumprod(alive & jnp.concatenate([jnp.ones_like(ended[:1]), ~ended[1:]]), 0).sum(0)


def _until_end(source: Source, index: jax.Array, length: int) -> tuple[jax.Array, jax.Array]:
    """Numbers of the row at `index` and of `length` - 1 rows after it, and how many of them are of its episode."""
    where, _, alive = _until_the_end(source, index, length)
    return where, alive.sum(0)


def chunks(source: Source, index: jax.Array, length: int) -> Batch:
    """The `length` steps that begin at the transitions at `index` [...]: leaves [..., length, *], in their order.

    A chunk ends where a span does, see `spans`. Its column "valid" [..., length] is False after that; there the last
    valid step is repeated, so that every row holds numbers that occur.
    """
    where, _, alive = _until_the_end(source, index, length)
    valid = alive > 0
    last = jnp.take_along_axis(where, alive.sum(0)[None] - 1, 0)
    steps = at(source, jnp.moveaxis(jnp.where(valid, where, last), 0, -1))
    extra = {**steps.extra, "valid": jnp.moveaxis(valid, 0, -1)}
    return Batch(**{**vars(steps), "extra": extra, "axis": -2})


def _until_the_end(source: Source, index: jax.Array, length: int) -> tuple[jax.Array, Batch, jax.Array]:
    """Numbers of the row at `index` and of the `length` - 1 rows after it, these rows, and whether each belongs to the
    same stretch of steps (1 or 0): [length, ...].
    """
    where, alive = _onward(source, index, length)
    steps = at(source, where)
    ended = (steps.terminated + steps.truncated) > 0
    return where, steps, jnp.cumprod(alive & jnp.concatenate([jnp.ones_like(ended[:1]), ~ended[:-1]]), 0)


def _backward(source: Source, index: jax.Array, length: int) -> tuple[jax.Array, jax.Array]:
    """Numbers of the row at `index` and of the `length` - 1 rows before it, [length, ...], and whether each exists.

    The newest comes first.
    """
    index = index[None]
    back = jnp.arange(length).reshape(-1, *[1] * (index.ndim - 1))
    if isinstance(source, Ring):
        age = (source.cursor - 1 - index) % source.capacity
        return (index - back * source.stride) % source.capacity, age + back * source.stride < source.size
    where = jnp.maximum(index - back, 0)
    columns = source if isinstance(source, Columns) else source.columns
    row = columns.row[source.index[where] if isinstance(source, View) else where]
    joined = row[:-1] == row[1:] + 1  # as in `_onward`
    return where, jnp.concatenate([jnp.ones_like(row[:1], bool), joined])


def _onward(source: Source, index: jax.Array, length: int) -> tuple[jax.Array, jax.Array]:
    """Numbers of the row at `index` and of the `length` - 1 rows after it, [length, ...], and whether each exists."""
    index = index[None]
    ahead = jnp.arange(length).reshape(-1, *[1] * (index.ndim - 1))
    if isinstance(source, Ring):
        where = (index + ahead * source.stride) % source.capacity
        return where, (source.cursor - 1 - index) % source.capacity >= ahead * source.stride
    where = jnp.minimum(index + ahead, size(source) - 1)
    columns = source if isinstance(source, Columns) else source.columns
    row = columns.row[source.index[where] if isinstance(source, View) else where]
    # the last observation of an episode has a row of its own, so row numbers jump by two between episodes
    return where, jnp.concatenate([jnp.ones_like(row[:1], bool), row[1:] == row[:-1] + 1])


def _read_transitions(source: Source, index: jax.Array, needs: Transitions, discount: Scalar) -> Batch:
    return at(source, index)


def _read_n_steps(source: Source, index: jax.Array, needs: NStep, discount: Scalar) -> Batch:
    return spans(source, index, needs.length, discount)


def _read_windows(source: Source, index: jax.Array, needs: Windows, discount: Scalar) -> Batch:
    return windows(source, index, needs.length, needs.anchor)


def _read_chunks(source: Source, index: jax.Array, needs: Chunks, discount: Scalar) -> Batch:
    return chunks(source, index, needs.length)


# How each kind of `Needs` is read; what is not here is refused when a run is planned.
READ: Mapping[type, Callable[[Source, jax.Array, Any, Any], Batch]] = {
    Transitions: _read_transitions,
    NStep: _read_n_steps,
    Windows: _read_windows,
    Chunks: _read_chunks,
}
