"""Cloning of logged actions with a weight for each row (AWAC, CRR, XQL)."""

from __future__ import annotations

import jax

from ..core.spec import Batch
from ..core.trained import Metrics
from .nets import Policy


def weighted_cloning(
    policy: Policy, weight: jax.Array, batch: Batch, keep: tuple[jax.Array, ...]
) -> tuple[jax.Array, Metrics]:
    """Minus the weighted log-likelihood of the logged actions, averaged over the rows.

    Args:
        policy: the policy that is trained.
        weight: [B].
        batch: the rows.
        keep: dropout factors as `layers.dropout` makes them; () for none.
    """
    log_prob = policy(batch.obs, keep).among(batch.mask).log_prob(batch.action)
    return -(weight * log_prob).mean(), {"log_prob": log_prob.mean(), "weight": weight.mean()}
