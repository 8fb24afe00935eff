"""Noise as an argument: named draws from one key, or a tape of recorded ones."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from .tree import PyTree

MANY = 1024  # numbers of a draw from which a loop of its own is faster


class Noise(PyTree):
    """Draws by name. The name picks the key: adding a draw moves no other, and the same name gives the same numbers."""

    key: jax.Array

    def sub(self, name: str) -> Noise:
        """An independent stream of its own, by name."""
        return Noise(self._key(name))

    def fold(self, i: jax.Array | int) -> Noise:
        """An independent stream of its own, by (traced) number."""
        return Noise(jax.random.fold_in(self.key, i))

    def normal(self, name: str, shape: tuple[int, ...], dtype: DTypeLike | None = None) -> jax.Array:
        """Standard normals of `shape`."""
        return normals(self._key(name), shape, dtype or jnp.result_type(float))

    def uniform(self, name: str, shape: tuple[int, ...], dtype: DTypeLike | None = None) -> jax.Array:
        """Uniforms in [0, 1) of `shape`."""
        return jax.random.uniform(self._key(name), shape, dtype or jnp.result_type(float))

    def bernoulli(self, name: str, p: jax.Array | float, shape: tuple[int, ...]) -> jax.Array:
        """Booleans of `shape`, true with probability `p`."""
        return jax.random.bernoulli(self._key(name), p, shape)

    def integers(self, name: str, shape: tuple[int, ...], n: jax.Array | int) -> jax.Array:
        """Integers in [0, n) of `shape`; `n` may be traced."""
        return jax.random.randint(self._key(name), shape, 0, n)

    def _key(self, name: str) -> jax.Array:
        return jax.random.fold_in(self.key, zlib.crc32(name.encode()) & 0x7FFFFFFF)


def normals(key: jax.Array, shape: tuple[int, ...], dtype: DTypeLike) -> jax.Array:
    """The numbers of `jax.random.normal`, five times as fast on a CPU where a draw is large.

    There XLA would compute them within the loop over what uses them, whose innermost axis is that of a few action
    dimensions, too short for vector instructions. A loop of two rounds keeps them apart.
    """
    n = math.prod(shape)
    if n < MANY or jax.default_backend() != "cpu":
        return jax.random.normal(key, shape, dtype)
    least = np.nextafter(np.array(-1, dtype), np.array(0, dtype))
    uniform = jax.random.uniform(key, (n + n % 2,), dtype, least, np.array(1, dtype))
    root = np.sqrt(np.array(2, dtype))
    return jax.lax.map(lambda u: root * jax.lax.erf_inv(u), uniform.reshape(2, -1)).reshape(-1)[:n].reshape(shape)


class Tape:
    """The same draws, played from recorded arrays: `Tape({"actor_action": eps})`.

    A sub-stream's names are prefixed (`sub/name`). `unused()` gives the names that were never drawn.
    """

    def __init__(self, arrays: Mapping[str, Any], prefix: str = "", used: set[str] | None = None) -> None:
        self.arrays, self.prefix = arrays, prefix
        self.used = set() if used is None else used

    def sub(self, name: str) -> Tape:
        return Tape(self.arrays, f"{self.prefix}{name}/", self.used)

    def fold(self, i: jax.Array | int) -> Tape:
        return Tape(self.arrays, f"{self.prefix}{int(i)}/", self.used)

    def normal(self, name: str, shape: tuple[int, ...], dtype: DTypeLike | None = None) -> jax.Array:
        return self._play(name, shape)

    uniform = normal

    def bernoulli(self, name: str, p: jax.Array | float, shape: tuple[int, ...]) -> jax.Array:
        return self._play(name, shape).astype(bool)

    def integers(self, name: str, shape: tuple[int, ...], n: jax.Array | int) -> jax.Array:
        return self._play(name, shape)

    def unused(self) -> set[str]:
        """Recorded names that were never played."""
        return set(self.arrays) - self.used

    def _play(self, name: str, shape: tuple[int, ...]) -> jax.Array:
        name = self.prefix + name
        if name not in self.arrays:
            raise KeyError(f"the tape holds no '{name}'; it holds {sorted(self.arrays)}")
        array = jnp.asarray(self.arrays[name])
        if array.shape != tuple(shape):
            raise ValueError(f"the tape's '{name}' has shape {array.shape}, the program asks for {tuple(shape)}")
        self.used.add(name)
        return array
