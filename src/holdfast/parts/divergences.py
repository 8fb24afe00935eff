"""Distances between distributions of actions, from samples of each: the maximum mean discrepancy of BEAR and BRAC."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from ..core.spec import Scalar


def kernel(difference: jax.Array, name: str, sigma: Scalar, axis: int = -1) -> jax.Array:
    """k(x - y), [..., A] to [...]: exp(-|x - y|_1 / (2 sigma)) "laplacian", exp(-|x - y|^2 / (2 sigma)) "gaussian".

    sigma is not squared, as in BEAR's code. `axis` is the axis of the A action dimensions.
    """
    size = jnp.abs(difference) if name == "laplacian" else jnp.square(difference)
    return jnp.exp(-size.sum(axis) / (2 * sigma))


def mmd_squared(x: jax.Array, y: jax.Array, name: str, sigma: Scalar) -> jax.Array:
    """Squared maximum mean discrepancy of samples x [n, ..., A] and y [m, ..., A]: [...].

    The means are over all pairs, including a sample with itself: the biased estimate, for which BEAR's thresholds are
    tuned. It is never below 0 except for rounding.
    """
    x = jnp.moveaxis(x, -1, 1)  # rows last: an innermost loop over few action dimensions is slow
    y = jnp.moveaxis(y, -1, 1)

    def mean(a: jax.Array, b: jax.Array) -> jax.Array:
        return kernel(a[:, None] - b[None], name, sigma, axis=2).mean((0, 1))

    return mean(x, x) + mean(y, y) - 2 * mean(x, y)


def mmd(x: jax.Array, y: jax.Array, name: str, sigma: Scalar) -> jax.Array:
    """BEAR's MMD: the root of `mmd_squared`, kept smooth at 0 by 1e-6 under it."""
    return jnp.sqrt(mmd_squared(x, y, name, sigma) + 1e-6)
