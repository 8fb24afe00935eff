"""The f-divergences of DICE methods, by the optimal ratio of densities that belongs to an error.

For an error x = e / alpha the best ratio is w(x) = max(0, (f')^{-1}(x)), the maximum over w of w x - f(w).

| kind | f(w) | w(x) |
|---|---|---|
| chi | (w - 1)^2 / 2 | max(0, x + 1) |
| kl | w log w | exp(x - 1) |
| softchi | w log w - w + 1 below 1, (w - 1)^2 / 2 above | exp(x) below 0, x + 1 above |
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

KINDS = "softchi|chi|kl"
TINY = 1e-10  # smallest ratio whose logarithm is taken


def ratio(kind: str, x: jax.Array) -> jax.Array:
    """The optimal ratio w(x), entry by entry."""
    if kind == "kl":
        return jnp.exp(x - 1)
    if kind == "chi":
        return jax.nn.relu(x + 1)
    return jnp.where(x < 0, jnp.exp(jnp.minimum(x, 0)), x + 1)


def divergence(kind: str, x: jax.Array) -> jax.Array:
    """f(w(x)), entry by entry."""
    if kind == "kl":
        return jnp.exp(x - 1) * (x - 1)
    if kind == "chi":
        return 0.5 * jnp.square(jax.nn.relu(x + 1) - 1)
    low = jnp.minimum(x, 0)
    return jnp.where(x < 0, jnp.exp(low) * (low - 1) + 1, 0.5 * jnp.square(x))


def log_ratio(kind: str, x: jax.Array) -> jax.Array:
    """log w(x), entry by entry; at least log(1e-10) for chi, whose ratio may be 0."""
    if kind == "kl":
        return x - 1
    if kind == "chi":
        return jnp.log(jnp.maximum(x + 1, TINY))
    return jnp.where(x < 0, x, jnp.log1p(jnp.maximum(x, 0)))
