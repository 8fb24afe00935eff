"""Values of a table as numbers of an observation, and actions as labels. Training and serving give the same bits."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ...core.errors import UserError, unknown
from ...core.schema import shown
from .schema import Column, Label, Schema, Value, text_of

UNKNOWN = -1.0  # the code of a category that is not listed
MISSING_TYPES = ("NAType", "NaTType", "NoneType")  # of pandas and Python; NaN is a number


def is_missing(value: Value) -> bool:
    """Whether a value of a row is missing: None, NaN, or the missing values of pandas."""
    return type(value).__name__ in MISSING_TYPES or (isinstance(value, float | np.floating) and math.isnan(value))


def codes_of(texts: Iterable[str]) -> dict[str, float]:
    """The code of each category or label, by its text."""
    return {text: float(i) for i, text in enumerate(texts)}


def fill_block(column: Column, values: np.ndarray, out: np.ndarray) -> None:
    """Write the numbers of one column into its part of the observations.

    Args:
        column: the column, complete.
        values: `[n]` float64: the numbers, or the codes of the categories. NaN is a missing value, `UNKNOWN` a category
            that is not listed.
        out: `[n, column.width]` float32.
    """
    absent = np.isnan(values)
    if column.kind == "one-hot":
        codes = values
        if column.missing == "constant" and absent.any():
            codes = np.where(absent, codes_of(column.categories or ())[text_of(column.value)], values)
        for i in range(len(column.categories or ())):
            out[:, i] = codes == i
    elif absent.any():
        fill = column.value
        if column.kind == "ordinal":
            fill = 0.0 if column.missing == "indicator" else codes_of(column.categories or ())[text_of(fill)]
        out[:, 0] = np.where(absent, 0.0 if fill is None else fill, values)
    else:
        out[:, 0] = values
    if column.missing == "indicator":
        out[:, -1] = absent


def require_values(
    column: Column, values: np.ndarray, where: str, row_of: Sequence[int] | np.ndarray | None = None
) -> None:
    """Refuse missing values and unknown categories that no rule covers.

    Args:
        column: the column.
        values: `[n]`, as `fill_block` takes them.
        where: name of the table in error messages.
        row_of: number of each row in the table; None: 0, 1, ...

    Raises:
        UserError: naming the column and the first row.
    """
    if column.missing == "refuse":
        absent = np.flatnonzero(np.isnan(values))
        if len(absent):
            row = absent[0] if row_of is None else row_of[absent[0]]
            rules = "mean, median, constant or indicator" if column.kind == "number" else "constant or indicator"
            raise UserError(
                f"{where}: the column '{column.name}' has no value in row {row} ({len(absent):,} rows in all): declare "
                f"what a missing value means, missing = {rules}"
            )


def unknown_category(column: Column, value: Value, where: str, row: int) -> UserError:
    """The error for a category that is not listed."""
    known = column.categories or ()
    listed = f"one of {', '.join(known[:8])}{' ...' if len(known) > 8 else ''}"
    rule = ', or declare unknown = "zeros"' if column.kind == "one-hot" else ""
    return UserError(
        f"{where}: the column '{column.name}' is {shown(value)} in row {row}, expected {listed}: add it to the "
        f"categories{rule}"
    )


def numbers_of(column: Column, values: Sequence[Any] | np.ndarray, where: str) -> np.ndarray:
    """Values of a column as `fill_block` takes them: `[n]` float64.

    Args:
        column: the column, complete.
        values: n values as a caller gives them.
        where: name of the rows in error messages.

    Raises:
        UserError: text where numbers are expected, or a category that is not listed.
    """
    found = np.empty(len(values))
    codes = None if column.kind == "number" else codes_of(column.categories or ())
    if codes is None and isinstance(values, np.ndarray) and values.dtype.kind in "fiub":
        return values.astype(np.float64)
    for row, value in enumerate(values):
        if is_missing(value):
            found[row] = np.nan
        elif codes is not None:
            found[row] = codes.get(text_of(value), UNKNOWN)
            if found[row] == UNKNOWN and column.unknown == "refuse":
                raise unknown_category(column, value, where, row)
        elif isinstance(value, int | float | np.number | np.bool_):
            found[row] = value
        else:
            raise UserError(f"{where}: the column '{column.name}' is {shown(value)} in row {row}, expected a number")
    return found


def observations_of(schema: Schema, columns: Mapping[str, Sequence[Any] | np.ndarray], where: str) -> np.ndarray:
    """Rows of a table as observations.

    Args:
        schema: the roles, complete.
        columns: n values of each column; columns without a role are ignored.
        where: name of the rows in error messages.

    Returns:
        `[n, d]` float32, with the same bits as in training.

    Raises:
        UserError: a column is missing, or a value cannot be read.
    """
    require_columns([column.name for column in schema.observations], columns, where)
    count = len(columns[schema.observations[0].name])
    out = np.empty((count, schema.width), np.float32)
    start = 0
    for column in schema.observations:
        if len(columns[column.name]) != count:
            raise UserError(f"{where}: the column '{column.name}' has {len(columns[column.name])} rows, others {count}")
        values = numbers_of(column, columns[column.name], where)
        require_values(column, values, where)
        fill_block(column, values, out[:, start : start + column.width])
        start += column.width
    return out


def require_columns(names: Iterable[str], known: Iterable[str], where: str) -> None:
    """Refuse names that are not columns of a table.

    Raises:
        UserError: naming the nearest column.
    """
    have = list(known)
    for name in names:
        if name not in have:
            raise unknown(f"column of {where}", name, have)


def legal_of(schema: Schema, columns: Mapping[str, Sequence[Any] | np.ndarray], where: str) -> np.ndarray | None:
    """Which actions are legal in rows of a table: `[n, A]` booleans; None if the rows do not say it.

    Raises:
        UserError: a column of flags is missing, or a label is unknown.
    """
    legal = schema.legal
    labels = schema.action.labels
    if legal is None or labels is None:
        return None
    texts = list(map(text_of, labels[0]))
    if legal.columns is not None:
        if not any(name in columns for name in legal.columns.values()):
            return None
        require_columns(legal.columns.values(), columns, where)
        # a label without a column of flags is always legal
        count = len(columns[next(iter(legal.columns.values()))])
        every = np.ones(count, bool)
        flags = {label: np.asarray(columns[name]).astype(bool) for label, name in legal.columns.items()}
        return np.stack([flags.get(text, every) for text in texts], axis=1)
    name = legal.column or ""
    if name not in columns:
        return None
    out = np.zeros((len(columns[name]), len(texts)), np.bool_)
    for row, listed in enumerate(columns[name]):
        given = str(listed).split(legal.separator) if isinstance(listed, str) else list(listed)
        for label in given:
            if text_of(label).strip() not in texts:
                raise unknown(f"legal action in row {row} of {where}:", text_of(label).strip(), texts)
            out[row, texts.index(text_of(label).strip())] = True
    return out


def action_codes(schema: Schema, actions: ArrayLike | Mapping[str, ArrayLike], where: str) -> np.ndarray:
    """Actions in the table's own terms as the numbers that a data set has.

    Args:
        schema: the roles, complete.
        actions: labels or numbers: one, n of them, or by column.
        where: name of the actions in error messages.

    Returns:
        Discrete: `[n]` codes, `[n, K]` for K columns; continuous: `[n, A]` float32.

    Raises:
        UserError: a column is missing, or a label is not one of training.
    """
    names = schema.action.columns
    if isinstance(actions, Mapping):
        require_columns(names, actions, where)
        given = [actions[name] for name in names]
    else:
        given = [actions] if len(names) == 1 else list(np.moveaxis(np.atleast_2d(np.asarray(actions)), -1, 0))
    each: list[list[Any]] = [[one] if np.ndim(one) == 0 else [*np.asarray(one).tolist()] for one in given]
    labels = schema.action.labels
    if labels is None:
        return np.stack([np.asarray(one, np.float32) for one in each], axis=-1)
    found = [_label_codes(one, known, where) for one, known in zip(each, labels, strict=True)]
    return found[0] if len(found) == 1 else np.stack(found, axis=-1)


def _label_codes(values: Sequence[Any], labels: Sequence[Label], where: str) -> np.ndarray:
    codes = {text_of(label): i for i, label in enumerate(labels)}
    for row, value in enumerate(values):
        if text_of(value) not in codes:
            raise unknown_label(value, labels, f"{where} in row {row}")
    return np.array([codes[text_of(value)] for value in values], np.int64)


def unknown_label(value: Value, labels: Sequence[Label], where: str) -> UserError:
    """The error for an action that training has not seen."""
    listed = f"{', '.join(map(str, labels[:8]))}{' ...' if len(labels) > 8 else ''}"
    return UserError(
        f"{where} is {shown(value)}, expected an action of the training data ({listed}): leave the row out, or train "
        "with it"
    )


def action_labels(schema: Schema, actions: np.ndarray, single: bool) -> Any:
    """Actions of a policy in the table's own terms.

    Args:
        schema: the roles, complete.
        actions: discrete: codes `[n]`, or `[n, K]` for K columns; continuous: `[n, A]`.
        single: whether to give one action, not n of them.

    Returns:
        A label or a number; n of them as an array; by column if the action has several.
    """
    names = schema.action.columns
    labels = schema.action.labels
    columns = actions[:, None] if actions.ndim == 1 else actions
    found: dict[str, Any] = {}
    for i, name in enumerate(names):
        values: Any = columns[:, i]
        if labels is not None:
            values = np.array([labels[i][int(code)] for code in values])
        found[name] = values[0].item() if single else values
    return found[names[0]] if len(names) == 1 else found
