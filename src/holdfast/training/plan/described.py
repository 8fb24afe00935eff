"""Texts of a plan: schedules, treatments and sizes."""

from __future__ import annotations

import jax
import numpy as np

from ...core.contract import Treatment
from ...core.tree import Tree


def schedule(value: int | str) -> str:
    """A resolved schedule in words."""
    return value if isinstance(value, str) else f"cosine over {value:,} updates"


def treatment(chosen: Treatment) -> str:
    """What a treatment changes."""
    changed = [f"{name} {value}" for name, value in chosen._asdict().items() if value != _UNTREATED[name]]
    return ", ".join(changed) or "none"


_UNTREATED = Treatment()._asdict()


def bytes_of(tree: Tree) -> int:
    """Bytes of all arrays of a tree."""
    return sum(int(np.prod(x.shape)) * np.dtype(x.dtype).itemsize for x in jax.tree.leaves(tree))


def size(count: int) -> str:
    """A number of bytes with its unit."""
    value = float(count)
    for unit in ("bytes", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.4g} {unit}"
        value /= 1024
    return f"{value:.4g} GiB"
