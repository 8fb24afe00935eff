"""Losses and weights, entry by entry. No function averages over rows: every mean is in the algorithm's file."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from ..core.spec import Scalar
from .encoders import Encoded
from .layers import MLP
from .own import Own


def expectile(difference: jax.Array, tau: Scalar) -> jax.Array:
    """|tau - 1{u < 0}| u^2 of u = target - prediction (IQL eq. 5): tau above .5 pulls the prediction up."""
    return jnp.abs(tau - (difference < 0)) * jnp.square(difference)


def exp_weight(advantage: jax.Array, inverse_temperature: Scalar, maximum: Scalar) -> jax.Array:
    """min(exp(beta A), maximum), entry by entry. The exponent is capped, so that exp cannot overflow."""
    return jnp.exp(jnp.minimum(inverse_temperature * advantage, jnp.log(maximum)))


def huber(difference: jax.Array, delta: Scalar = 1.0) -> jax.Array:
    """Huber's loss: u^2 / 2 up to |u| = `delta`, and delta (|u| - delta / 2) beyond it."""
    size = jnp.abs(difference)
    inner = jnp.minimum(size, delta)
    return 0.5 * jnp.square(inner) + delta * (size - inner)


def mix(q: jax.Array, weight: Scalar) -> jax.Array:
    """weight * min + (1 - weight) * max over the critics [E, ...]: BCQ's soft clipped double Q."""
    return weight * q.min(0) + (1 - weight) * q.max(0)


def lower(q: jax.Array, kind: str, deviations: Scalar, axis: int = 0) -> jax.Array:
    """One value of an ensemble along `axis`: its mean, its min, or its lcb, the mean minus `deviations` std."""
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


def squared_weights(net: MLP | Own) -> jax.Array:
    """The sum of the squared weights (not biases) of all layers: what weight decay adds to a loss."""
    if isinstance(net, Own):
        return net.squared_weights()
    return jnp.stack([jnp.square(layer.weight).sum() for layer in net.layers]).sum()


def not_orthogonal(net: MLP | Own | Encoded) -> jax.Array:
    """The squared products of different columns of every weight, summed: 0 if all columns are orthogonal.

    The orthogonal regularisation of Brock et al. 2019 (arXiv:1809.11096, eq. 3), without its factor. The weights of an
    encoder of images are left out.
    """
    if isinstance(net, Encoded):
        return not_orthogonal(net.net)
    weights = net.columns() if isinstance(net, Own) else [layer.weight for layer in net.layers]
    products = [weight.T @ weight for weight in weights]
    return jnp.asarray(sum(jnp.square(one * (1 - jnp.eye(len(one)))).sum() for one in products))
