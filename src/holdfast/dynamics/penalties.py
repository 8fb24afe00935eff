"""How uncertain an ensemble is about rows [...]. Each function takes one quantity and gives one number for each row."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def largest_std(std: jax.Array) -> jax.Array:
    """max_j |std_j|_2 over all members, with the reward: the penalty of MOPO's code. std [E, ..., d + 1]."""
    return jnp.linalg.norm(std, axis=-1).max(0)


def distance_to_mean(mean: jax.Array) -> jax.Array:
    """max_j |mean_j - mean of all|_2 ("pairwise-diff" in OfflineRL-Kit): means [E, ..., n] to [...]."""
    return jnp.linalg.norm(mean - mean.mean(0, keepdims=True), axis=-1).max(0)


def ensemble_std(mean: jax.Array) -> jax.Array:
    """Root of the mean over outputs of the variance over members: means [E, ..., n] to [...]."""
    return jnp.sqrt(mean.var(0).mean(-1))


def pairwise_disagreement(mean: jax.Array) -> jax.Array:
    """max_{i,j} |mean_i - mean_j|_2 over all pairs of members (MOReL): means [E, ..., n] to [...]."""
    found = jnp.zeros(mean.shape[1:-1])
    for shift in range(1, len(mean) // 2 + 1):  # every pair is `shift` members apart in a circle
        found = jnp.maximum(found, jnp.linalg.norm(mean - jnp.roll(mean, shift, 0), axis=-1).max(0))
    return found


def bellman_inconsistency(value: jax.Array) -> jax.Array:
    """Deviation over members of the mean next value (MOBILE): values [K members, n samples, ...] to [...].

    The deviation is divided by K - 1.
    """
    return value.mean(1).std(0, ddof=1)
