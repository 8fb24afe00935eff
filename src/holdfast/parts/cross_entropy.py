"""The cross-entropy method over actions: sample, value, move the distribution to the good samples, repeat."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from ..core.spec import Scalar

Valued = Callable[[jax.Array], jax.Array]  # actions [n, B, A] -> values [n, B]
SMALLEST = 1e-6  # standard deviation


def softened(values: Valued, eps: jax.Array, spread: Scalar) -> tuple[jax.Array, jax.Array]:
    """Rounds whose mean is weighted by softmax(Q), and whose spread is the plain one about that mean.

    Args:
        values: values of actions.
        eps: standard normals [rounds, n, B, A].
        spread: standard deviation of the first round, whose mean is 0.

    Returns:
        The actions [n, B, A] of the last round, in [-1, 1], and their values [n, B].
    """
    mean = jnp.zeros(eps.shape[2:], eps.dtype)
    std = jnp.full(eps.shape[2:], spread, eps.dtype)
    action, q = mean[None], mean[None, ..., 0]
    for one in eps:
        action = jnp.clip(mean[None] + std[None] * one, -1, 1)
        q = values(action)
        weight = jax.nn.softmax(q, 0)[..., None]
        mean = (weight * action).sum(0)
        std = jnp.sqrt(jnp.square(action - mean[None]).mean(0)) + SMALLEST
    return action, q


def elite(values: Valued, eps: jax.Array, spread: Scalar, elites: int) -> tuple[jax.Array, jax.Array]:
    """Rounds whose mean and spread are those of the best `elites` samples, which stay among the next samples.

    The arguments and results are those of `softened`; the last round has the kept samples too. The spread of a round is
    the unbiased one, so at least 2 elites are needed.
    """
    mean = jnp.zeros(eps.shape[2:], eps.dtype)
    std = jnp.full(eps.shape[2:], spread, eps.dtype)
    kept = jnp.zeros((0, *eps.shape[2:]), eps.dtype)
    action, q = kept, kept[..., 0]
    for one in eps:
        action = jnp.concatenate([jnp.clip(mean[None] + std[None] * one, -1, 1), kept])
        q = values(action)
        best = jax.lax.top_k(jnp.moveaxis(q, 0, -1), elites)[1]  # [B, elites]
        kept = jnp.take_along_axis(action, jnp.moveaxis(best, -1, 0)[..., None], 0)
        mean = kept.mean(0)
        std = kept.std(0, ddof=1) + SMALLEST
    return action, q
