"""The replay buffers of a phase: made when it starts, kept by later phases, and filled by collection and `refresh`."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np

from ..core.contract import Collect, Phase, Rows
from ..core.errors import UserError
from ..core.spec import Batch, Spec
from ..data.feed import buffer, row_sources
from ..data.feed.columns import Columns
from .carry import Sources


class Rings(NamedTuple):
    """How the replay buffers of one phase are made, for R replicas."""

    phase: Phase
    spec: Spec
    columns: tuple[str, ...]  # that the phase needs
    replicas: int
    rows: int  # upper bound on the rows that collecting phases add to the buffer
    filled: np.ndarray | None  # numbers of the logged rows that the buffer contains from the start, [m]

    def after(self, rings: Mapping[str, buffer.Ring], sources: Sources) -> dict[str, buffer.Ring]:
        """The buffers of the phases before, and those that this phase adds: leaves [R, capacity, ...].

        A buffer of an earlier phase in which this phase collects is cut: its newest rows are not continued.
        """
        collect = self.phase.collect
        made = {}
        for name, capacity in self.phase.capacities.items():
            own = collect is not None and collect.to == name
            if name not in rings:
                made[name] = self._new(capacity, collect if own else None, sources)
            elif own:
                made[name] = jax.vmap(buffer.cut)(rings[name])
        return {**rings, **made}

    def appended(self, rings: Mapping[str, buffer.Ring], name: str, rows: Rows) -> buffer.Ring:
        """The buffer of that name of one replica, with the rows of a refresh.

        Raises:
            UserError: not a buffer of the phase, more rows than it holds, or columns that are missing.
        """
        what = f"the refresh of phase {self.phase.name} writes to '{name}'"
        if name not in self.phase.rings:
            raise UserError(f"{what}, which is not one of its rings: expected one of {', '.join(self.phase.rings)}")
        ring = rings[name]
        count = len(rows.keep)
        if count > ring.capacity:
            raise UserError(f"{what} {count} rows, expected at most its capacity of {ring.capacity}")
        missing = [column for column in ring.rows.extra if column not in rows.batch.extra]
        if missing:
            raise UserError(f"{what} rows without the columns {', '.join(missing)}, which the phase needs")
        extra = {column: rows.batch.extra[column] for column in ring.rows.extra}
        own = Batch(**{**vars(rows.batch), "extra": extra, "parts": (), "axis": ring.rows.axis})
        return buffer.add(ring, own, rows.keep)

    def _new(self, capacity: int, collect: Collect | None, sources: Sources) -> buffer.Ring:
        """A new buffer: of `collect`, with the rows that it contains from the start; or one that a refresh fills."""
        columns = self.columns if collect is None or collect.whole else ()
        blank = buffer.blank_row(self.spec, columns)
        row = jax.tree.map(lambda x: jnp.broadcast_to(x, (self.replicas, *x.shape)), blank)
        if collect is None:
            return jax.vmap(functools.partial(buffer.empty, capacity=capacity))(row)
        stride = 1 if collect.whole else collect.envs
        filled = np.zeros(0, np.int32) if self.filled is None else self.filled
        make = functools.partial(buffer.empty, capacity=min(capacity, len(filled) + self.rows), stride=stride)
        ring = jax.vmap(make)(row)
        if not len(filled):
            return ring
        data = cast(Columns, sources["data"])
        return jax.vmap(functools.partial(row_sources.preload, columns=data, index=filled))(ring)
