"""Trees to write, files to damage, and a disk that is full."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest


def tree(scale: float = 1.0) -> dict:
    return {
        "net": {"weight": jnp.arange(6.0).reshape(2, 3) * scale, "bias": jnp.zeros(3)},
        "key": jax.random.PRNGKey(7),
        "step": jnp.int32(3),
        "host": (np.arange(4, dtype=np.int64), 5, 2.5, True),
    }


def same(a: object, b: object) -> bool:
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return all(np.array_equal(x, y) and np.asarray(x).dtype == np.asarray(y).dtype for x, y in pairs)


def full_disk(monkeypatch: pytest.MonkeyPatch, name: str, when: str) -> None:
    """Make `os.name` fail as on a full disk; for `replace`, only where the target's name contains `when`."""
    real = getattr(os, name)

    def fail(*args: object) -> object:
        if name == "fsync" or when in str(args[1]):
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*args)

    monkeypatch.setattr(os, name, fail)


def flip(path: Path, where: int) -> None:
    data = bytearray(path.read_bytes())
    data[where] ^= 1
    path.write_bytes(data)
