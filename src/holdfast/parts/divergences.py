"""Distances between laws of actions from samples of each: the maximum mean discrepancy of BEAR and BRAC."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp


def kernel(difference: jax.Array, name: str, sigma: Any, axis: int = -1) -> jax.Array:
    """k(x - y), [..., A] to [...]: exp(-|x - y|_1 / (2 sigma)) "laplacian", exp(-|x - y|^2 / (2 sigma)) "gaussian".

    sigma is not squared, as in BEAR's code. `axis` is where the A dimensions of the actions stand.
    """
    size = jnp.abs(difference) if name == "laplacian" else jnp.square(difference)
    return jnp.exp(-size.sum(axis) / (2 * sigma))


def mmd_squared(x: jax.Array, y: jax.Array, name: str, sigma: Any) -> jax.Array:
    """Squared maximum mean discrepancy of samples x [n, ..., A] and y [m, ..., A]: [...].

    Means over all pairs, a sample with itself among them (the biased estimate, which BEAR's thresholds are tuned for):
    never below 0 but for rounding.
    """

    x, y = jnp.moveaxis(x, -1, 1), jnp.moveaxis(y, -1, 1)  # rows last: a loop over few dimensions is a slow one

    def mean(a: jax.Array, b: jax.Array) -> jax.Array:
        return kernel(a[:, None] - b[None], name, sigma, axis=2).mean((0, 1))

    return mean(x, x) + mean(y, y) - 2 * mean(x, y)


def mmd(x: jax.Array, y: jax.Array, name: str, sigma: Any) -> jax.Array:
    """BEAR's MMD: the root of `mmd_squared`, kept smooth at 0 by 1e-6 under it."""
    return jnp.sqrt(mmd_squared(x, y, name, sigma) + 1e-6)
