"""Rows of a table as episodes: their order, their ends, and which rows become steps."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...core.errors import UserError
from .schema import Schema


class Marks(NamedTuple):
    """What the table says about the order of its rows, [n] each; None: it says nothing."""

    group: np.ndarray | None  # equal for rows of one episode, rising with its first row
    time: np.ndarray | None
    termination: np.ndarray | None  # booleans
    truncation: np.ndarray | None  # booleans


class Order(NamedTuple):
    """N steps of E episodes, by the numbers of rows of the table."""

    rows: np.ndarray  # [N] the row of each step
    seen: np.ndarray  # [N + E] the row of each observation
    offsets: np.ndarray  # [E + 1]
    terminations: np.ndarray  # [N] booleans
    truncations: np.ndarray  # [N] booleans
    left_out: np.ndarray  # rows that only close an episode, because no observation after them is known


def order_rows(schema: Schema, marks: Marks, count: int, where: str) -> Order:
    """Order the rows and cut them into episodes.

    A row that truly ends its episode is a step; its own observation closes the episode, and no value is bootstrapped
    from it. A row that is cut has no observation after it, so its own observation closes the episode. It is not a step
    then, unless the table has the next observations.

    Args:
        schema: the roles.
        marks: what the table says about the order.
        count: n, the number of rows.
        where: name of the table in error messages.

    Raises:
        UserError: no rows, times that tie, or no step.
    """
    if not count:
        raise UserError(f"{where} has no rows, expected at least one")
    order = _sorted(schema, marks, count, where)
    group = np.zeros(count, np.int8) if marks.group is None else _at(marks.group, order)
    ends = np.append(group[1:] != group[:-1], True)
    terminated = np.zeros(count, bool) if marks.termination is None else _at(marks.termination, order)
    truncated = np.zeros(count, bool) if marks.truncation is None else _at(marks.truncation, order)
    if schema.one_step:
        ends = np.ones(count, bool)
        terminated = ends
    ends = ends | terminated | truncated
    unflagged = ends & ~(terminated | truncated)
    if schema.last_row == "terminal":
        terminated = terminated | unflagged
    cut = ends & ~terminated
    step = np.ones(count, bool) if schema.next_observations is not None else ~cut
    episode = np.cumsum(ends) - ends
    lengths = np.bincount(episode, step, minlength=int(ends.sum())).astype(np.int64)
    used = (lengths > 0)[episode]
    step = step & used
    if not step.any():
        raise UserError(
            f"{where}: no step is left: the last row of each episode is cut and has no next observation; name "
            'next_observations, or set last_row = "terminal" if these are true ends'
        )
    offsets = np.append(0, np.cumsum(lengths[lengths > 0]))
    rows = np.arange(count) if order is None else order
    truncations = truncated[step]
    truncations[offsets[1:] - 1] |= cut[ends & used]
    copies = used.astype(np.int64) + (step & ends)
    return Order(
        rows=rows[step],
        seen=np.repeat(rows, copies),
        offsets=offsets,
        terminations=terminated[step],
        truncations=truncations,
        left_out=rows[~step],
    )


def _at(values: np.ndarray, order: np.ndarray | None) -> np.ndarray:
    return values if order is None else values[order]


def _sorted(schema: Schema, marks: Marks, count: int, where: str) -> np.ndarray | None:
    """The rows sorted by episode and time; None if they are in this order."""
    keys = [key for key in (marks.time, marks.group) if key is not None]
    if not keys:
        return None
    order = None
    if not _in_order(keys):
        order = np.lexsort(keys)
    if marks.time is not None and schema.ties == "refuse" and not schema.one_step:
        time = _at(marks.time, order)
        same = time[1:] == time[:-1]
        if marks.group is not None:
            group = _at(marks.group, order)
            same &= group[1:] == group[:-1]
        if same.any():
            first = int(np.argmax(same))
            pair = sorted(first + i if order is None else int(order[first + i]) for i in (0, 1))
            raise UserError(
                f"{where}: rows {pair[0]} and {pair[1]} of one episode have the same time in the column "
                f"'{schema.time}' ({int(same.sum()):,} ties in all): name a column that orders them, or set "
                'ties = "file" to keep the order of the table'
            )
    return order


def _in_order(keys: list[np.ndarray]) -> bool:
    """Whether rows are sorted by the last key, then by the one before it."""
    last = keys[-1]
    rising = last[1:] >= last[:-1]
    if not rising.all() or len(keys) == 1:
        return bool(rising.all())
    first = keys[0]
    return bool(((last[1:] > last[:-1]) | (first[1:] >= first[:-1])).all())
