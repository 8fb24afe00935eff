"""A table as a `Dataset`: rows in order, columns as numbers, actions as codes of their labels.

Columns are read one by one and written to their place in the observations, so that a table is in memory once and one
column of it a second time.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...core.errors import UserError, unknown
from ..dataset import Dataset
from . import values as read
from .encoding import fill_block, legal_of, require_columns, require_values
from .frames import Frame, Table, open_table
from .order import Marks, Order, order_rows
from .roles import Roles, read_roles
from .schema import MOST_LABELS, Actions, Column, Schema

ALL = "all"  # the name of all parts of a split


def load_table(
    source: str | Path | Frame,
    columns: str | Path | Roles | Schema | None,
    part: str | None = None,
    id: str | None = None,
) -> Dataset:
    """Read a table as a data set.

    Args:
        source: path of a CSV (.csv, .csv.gz) or Parquet file, or a data frame.
        columns: the roles of its columns: a roles file, a mapping or a `Schema`. A complete schema, for example
            `Dataset.table` or `Policy.table`, is applied as it is: then values and labels mean the same as there.
        part: the part of the split to read, or `all`.
        id: name of the data set; None: the name of the file.

    Raises:
        UserError: roles that name no column, values that no rule covers, or a file that cannot be read.
    """
    is_file = isinstance(source, str | Path)
    name = id or (Path(str(source)).name.split(".")[0] if is_file else "table")
    if columns is None:
        raise UserError(
            f"{source if is_file else 'the data frame'} is a table: say what its columns are with --columns roles.toml "
            "(columns= in Python); `holdfast data schema LOG` proposes the file"
        )
    schema = read_roles(columns)
    with open_table(source, schema.missing_texts) as table:
        schema = schema.expanded(table.names)
        require_columns(schema.named, table.names, table.where)
        if schema.split is not None or part is not None:
            table.kept = _part(table, schema, part)
        return _read(table, schema, name, str(Path(str(source)).expanduser().resolve()) if is_file else None)


def _part(table: Table, schema: Schema, part: str | None) -> np.ndarray | None:
    """The rows of a part of the split; None: all."""
    if schema.split is None:
        raise UserError(
            f"{table.where}: --part {part} needs a column with the role split: name it, or leave --part out"
        )
    names = read.texts(table, schema.split)
    read.require_present(table, names, schema.split, "split")
    known = sorted(names.unique().to_list())
    if part is None:
        raise UserError(
            f"{table.where} has the parts {', '.join(known[:8])} (column '{schema.split}'): choose one with --part "
            f"{known[0]} (part= in Python), or all of them with --part {ALL}"
        )
    if part == ALL:
        return None
    if part not in known:
        raise unknown(f"part of {table.where}", part, [*known, ALL])
    inside: np.ndarray = (names == part).to_numpy()
    if schema.episode is not None:
        group = read.groups(table, schema.episode, "episode")
        torn = np.flatnonzero(inside != inside[group])
        if len(torn):
            raise UserError(
                f"{table.where}: the episode of row {torn[0]} is in several parts of the column '{schema.split}': "
                "a part has whole episodes"
            )
    return np.flatnonzero(inside)


def _read(table: Table, schema: Schema, id: str, path: str | None) -> Dataset:
    marks = Marks(
        None if schema.episode is None else read.groups(table, schema.episode, "episode"),
        None if schema.time is None else read.times(table, schema.time),
        None if schema.termination is None else read.flags(table, schema.termination, "termination"),
        None if schema.truncation is None else read.flags(table, schema.truncation, "truncation"),
    )
    order = order_rows(schema, marks, len(table), table.where)
    action, codes, space = _actions(table, schema.action, order.rows)
    fitted, observations = _observations(table, schema, order)
    schema = dataclasses.replace(schema, action=action, observations=fitted)
    rewards = read.whole(table, schema.reward, "reward", order.rows)
    lost = int(np.count_nonzero(np.nan_to_num(rewards[order.left_out])))
    provenance: dict[str, Any] = {"source": "table", "table": schema.to_dict(), "left_out": len(order.left_out)}
    provenance |= {"left_out_rewards": lost} if lost else {}
    provenance |= {"path": path} if path is not None else {}
    from ..spaces import observation_box

    return Dataset(
        observations=observations,
        actions=codes,
        rewards=rewards[order.rows],
        terminations=order.terminations,
        truncations=order.truncations,
        offsets=order.offsets,
        observation_space=observation_box(observations),
        action_space=space,
        id=id,
        columns=_columns(table, schema, order),
        provenance=provenance,
    )


def _actions(table: Table, action: Actions, rows: np.ndarray) -> tuple[Actions, np.ndarray, Any]:
    """The actions with their labels or bounds, the numbers of the data set, and their space."""
    from gymnasium.spaces import Box, Discrete, MultiDiscrete

    if not read.is_discrete(table, action):
        values = np.stack([read.whole(table, name, "action", rows)[rows] for name in action.columns], axis=1)
        values = values.astype(np.float32)
        low, high = (action.low, action.high) if action.low and action.high else (values.min(0), values.max(0))
        action = dataclasses.replace(
            action, kind="continuous", low=tuple(map(float, low)), high=tuple(map(float, high))
        )
        return action, values, Box(np.asarray(low, np.float32), np.asarray(high, np.float32), dtype=np.float32)
    labels = action.labels or tuple(read.labels_of(table, name, rows) for name in action.columns)
    for name, each in zip(action.columns, labels, strict=True):
        if len(each) > MOST_LABELS:
            raise UserError(
                f"{table.where}: the action '{name}' has {len(each):,} labels, expected at most {MOST_LABELS:,}"
            )
    codes = [read.label_codes(table, name, each, rows) for name, each in zip(action.columns, labels, strict=True)]
    action = dataclasses.replace(action, kind="discrete", labels=labels)
    if len(codes) == 1:
        return action, codes[0], Discrete(len(labels[0]))
    return action, np.stack(codes, axis=1), MultiDiscrete([len(each) for each in labels])


def _observations(table: Table, schema: Schema, order: Order) -> tuple[tuple[Column, ...], np.ndarray]:
    """The columns of the observations, complete, and the observations `[N + E, d]` float32."""
    fitted = tuple(_fitted(table, column) for column in schema.observations)
    out = np.empty((len(order.seen), sum(column.width for column in fitted)), np.float32)
    last = order.rows[order.offsets[1:] - 1]
    closing = order.offsets[1:] + np.arange(len(last))
    rows_of = None if table.kept is None else table.kept
    following = schema.next_observations or (None,) * len(fitted)
    if len(following) != len(fitted):
        raise UserError(
            f"{table.where}: next_observations names {len(following)} columns and observations {len(fitted)}: "
            "name one for each"
        )
    start = 0
    for column, after in zip(fitted, following, strict=True):
        values = read.column_values(table, column)
        require_values(column, values, table.where, rows_of)
        block = out[:, start : start + column.width]
        fill_block(column, values[order.seen], block)
        if after is not None:
            same = dataclasses.replace(column, name=after)
            ended = read.column_values(table, same)[last]
            require_values(same, ended, table.where, [table.row(int(row)) for row in last])
            closed_by = np.empty((len(last), column.width), np.float32)
            fill_block(column, ended, closed_by)
            block[closing] = closed_by
        start += column.width
    return fitted, out


def _fitted(table: Table, column: Column) -> Column:
    """A column with what the data decide: its categories, and what replaces missing numbers."""
    if column.kind != "number":
        if column.categories is not None:
            return column
        found = read.categories_of(table, column.name)
        if not found:
            raise UserError(f"{table.where}: the column '{column.name}' has no value: leave it out")
        made = dataclasses.replace(column, categories=found)
        if column.missing == "constant" and str(column.value) not in found:
            made = dataclasses.replace(made, categories=(*found, str(column.value)))
        return made
    if column.value is not None or column.missing in ("refuse", "constant"):
        return column
    values = read.numbers(table, column.name)
    present = values[~np.isnan(values)]
    if not len(present):
        raise UserError(f"{table.where}: the column '{column.name}' has no value: leave it out")
    value = float(np.median(present) if column.missing == "median" else present.mean())
    return dataclasses.replace(column, value=value)


def _columns(table: Table, schema: Schema, order: Order) -> dict[str, np.ndarray]:
    """The optional columns of the data set."""
    found: dict[str, np.ndarray] = {}
    if schema.propensity is not None:
        discrete = schema.action.kind == "discrete"
        found["behaviour_log_prob"] = np.log(read.propensities(table, schema.propensity, order.rows, discrete))
    if schema.discount is not None:
        found["discount"] = read.whole(table, schema.discount, "discount", order.rows)[order.rows]
    if schema.weight is not None:
        found["weight"] = read.weights(table, schema.weight, order.rows)
    if schema.cluster is not None:
        found["cluster"] = read.clusters(table, schema.cluster)[order.rows]
    legal = _legal(table, schema)
    if legal is not None:
        found["action_mask"] = legal[order.seen]
    return found


def _legal(table: Table, schema: Schema) -> np.ndarray | None:
    """Which actions are legal in each row, `[n, A]` booleans; None if the schema does not say it."""
    legal = schema.legal
    if legal is None:
        return None
    if len(schema.action.columns) > 1 or schema.action.kind != "discrete":
        raise UserError(f"{table.where}: legal actions are for one discrete action column: leave legal out")
    if legal.columns is not None:
        given: dict[str, Sequence[Any] | np.ndarray] = {
            name: read.flags(table, name, "legal") for name in legal.columns.values()
        }
        require_columns(legal.columns, map(str, schema.action_names or ()), "the labels of the action")
        return legal_of(schema, given, table.where)
    name = str(legal.column)
    series = table.column(name)
    read.require_present(table, series, name, "legal")
    return legal_of(schema, {name: series.to_list()}, table.where)
