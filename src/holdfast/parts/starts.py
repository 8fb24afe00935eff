"""Expectations over the first observations of episodes, from rows that are drawn uniformly.

A row has the first observation of its episode, so long episodes are drawn more often. Each row is weighted with the
inverse of the length of its episode. All episodes then count equally.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from ..core.contract import Needs, Transitions
from ..core.spec import Batch, Cfg

COLUMNS = ("initial_obs", "episode_steps")  # what `Needs.columns` has to name


def rows(cfg: Cfg) -> Needs:
    """Transitions with the first observation of their episode."""
    return Transitions(COLUMNS)


def start_weights(batch: Batch) -> jax.Array:
    """Weights of the rows of a batch for a mean over episodes: [B], their mean is 1."""
    inverse = 1 / jnp.maximum(batch.episode_steps, 1)
    return inverse / inverse.mean()
