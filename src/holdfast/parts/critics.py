"""Losses of critic ensembles that many methods share."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from ..core.spec import Batch
from ..core.trained import Metrics
from .nets import Critic


def squared_error(critic: Critic, y: jax.Array, batch: Batch) -> tuple[jax.Array, Metrics]:
    """Squared error to the targets `y` [B]: the mean over the rows, summed over the members of the ensemble."""
    q = critic(batch.obs, batch.action)
    return jnp.square(q - y[None]).mean(1).sum(), {"q": q.mean(), "target": y.mean()}


def weighted_squared_error(critic: Critic, y: jax.Array, batch: Batch, weight: jax.Array) -> tuple[jax.Array, Metrics]:
    """`squared_error` with a factor `weight` [B] for each row."""
    q = critic(batch.obs, batch.action)
    return (weight[None] * jnp.square(q - y[None])).mean(1).sum(), {"q": q.mean(), "target": y.mean()}


def mean_squared_error(
    critic: Critic, y: jax.Array, batch: Batch, weight: jax.Array | None = None
) -> tuple[jax.Array, Metrics]:
    """Squared error to the targets `y` [B]: the mean over rows and members.

    Args:
        critic: the ensemble.
        y: targets, [B].
        batch: the rows.
        weight: factor of each row, [B]; the mean is over all rows, also over those of weight 0. None: 1.
    """
    q = critic(batch.obs, batch.action)
    error = jnp.square(q - y[None])
    if weight is not None:
        error = error * weight[None]
    return error.mean(), {"q": q.mean(), "spread": q.std(0).mean(), "target": y.mean()}
