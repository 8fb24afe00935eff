"""Columns as arrays: the names of stored columns, checked conversion, and the selection of rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from ..core import images
from ..core.errors import UserError

if TYPE_CHECKING:
    from gymnasium.spaces import Box, Discrete

STORED_COLUMNS = ("action_mask", "behaviour_log_prob", "discount", "weight", "cluster")  # optional, read from files
OBSERVATION_COLUMNS = ("action_mask",)  # those with a row per observation, not per transition
VECTOR_COLUMNS = ("behaviour_log_prob", "discount", "weight", "cluster")  # those with one number a row
FLAT_COLUMNS = (*STORED_COLUMNS, *(f"next_{name}" for name in OBSERVATION_COLUMNS))  # optional columns of flat logs


def take(observations: np.ndarray, rows: np.ndarray | slice) -> np.ndarray:
    """Rows of observations. Every selection of observations goes through this function."""
    return observations[rows]


def are_images(observations: np.ndarray) -> bool:
    """Whether observations are images: bytes `[M, height, width, channels]`."""
    return observations.dtype == np.uint8 and observations.ndim == 4


def as_observations(values: ArrayLike, where: str) -> np.ndarray:
    """Observations as `[M, d]`, or images as bytes `[M, height, width, channels]`.

    `[M]` is taken as `[M, 1]`. Booleans of vectors become 0 and 1. Images are bytes or booleans with more axes, see
    `core.images.layout`.

    Args:
        values: the observations.
        where: name of the column in error messages.

    Raises:
        UserError: the values are not numbers, or have another shape.
    """
    array = numbers(values, where)
    if images.layout(array.shape[1:], array.dtype) is not None:
        return frozen(images.in_layout(array, 1))
    array = frozen(array.astype(np.float32)) if array.dtype == bool else array
    array = array[:, None] if array.ndim == 1 else array
    if array.ndim != 2 or array.shape[1] == 0:
        raise UserError(
            f"{where} have shape {array.shape} and type {array.dtype}, expected [rows, dimensions] (float vectors) or "
            "images as bytes (uint8); flatten them first, or convert them to bytes"
        )
    return array


def as_actions(actions: ArrayLike, where: str, space: Box | Discrete | None = None) -> np.ndarray:
    """Logged actions in the shape that their space has: `[N]` integers if discrete, else `[N, A]`.

    Booleans become 0 and 1: two discrete actions if there is one of them a row, else a Box.

    Args:
        actions: the logged actions.
        where: name of the column in error messages.
        space: the action space; if None, integers are taken as discrete actions.

    Raises:
        UserError: the actions are not numbers, or have neither the shape `[N]` nor `[N, A]`.
    """
    array = numbers(actions, where)
    if array.ndim not in (1, 2) or array.shape[1:] == (0,):
        raise UserError(f"{where} have shape {array.shape}, expected [rows] or [rows, dimensions]")
    if array.dtype == bool:
        single = array.ndim == 1 or array.shape[1] == 1
        array = frozen(array.astype(np.int64 if single else np.float32))
    discrete = array.dtype.kind in "iu" if space is None else not hasattr(space, "low")
    if discrete and array.ndim == 2 and array.shape[1] == 1:
        return array[:, 0]
    return array[:, None] if not discrete and array.ndim == 1 else array


def vector(values: ArrayLike, where: str) -> np.ndarray:
    """A column with one number a row, [N]. A last axis of 1 is removed.

    Raises:
        UserError: the values are not numbers, or have another shape.
    """
    return _single(numbers(values, where), where)


def flags(values: ArrayLike, where: str) -> np.ndarray:
    """A column of flags as read-only booleans, [N]. Numbers are accepted if all of them are 0 or 1.

    Raises:
        UserError: a value other than 0 and 1, or another shape than `[N]` and `[N, 1]`.
    """
    array = _single(_array(values, where), where)
    if array.dtype != bool:
        wrong = np.ones(array.shape, bool) if array.dtype.kind not in "iuf" else (array != 0) & (array != 1)
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            raise UserError(f"{where} at row {row} is {array[row]}, expected a flag (true or false)")
        array = array.astype(bool)
    return frozen(array)


def stored(name: str, values: ArrayLike, where: str) -> np.ndarray:
    """An optional column: `[N]` for `VECTOR_COLUMNS`, `[N, A]` for masks, `[N, ...]` for others.

    Args:
        name: name of the column.
        values: its values.
        where: name of the column in error messages.

    Raises:
        UserError: the values are not numbers, or have another shape.
    """
    if name in VECTOR_COLUMNS:
        return vector(values, where)
    array = numbers(values, where)
    wanted = 2 if name.removeprefix("next_") in OBSERVATION_COLUMNS else 1
    if array.ndim < wanted or (wanted == 2 and array.ndim > 2):
        shape = "[rows, actions]" if wanted == 2 else "one row a step"
        raise UserError(f"{where} has shape {array.shape}, expected {shape}")
    return array


def numbers(values: ArrayLike, where: str) -> np.ndarray:
    """A column as a read-only array of numbers or booleans.

    Raises:
        UserError: the values have another dtype, for instance objects or strings.
    """
    array = _array(values, where)
    if array.dtype.kind not in "fiub":
        raise UserError(f"{where} has dtype {array.dtype}, expected numbers{_wrong_columns(values)}")
    return frozen(array)


def _wrong_columns(frame: ArrayLike) -> str:
    """Which columns of a data frame are not numbers, for an error message; empty for arrays."""
    names = getattr(frame, "columns", None)
    if names is None:
        return ""
    lookup: Any = frame
    wrong = [str(name) for name in names if np.asarray(lookup[name]).dtype.kind not in "fiub"]
    more = " and others" if wrong[5:] else ""
    return f": encode or leave out the columns {', '.join(wrong[:5])}{more}" if wrong else ""


def _array(values: ArrayLike, where: str) -> np.ndarray:
    if isinstance(values, Mapping):
        raise UserError(f"{where} is a {type(values).__name__}, expected an array of numbers")
    try:
        return np.asarray(values)
    except (ValueError, TypeError) as e:  # NumPy: rows of unequal length
        raise UserError(f"{where} is not an array: its rows have unequal lengths; expected rows of one shape") from e


def _single(array: np.ndarray, where: str) -> np.ndarray:
    """An array `[N]` or `[N, 1]` as `[N]`."""
    if array.ndim == 2 and array.shape[1] == 1:
        return array[:, 0]
    if array.ndim != 1:
        raise UserError(f"{where} has shape {array.shape}, expected one value a row: [rows] or [rows, 1]")
    return array


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
