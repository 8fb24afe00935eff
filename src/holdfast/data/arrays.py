"""Columns as arrays: the names of stored columns, checked conversion, and the selection of rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from ..core.errors import UserError

if TYPE_CHECKING:
    from gymnasium.spaces import Box, Discrete

STORED_COLUMNS = ("action_mask", "behaviour_log_prob", "discount")  # optional columns that sources look for
OBSERVATION_COLUMNS = ("action_mask",)  # those with a row per observation, not per transition
FLAT_COLUMNS = (*STORED_COLUMNS, *(f"next_{name}" for name in OBSERVATION_COLUMNS))  # optional columns of flat logs


def take(observations: np.ndarray, rows: np.ndarray | slice) -> np.ndarray:
    """Rows of observations.

    Every selection of observations goes through this function and `spaces.require_supported`: these are the two places
    to change for image and dictionary observations.
    """
    return observations[rows]


def as_actions(actions: ArrayLike, where: str, space: Box | Discrete | None = None) -> np.ndarray:
    """Logged actions in the shape that their space has: `[N]` integers if discrete, else `[N, A]`.

    Args:
        actions: the logged actions.
        where: name of the column in error messages.
        space: the action space; if None, integers are taken as discrete actions.

    Raises:
        UserError: the actions are not numbers.
    """
    array = numbers(actions, where)
    discrete = array.dtype.kind in "iu" if space is None else not hasattr(space, "low")
    if discrete and array.ndim == 2 and array.shape[1] == 1:
        return array[:, 0]
    return array[:, None] if not discrete and array.ndim == 1 else array


def flags(values: ArrayLike, where: str) -> np.ndarray:
    """A column of flags as read-only booleans, [N]. Numbers are accepted if all of them are 0 or 1.

    Raises:
        UserError: a value other than 0 and 1.
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


def numbers(values: ArrayLike, where: str) -> np.ndarray:
    """A column as a read-only array of numbers or booleans.

    Raises:
        UserError: the values have another dtype, for instance objects or strings.
    """
    array = np.asarray(values)
    if array.dtype.kind not in "fiub":
        raise UserError(f"{where} has dtype {array.dtype}, expected numbers")
    return frozen(array)


def frozen(array: np.ndarray) -> np.ndarray:
    """A read-only view. The caller's own array stays writable."""
    view = array.view()
    view.flags.writeable = False
    return view


def ranges(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """The concatenation of `start, start + 1, ..., start + length - 1` over all pairs: [sum of lengths]."""
    before = np.cumsum(lengths) - lengths
    return np.repeat(starts - before, lengths) + np.arange(int(lengths.sum()))


def last_rows(offsets: np.ndarray) -> np.ndarray:
    """Booleans [N], true at the last transition of each episode."""
    last = np.zeros(int(offsets[-1]), bool)
    last[offsets[1:] - 1] = True
    return last


def closed(column: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """A column per transition [N, ...] as one per observation [N + E, ...]: each episode's last row is repeated."""
    steps = np.diff(offsets)
    rows = ranges(offsets[:-1], steps + 1)
    rows[offsets[1:] + np.arange(len(steps))] -= 1
    return column[rows]
