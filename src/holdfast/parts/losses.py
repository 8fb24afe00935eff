"""Losses and weights, entry by entry: no function here averages, so every mean in an algorithm is in sight."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp


def expectile(difference: jax.Array, tau: Any) -> jax.Array:
    """|tau - 1{u < 0}| u^2 of u = target - prediction (IQL eq. 5): tau above .5 pulls the prediction up."""
    return jnp.abs(tau - (difference < 0)) * jnp.square(difference)


def exp_weight(advantage: jax.Array, inverse_temperature: Any, maximum: Any) -> jax.Array:
    """min(exp(beta A), maximum). The cap is on the weight; exp is kept from overflowing without moving the cap."""
    return jnp.exp(jnp.minimum(inverse_temperature * advantage, jnp.log(maximum)))


def huber(difference: jax.Array, delta: Any = 1.0) -> jax.Array:
    """Huber's loss: half squares up to `delta`, lines beyond."""
    size = jnp.abs(difference)
    inner = jnp.minimum(size, delta)
    return 0.5 * jnp.square(inner) + delta * (size - inner)


def mix(q: jax.Array, weight: Any) -> jax.Array:
    """weight * min + (1 - weight) * max over the critics [E, ...]: BCQ's soft clipped double Q."""
    return weight * q.min(0) + (1 - weight) * q.max(0)


def lower(q: jax.Array, kind: str, deviations: Any, axis: int = 0) -> jax.Array:
    """One value from an ensemble's along `axis`: their mean, their min, or lcb, the mean less so many deviations."""
    if kind == "lcb":
        return q.mean(axis) - deviations * q.std(axis)
    return q.min(axis) if kind == "min" else q.mean(axis)


def quantile_huber(quantiles: jax.Array, targets: jax.Array, taus: jax.Array) -> jax.Array:
    """QR-DQN's loss (Dabney et al. 2018, eq. 10, kappa 1), summed over quantiles, averaged over targets.

    Args:
        quantiles: [B, K] predictions.
        targets: [B, L] samples of the target distribution.
        taus: [K] midpoints (i + .5) / K.

    Returns:
        [B].
    """
    difference = targets[:, None, :] - quantiles[:, :, None]
    weight = jnp.abs(taus[None, :, None] - (difference < 0))
    return (weight * huber(difference)).mean(2).sum(1)


def squared_weights(net: Any) -> jax.Array:
    """Sum of the squared weights, not biases, of all layers of an MLP: what weight decay adds to a loss."""
    return jnp.stack([jnp.square(layer.weight).sum() for layer in net.layers]).sum()
