"""A conditional variational autoencoder of next states: samples of s' after (s, a), and an estimate of its density."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from ..core.noise import Noise
from ..core.spec import Batch, Scalar, Spec
from ..core.trained import Metrics, Trained
from ..core.tree import PyTree
from . import layers, nets, optimisers


class TransitionVAE(PyTree):
    """Encoder of (s, a, change of s) to a normal over latents, decoder of (s, a, z) to a normal over that change."""

    encoder: layers.MLP  # outputs mean and log standard deviation, 2 L
    decoder: layers.MLP
    log_std: jax.Array  # [d] of the change, the same everywhere

    @property
    def latent(self) -> int:
        """The number of dimensions of a latent."""
        return self.encoder.layers[-1].bias.shape[-1] // 2

    @property
    def bounded_log_std(self) -> jax.Array:
        """Log standard deviation of each dimension, within [-5, 2]: [d]."""
        return jnp.clip(self.log_std, -5, 2)

    def encode(self, obs: jax.Array, action: jax.Array, next_obs: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Mean and log standard deviation (within [-4, 4]) of the latent: [..., L] each."""
        mean, log_std = jnp.split(self.encoder(jnp.concatenate([obs, action, next_obs - obs], -1)), 2, -1)
        return mean, jnp.clip(log_std, -4, 4)

    def decode(self, obs: jax.Array, action: jax.Array, latent: jax.Array) -> jax.Array:
        """The mean next state [..., d] for latents [..., L]."""
        lead = latent.shape[:-1]
        seen = jnp.concatenate([obs, action], -1)
        change = layers.joint(self.decoder, jnp.broadcast_to(seen, (*lead, seen.shape[-1])), latent)
        return jnp.broadcast_to(obs, change.shape) + change

    def log_likelihood(self, obs: jax.Array, action: jax.Array, next_obs: jax.Array, latent: jax.Array) -> jax.Array:
        """Log-density of next states given latents, a mean over dimensions: [...]."""
        mean = self.decode(obs, action, latent)
        log_std = jnp.broadcast_to(self.bounded_log_std, mean.shape)
        error = (jnp.broadcast_to(next_obs, mean.shape) - mean) * jnp.exp(-log_std)
        return (-0.5 * jnp.square(error) - log_std).mean(-1)

    def log_density(self, obs: jax.Array, action: jax.Array, next_obs: jax.Array, eps: jax.Array) -> jax.Array:
        """An estimate of log p(s'|s, a) for each dimension of s', [B], from posterior samples.

        It is the evidence lower bound divided by the number of dimensions, without the constant of the normal. So it is
        comparable between transitions, which is all that relative weights need.

        Args:
            obs: [B, d].
            action: [B, A].
            next_obs: [B, d].
            eps: standard normals, [K, B, L].
        """
        mean, log_std = self.encode(obs, action, next_obs)
        latent = mean[None] + jnp.exp(log_std)[None] * eps
        fits = self.log_likelihood(obs, action, next_obs, latent).mean(0)
        return fits - divergence(mean, log_std).sum(-1) / next_obs.shape[-1]


def divergence(mean: jax.Array, log_std: jax.Array) -> jax.Array:
    """KL of each latent to the standard normal, [..., L]."""
    return -0.5 * (1 + 2 * log_std - jnp.square(mean) - jnp.exp(2 * log_std))


def transition_vae(noise: Noise, spec: Spec, hidden: tuple[int, ...], latent: int) -> TransitionVAE:
    """A model of the next states of `spec`, for vectors and continuous actions."""
    (d,) = spec.obs
    encoder = nets.mlp(noise.sub("encoder"), (2 * d + spec.action, *hidden, 2 * latent))
    decoder = nets.mlp(noise.sub("decoder"), (d + spec.action + latent, *hidden, d))
    return TransitionVAE(encoder, decoder, jnp.zeros(d))


def loss(model: TransitionVAE, batch: Batch, eps: jax.Array) -> tuple[jax.Array, Metrics]:
    """Minus the evidence lower bound for each dimension of s', a mean over the rows; `eps` [B, L]."""
    mean, log_std = model.encode(batch.obs, batch.action, batch.next_obs)
    fits = model.log_likelihood(batch.obs, batch.action, batch.next_obs, mean + jnp.exp(log_std) * eps)
    kl = divergence(mean, log_std).sum(-1)
    return (kl / batch.obs.shape[-1] - fits).mean(), {"likelihood": fits.mean(), "kl": kl.mean()}


def fit(model: Trained, lr: Scalar, batch: Batch, noise: Noise) -> tuple[Trained, Metrics]:
    """One step of Adam on `loss` over a batch."""
    eps = noise.normal("model_posterior", (*batch.reward.shape, model.net.latent))
    return model.step(optimisers.adam(lr), loss, batch, eps, name="model")
