"""Rows that a caller gives to a policy: a mapping, a list of mappings, or a data frame of any library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .encoding import legal_of, observations_of
from .schema import Schema

WHERE = "the rows"
GivenRows = Any  # a row as a mapping from column to value, columns as a mapping, a list of rows, or a data frame


class Rows(NamedTuple):
    """Rows of a table as a policy takes them."""

    observations: np.ndarray  # [n, d] float32
    legal: np.ndarray | None  # [n, A] booleans
    single: bool  # whether a single row was given


def is_table(values: GivenRows) -> bool:
    """Whether a value is a row or several rows of a table, not an array of numbers."""
    if isinstance(values, Mapping):
        return True
    if isinstance(values, list | tuple):
        return len(values) > 0 and all(isinstance(one, Mapping) for one in values)
    return hasattr(values, "columns") and hasattr(values, "__getitem__") and not isinstance(values, np.ndarray)


def read_rows(schema: Schema, values: GivenRows) -> Rows:
    """Rows as observations and legal actions.

    Args:
        schema: the complete schema of the policy.
        values: a row as a mapping from column to value, columns as a mapping to sequences, a list of rows, or a data
            frame.

    Raises:
        UserError: a column of the observations is missing, or a value cannot be read.
    """
    columns, single = columns_of(schema, values)
    return Rows(observations_of(schema, columns, WHERE), legal_of(schema, columns, WHERE), single)


def columns_of(schema: Schema, values: GivenRows) -> tuple[dict[str, Any], bool]:
    """The columns of rows by name, n values each, and whether a single row was given."""
    if isinstance(values, Mapping):
        first: Any = values.get(schema.observations[0].name)
        single = isinstance(first, str) or np.ndim(first) == 0
        return {str(name): [value] if single else value for name, value in values.items()}, single
    if isinstance(values, Sequence):
        names = {str(name) for row in values for name in row}
        return {name: [row.get(name) for row in values] for name in names}, False
    return {str(name): _column(values[name]) for name in values.columns}, False


def _column(series: ArrayLike) -> Any:
    array = np.asarray(series)
    return array if array.dtype.kind in "fiub" else array.tolist()
