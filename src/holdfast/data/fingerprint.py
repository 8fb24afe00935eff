"""One hash for the same data, whatever file it comes from."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping

import numpy as np

from .chunks import chunks


def fingerprint_of(columns: Mapping[str, np.ndarray], images: bool, discrete: bool) -> str:
    """SHA-256 of columns in their order, in hexadecimal.

    Columns are cast to fixed types first, so that the same data gives the same hash in every file format.

    Args:
        columns: the columns and the offsets of a data set, by name.
        images: whether observations are images.
        discrete: whether actions are integers of a Discrete space.
    """
    digest = hashlib.sha256()
    for name, column in columns.items():
        fixed = {"f": "<f4", "b": "|u1"}.get(column.dtype.kind, "<i8")
        if name == "observations" and images:
            fixed = "|u1"
        if name == "actions":
            fixed = "<i8" if discrete else "<f4"
        digest.update(f"{name}{column.shape}{fixed};".encode())
        for part in chunks(len(column), math.prod(column.shape[1:])):
            digest.update(np.ascontiguousarray(column[part], fixed).view(np.uint8).data)
    return digest.hexdigest()
