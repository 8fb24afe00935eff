"""What rows are drawn from: columns, views of them, growing logs, rings, and the rows of a team."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from ...core.spec import Array, Batch, Step
from ...core.tree import PyTree, field
from .buffer import Ring, add
from .columns import Columns


class View(PyTree):
    """Some transitions of columns, by index: the training or the holdout episodes, say."""

    columns: Columns
    index: jax.Array  # [n] transitions
    count: jax.Array | None = None  # int32: only so many of `index` are there; None: all


class Growing(PyTree):
    """The first transitions of columns: a log that is still being written."""

    columns: Columns
    count: jax.Array  # int32, transitions that are there


Source = Columns | View | Ring | Growing


class Members(PyTree):
    """The rows of a team: a source for each agent."""

    sources: tuple[Source, ...]
    together: bool = field(static=True)  # whether row i is the same moment for all agents, so that they draw together


OneOrTeam = Source | Members


def grown(columns: Columns, updates: Step, rate: float) -> Growing:
    """The columns of a growing log, `updates` updates before its end; each update adds `rate` transitions."""
    n = columns.row.shape[0]
    missing = jnp.floor(jnp.asarray(updates, jnp.float32) * rate).astype(jnp.int32)
    return Growing(columns, jnp.clip(n - missing, 1, n))


def preload(ring: Ring, columns: Columns, index: Array) -> Ring:
    """The ring with the transitions of the data at `index` [m] added; the oldest make room.

    Each episode's last row counts as truncated where nothing else ends it, and so does every row where the ring's rows
    are not one after another: n-step rows then end there.
    """
    index = jnp.asarray(index)[-ring.capacity :]
    new = rows(columns, index)
    joined = jnp.append(columns.row[index[1:]] == columns.row[index[:-1]] + 1, False)
    ended = jnp.where(joined & (ring.stride == 1), new.truncated, 1 - new.terminated)
    extra = {name: new.extra[name] for name in ring.rows.extra}
    return add(ring, Batch(**{**vars(new), "truncated": ended, "extra": extra}), jnp.ones(len(index), bool))


def with_written(source: Source, written: Mapping[str, jax.Array]) -> Source:
    """The source with more columns of the data; a ring stays as it is."""
    if isinstance(source, Ring) or not written:
        return source
    if isinstance(source, Columns):
        return Columns(**{**vars(source), "extra": {**source.extra, **written}})
    more = with_written(source.columns, written)
    return type(source)(**{**vars(source), "columns": more})


def size(source: OneOrTeam) -> Any:
    """How many transitions a source holds; traced for sources that grow."""
    if isinstance(source, Ring):
        return source.size
    if isinstance(source, Growing) or (isinstance(source, View) and source.count is not None):
        return source.count
    if isinstance(source, Members):
        return sum(size(one) for one in source.sources)
    return (source.index if isinstance(source, View) else source.row).shape[0]


def rows(columns: Columns, index: jax.Array) -> Batch:
    """The transitions at `index` [...] as a batch [..., *]. Observation t and t+1 come from one array."""
    at = columns.row[index]
    return Batch(
        obs=jax.tree.map(lambda x: x[at], columns.obs),
        action=columns.action[index],
        reward=columns.reward[index],
        next_obs=jax.tree.map(lambda x: x[at + 1], columns.obs),
        terminated=columns.terminated[index],
        truncated=columns.truncated[index],
        mask=None if columns.mask is None else columns.mask[at],
        next_mask=None if columns.mask is None else columns.mask[at + 1],
        extra={name: column[index] for name, column in columns.extra.items()},
    )


def at(source: Source, index: jax.Array) -> Batch:
    """The transitions of any source at `index` [...], which counts its own rows."""
    if isinstance(source, Ring):
        return jax.tree.map(lambda x: x[index], source.rows)
    if isinstance(source, View):
        return rows(source.columns, source.index[index])
    return rows(source.columns if isinstance(source, Growing) else source, index)


def pool(sources: Mapping[str, OneOrTeam]) -> list[str]:
    """The sources of a proportional mix: the data and every ring, but no view of the data."""
    return [name for name, source in sources.items() if name == "data" or isinstance(source, Ring)]


def drawn(mix: Mapping[str, float] | str, sources: Mapping[str, OneOrTeam]) -> list[str]:
    """Names of the sources that a mix draws from."""
    return pool(sources) if isinstance(mix, str) else [name for name, share in mix.items() if share > 0]
