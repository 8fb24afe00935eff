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
