"""Computations on large columns, some megabytes at a time: the same bits as at once, without copies of the columns."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import DTypeLike

from .arrays import take

CHUNK_BYTES = 2**20  # of float64 numbers: fits into a cache
ALIGNMENT = 64  # JAX's CPU backend takes arrays that start at a multiple of this many bytes without a copy


def chunks(rows: int, width: int) -> Iterator[slice]:
    """Slices that cover `rows` rows of `width` numbers in order, `CHUNK_BYTES` each if the numbers are float64."""
    step = max(1, CHUNK_BYTES // (8 * max(width, 1)))
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))


def aligned(shape: tuple[int, ...], dtype: DTypeLike) -> np.ndarray:
    """An array of undefined numbers that `jax.device_put` does not copy on a CPU."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    memory = np.empty(size + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    return memory[start : start + size].view(dtype).reshape(shape)


def row_wise(compute: Callable[[np.ndarray], np.ndarray], values: np.ndarray) -> np.ndarray:
    """`compute(values)` as a new aligned array.

    Args:
        compute: a function that treats each row alone; the type of its result does not depend on the rows.
        values: `[N, ...]`.
    """
    like = compute(values[:0])
    out = aligned((len(values), *like.shape[1:]), like.dtype)
    for part in chunks(len(values), math.prod(values.shape[1:])):
        out[part] = compute(values[part])
    return out


def extremes(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The smallest and the largest numbers over the first axis, `[...]` each, read once; NaN if there is a NaN.

    Args:
        values: `[N, ...]` with N > 0.
    """
    low = values[0]
    high = values[0]
    for part in chunks(len(values), math.prod(values.shape[1:])):
        low = np.minimum(low, values[part].min(0))
        high = np.maximum(high, values[part].max(0))
    return low, high


def moments(values: np.ndarray, rows: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation (divided by the number of rows) in float64, over the first axis: `[...]` each.

    The bits are those of `values.astype(np.float64).mean(0)` and `.std(0)`.

    Args:
        values: `[N, ...]`, numbers.
        rows: the rows to use, `[K]` with K > 0; None: all.
    """
    count = len(values) if rows is None else len(rows)
    width = math.prod(values.shape[1:])
    if width == 1:  # NumPy adds a single column in pairs, not row after row
        column = take(values, slice(None) if rows is None else rows).astype(np.float64)
        return column.mean(0), column.std(0)

    def read() -> Iterator[np.ndarray]:
        for part in chunks(count, width):
            yield take(values, part if rows is None else rows[part]).astype(np.float64)

    mean = _sum(read()) / count
    variance = _sum((chunk - mean) ** 2 for chunk in read()) / count
    return mean, np.sqrt(variance)


def _sum(parts: Iterator[np.ndarray]) -> np.ndarray:
    """The sum over all rows, added in their order. The parts are overwritten."""
    total = None
    for part in parts:
        if total is not None:
            part[0] += total
        total = np.add.reduce(part, axis=0)
    return np.zeros(()) if total is None else total
