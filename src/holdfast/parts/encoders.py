"""Encoders: observations of any kind to one vector, in front of any network.

`Encoded(encoder, net)` is a network of the observations that `encoder` reads. It takes the place of `net`.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

from ..core.spec import ArraySpec, Obs, Spec
from ..core.tree import PyTree, field


class Flatten(PyTree):
    """One array `[..., *shape]` to `[..., d]`. Bytes (uint8) become floats in [0, 1]."""

    shape: tuple[int, ...] = field(static=True)

    @property
    def width(self) -> int:
        """d."""
        return math.prod(self.shape)

    def __call__(self, obs: jax.Array) -> jax.Array:
        lead = obs.shape[: obs.ndim - len(self.shape)]
        floats = obs.astype(jnp.result_type(float)) / 255 if obs.dtype == jnp.uint8 else obs
        return floats.reshape(*lead, self.width)


class Concat(PyTree):
    """Several arrays by name, each through an encoder of its own, side by side in the order of their names."""

    parts: dict[str, Any]  # encoders

    @property
    def width(self) -> int:
        """Sum of the widths."""
        return sum(part.width for part in self.parts.values())

    def __call__(self, obs: dict[str, jax.Array]) -> jax.Array:
        return jnp.concatenate([self.parts[name](obs[name]) for name in sorted(self.parts)], -1)


Encoder = Flatten | Concat


class Encoded(PyTree):
    """A network of encoded observations."""

    encoder: Encoder
    net: Any  # a network of vectors [..., d], such as a critic or a policy

    def __call__(self, obs: Obs, *rest: Any) -> Any:
        return self.net(self.encoder(obs), *rest)


def flatten(spec: Spec) -> Encoder:
    """The encoder without parameters for the observations of `spec`."""
    arrays = spec.obs_arrays
    if isinstance(arrays, ArraySpec):
        return Flatten(arrays.shape)
    return Concat({name: Flatten(one.shape) for name, one in arrays.items()})
