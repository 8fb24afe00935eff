"""How far an action is from the support of the data, by a variational autoencoder of actions (SPOT)."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from ..core.spec import Scalar
from .distributions import normal_log_prob
from .vae import VAE


def elbo_price(vae: VAE, obs: jax.Array, action: jax.Array, eps: jax.Array, beta: Scalar) -> jax.Array:
    """The VAE's loss at each row, for eps [L, B, latent]: [B]."""
    mean, log_std = vae.encode(obs, action)
    made = vae.decode(obs, mean[None] + jnp.exp(log_std)[None] * eps)
    kl = -0.5 * (1 + 2 * log_std - jnp.square(mean) - jnp.exp(2 * log_std))
    return jnp.square(made - action[None]).mean((0, 2)) + beta * kl.mean(-1)


def iwae_price(vae: VAE, obs: jax.Array, action: jax.Array, eps: jax.Array, beta: Scalar) -> jax.Array:
    """Minus the importance-weighted bound on log p(a | s) for eps [L, B, latent], in nats: [B]."""
    mean, log_std = vae.encode(obs, action)
    z = mean[None] + jnp.exp(log_std)[None] * eps
    likelihood = normal_log_prob(action[None], vae.decode(obs, z), 0.5 * jnp.log(beta / 4)).sum(-1)
    prior_to_posterior = log_std[None] + 0.5 * (jnp.square(eps) - jnp.square(z))
    weight = likelihood + prior_to_posterior.sum(-1)
    return math.log(len(eps)) - jax.nn.logsumexp(weight, 0)
