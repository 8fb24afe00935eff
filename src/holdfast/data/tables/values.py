"""Columns of a table as arrays: numbers, flags, times, labels and clusters, each checked row by row."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

from ...core.errors import UserError
from ...core.schema import shown
from .encoding import UNKNOWN, codes_of, unknown_category, unknown_label
from .frames import Table, explained, load_polars
from .schema import Actions, Column, Label, text_of

if TYPE_CHECKING:
    import polars


def where_of(table: Table, name: str, role: str = "column") -> str:
    """The name of a column in error messages."""
    return f"{table.where}: the {role} '{name}'"


def numbers(table: Table, name: str, role: str = "column") -> np.ndarray:
    """A column of numbers or booleans, `[n]` float64; NaN if a row has no value.

    Raises:
        UserError: it holds something else.
    """
    pl = load_polars()
    series = table.column(name)
    if not (series.dtype.is_numeric() or series.dtype == pl.Boolean or series.dtype == pl.Null):
        example = next((value for value in series.head(1000).to_list() if value is not None), None)
        hint = 'declare it "one-hot" or "ordinal"' if role == "column" else "correct the role"
        raise UserError(
            f"{where_of(table, name, role)} has the type {series.dtype} ({shown(example)}), expected numbers: {hint}"
        )
    with explained(table.where, "column of numbers"):
        values: np.ndarray = series.cast(pl.Float64).to_numpy()
    return values


def whole(table: Table, name: str, role: str, rows: np.ndarray | None = None) -> np.ndarray:
    """A column of finite numbers without gaps in the given rows, `[n]` float64.

    Raises:
        UserError: a missing or infinite value in one of the rows.
    """
    found = numbers(table, name, role)
    wrong = ~np.isfinite(found)
    if rows is not None:
        used = np.zeros(len(found), bool)
        used[rows] = True
        wrong &= used
    if wrong.any():
        row = int(np.argmax(wrong))
        value = "has no value" if np.isnan(found[row]) else f"is {found[row]:g}"
        place = f"in row {table.row(row)} ({int(wrong.sum()):,} rows in all)"
        raise UserError(f"{where_of(table, name, role)} {value} {place}, expected a finite number in every row")
    return found


def flags(table: Table, name: str, role: str) -> np.ndarray:
    """A column of flags, `[n]` booleans. Numbers are accepted if all are 0 or 1.

    Raises:
        UserError: another value.
    """
    found = whole(table, name, role)
    wrong = (found != 0) & (found != 1)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise UserError(f"{where_of(table, name, role)} is {found[row]:g} in row {table.row(row)}, expected 0 or 1")
    return found.astype(bool)


def groups(table: Table, name: str, role: str) -> np.ndarray:
    """For each row the first row with the same value, `[n]`: equal within a group, and rising with its first row.

    Raises:
        UserError: a missing value.
    """
    pl = load_polars()
    series = table.column(name)
    require_present(table, series, name, role)
    with explained(table.where, "column of names or numbers"):
        frame = pl.DataFrame({"key": series}).with_row_index("row")
        found: np.ndarray = frame.select(pl.col("row").min().over("key")).to_series().to_numpy()
    return found


def require_present(table: Table, series: polars.Series, name: str, role: str) -> None:
    """Refuse a missing value in a column.

    Raises:
        UserError: naming the first row.
    """
    if series.null_count():
        row = int(series.is_null().arg_max() or 0)
        raise UserError(
            f"{where_of(table, name, role)} has no value in row {table.row(row)} ({series.null_count():,} in all): "
            "give one in every row"
        )


def times(table: Table, name: str) -> np.ndarray:
    """A column of times or step numbers as numbers that sort, `[n]`.

    Raises:
        UserError: texts that are not ISO dates or times, or a missing value.
    """
    pl = load_polars()
    series = table.column(name)
    require_present(table, series, name, "time")
    if series.dtype == pl.String:
        with explained(where_of(table, name, "time"), "number, or a time like 2026-01-31T12:00:00"):
            series = series.str.to_datetime(strict=True)
    if not (series.dtype.is_numeric() or series.dtype.is_temporal()):
        raise UserError(f"{where_of(table, name, 'time')} has the type {series.dtype}, expected numbers or times")
    found: np.ndarray = series.to_physical().to_numpy()
    if found.dtype.kind == "f" and not np.isfinite(found).all():
        row = int(np.argmin(np.isfinite(found)))
        raise UserError(f"{where_of(table, name, 'time')} is {found[row]} in row {table.row(row)}, expected a time")
    return found


def texts(table: Table, name: str) -> Any:
    """A column as texts, as `schema.text_of` gives them."""
    pl = load_polars()
    series = table.column(name)
    with explained(table.where, "column of texts or numbers"):
        if series.dtype.is_float():
            series = series.fill_nan(None)
            integral = bool((series.drop_nulls() == series.drop_nulls().floor()).all())
            series = series.cast(pl.Int64) if integral else series
        return series.cast(pl.String)


def categories_of(table: Table, name: str) -> tuple[str, ...]:
    """The categories in a column, sorted: as numbers if all are numbers, else as texts."""
    found = texts(table, name).drop_nulls().unique().to_list()
    return tuple(sorted(found, key=_rank(found)))


def _rank(names: list[str]) -> Any:
    try:
        [float(name) for name in names]
    except ValueError:
        return str
    return float


def column_values(table: Table, column: Column) -> np.ndarray:
    """A column as `encoding.fill_block` takes it, `[n]` float64.

    Raises:
        UserError: it does not hold numbers, or a category that is not listed.
    """
    if column.kind == "number":
        return numbers(table, column.name)
    series = texts(table, column.name)
    codes = _replaced(series, codes_of(column.categories or ()))
    found: np.ndarray = codes.to_numpy()
    strange = np.flatnonzero(found == UNKNOWN)
    if len(strange) and column.unknown == "refuse":
        row = int(strange[0])
        raise unknown_category(column, series[row], table.where, table.row(row))
    return found


def _replaced(series: polars.Series, codes: dict[str, float]) -> Any:
    """Texts as the codes of their categories: `UNKNOWN` for other texts, null for a missing one."""
    pl = load_polars()
    known = series.replace_strict(list(codes), list(codes.values()), default=UNKNOWN, return_dtype=pl.Float64)
    return pl.select(pl.when(series.is_null()).then(None).otherwise(known)).to_series()


def labels_of(table: Table, name: str, rows: np.ndarray) -> tuple[Label, ...]:
    """The labels of an action in the given rows, sorted, in their own type: whole numbers, booleans or texts."""
    pl = load_polars()
    series = table.column(name).gather(rows).drop_nulls()
    if series.dtype.is_float():
        series = series.cast(pl.Int64)
    if series.dtype == pl.Boolean or series.dtype.is_integer():
        return tuple(sorted(series.unique().to_list()))
    return tuple(sorted(series.cast(pl.String).unique().to_list()))


def label_codes(table: Table, name: str, labels: tuple[Label, ...], rows: np.ndarray) -> np.ndarray:
    """The codes of discrete actions in the given rows, `[len(rows)]` int64.

    Raises:
        UserError: a missing action, or a label that is not listed.
    """
    series = texts(table, name).gather(rows)
    codes = _replaced(series, codes_of(map(text_of, labels)))
    if codes.null_count():
        row = int(rows[int(codes.is_null().arg_max() or 0)])
        raise UserError(f"{where_of(table, name, 'action')} has no value in row {table.row(row)}, expected a label")
    found: np.ndarray = codes.to_numpy()
    strange = np.flatnonzero(found == UNKNOWN)
    if len(strange):
        row = int(rows[int(strange[0])])
        raise unknown_label(
            series[int(strange[0])], labels, f"{where_of(table, name, 'action')} in row {table.row(row)}"
        )
    return found.astype(np.int64)


def is_discrete(table: Table, action: Actions) -> bool:
    """Whether actions are discrete, as declared or by the types of their columns.

    Raises:
        UserError: columns of different kinds, or texts that are declared continuous.
    """
    floats = [table.types[name].is_float() or table.types[name].is_decimal() for name in action.columns]
    if action.kind is not None:
        return action.kind == "discrete"
    if action.labels is None and action.low is None and any(floats) != all(floats):
        raise UserError(
            f"{table.where}: the action columns {', '.join(action.columns)} hold whole numbers and others: "
            "set the kind of the action"
        )
    if action.labels is None and action.low is None and any(floats):
        each = [numbers(table, name, "action") for name in action.columns]
        if all((one[~np.isnan(one)] % 1 == 0).all() for one in each):
            raise UserError(
                f"{table.where}: the action {', '.join(action.columns)} holds whole numbers in a column of decimals: "
                "set the kind of the action to discrete or continuous"
            )
    return action.labels is not None or (action.low is None and not any(floats))


def propensities(table: Table, name: str, rows: np.ndarray, discrete: bool) -> np.ndarray:
    """The logged probability, or the density of a continuous action, `[len(rows)]` float64.

    Raises:
        UserError: a value that is not in (0, 1], or not positive.
    """
    found = whole(table, name, "propensity", rows)[rows]
    wrong = (found <= 0) | ((found > 1) if discrete else False)
    if wrong.any():
        row = int(np.argmax(wrong))
        expected = "a probability in (0, 1]" if discrete else "a density above 0"
        raise UserError(
            f"{where_of(table, name, 'propensity')} is {found[row]:g} in row {table.row(int(rows[row]))} "
            f"({int(wrong.sum()):,} rows in all), expected {expected} of the logged action: leave these rows out"
        )
    return found


def weights(table: Table, name: str, rows: np.ndarray) -> np.ndarray:
    """Weights of steps, `[len(rows)]` float64.

    Raises:
        UserError: a negative weight, or nothing but zeros.
    """
    found = whole(table, name, "weight", rows)[rows]
    if (found < 0).any() or not found.any():
        row = int(np.argmax(found < 0))
        raise UserError(
            f"{where_of(table, name, 'weight')} is {found[row]:g} in row {table.row(int(rows[row]))}, expected weights "
            "from 0, not all 0"
        )
    return found


def clusters(table: Table, name: str) -> np.ndarray:
    """A number for each cluster, `[n]` int64. The same name has the same number in every table.

    Raises:
        UserError: a missing value.
    """
    pl = load_polars()
    series = table.column(name)
    require_present(table, series, name, "cluster")
    if series.dtype.is_integer():
        found: np.ndarray = series.cast(pl.Int64).to_numpy()
        return found
    names = series.cast(pl.String)
    each = names.unique().to_list()
    numbers = [int.from_bytes(hashlib.blake2b(one.encode(), digest_size=8).digest()) >> 1 for one in each]
    coded: np.ndarray = names.replace_strict(each, numbers, return_dtype=pl.Int64).to_numpy()
    return coded
