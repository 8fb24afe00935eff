"""Columns as arrays: which names they have, what values they may hold, how rows are picked."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.errors import UserError

STORED_COLUMNS = ("action_mask", "behaviour_log_prob", "discount")  # optional columns that sources look for
OBSERVATION_COLUMNS = ("action_mask",)  # those with a row per observation, not per transition
FLAT_COLUMNS = (*STORED_COLUMNS, *(f"next_{name}" for name in OBSERVATION_COLUMNS))  # what flat logs may bring


def take(observations: np.ndarray, rows: Any) -> np.ndarray:
    """Rows of observations: with `spaces.require_supported` the seam for dictionaries and images."""
    return observations[rows]


def as_actions(actions: Any, where: str, space: Any = None) -> np.ndarray:
    """Logged actions in the form of their space: `[N]` integers where discrete, else `[N, A]`.

    Raises:
        UserError: they are not numbers.
    """
    array = numbers(actions, where)
    discrete = array.dtype.kind in "iu" if space is None else not hasattr(space, "low")
    if discrete and array.ndim == 2 and array.shape[1] == 1:
        return array[:, 0]
    return array[:, None] if not discrete and array.ndim == 1 else array


def flags(values: Any, where: str) -> np.ndarray:
    """A column of flags as booleans, [N]; numbers are taken where all are 0 or 1.

    Raises:
        UserError: other values.
    """
    array = np.asarray(values)
    array = array.reshape(-1) if array.ndim == 2 and array.shape[1] == 1 else array
    if array.dtype != bool:
        wrong = np.ones(array.shape, bool) if array.dtype.kind not in "iuf" else (array != 0) & (array != 1)
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            raise UserError(f"{where} at row {row} is {array.reshape(-1)[row]}, expected a flag (true or false)")
        array = array.astype(bool)
    return frozen(array)


def numbers(values: Any, where: str) -> np.ndarray:
    array = np.asarray(values)
    if array.dtype.kind not in "fiub":
        raise UserError(f"{where} has dtype {array.dtype}, expected numbers")
    return frozen(array)


def frozen(array: np.ndarray) -> np.ndarray:
    view = array.view()
    view.flags.writeable = False
    return view


def ranges(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """`start, start + 1 ...` for each pair, one after another."""
    before = np.cumsum(lengths) - lengths
    return np.repeat(starts - before, lengths) + np.arange(int(lengths.sum()))


def closed(column: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """A column per transition as one per observation: each episode's last row is repeated."""
    steps = np.diff(offsets)
    rows = ranges(offsets[:-1], steps + 1)
    rows[offsets[1:] + np.arange(len(steps))] -= 1
    return column[rows]
