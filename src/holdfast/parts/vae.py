"""A conditional variational autoencoder of the data's actions in a state (BCQ, BEAR, PLAS, SPOT, MCQ)."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from ..core.noise import Noise
from ..core.spec import Batch, Scalar, Spec
from ..core.trained import Metrics, Trained
from ..core.tree import PyTree
from . import layers, nets, optimisers


class VAE(PyTree):
    """Encoder of (s, a) to a normal over latents, decoder of (s, z) to an action in [-1, 1]."""

    encoder: layers.MLP  # outputs mean and log standard deviation, 2 L
    decoder: layers.MLP

    @property
    def latent(self) -> int:
        """The number of dimensions of a latent."""
        return self.encoder.layers[-1].bias.shape[-1] // 2

    def encode(self, obs: jax.Array, action: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Mean and log standard deviation (within [-4, 15]) of the latent: [..., L] each."""
        mean, log_std = jnp.split(self.encoder(jnp.concatenate([obs, action], -1)), 2, -1)
        return mean, jnp.clip(log_std, -4, 15)

    def raw(self, obs: jax.Array, latent: jax.Array) -> jax.Array:
        """The decoder's output before tanh: [..., A]."""
        return layers.joint(self.decoder, obs, latent)

    def decode(self, obs: jax.Array, latent: jax.Array) -> jax.Array:
        """Actions for latents: obs [*rows, d] and latents [..., *rows, L] (several a state, if wished) to [..., A]."""
        return jnp.tanh(self.raw(obs, latent))

    def reconstruct(self, obs: jax.Array, action: jax.Array, eps: jax.Array) -> tuple[jax.Array, jax.Array]:
        """A decoded posterior sample [..., A] and the KL of each latent to the standard normal [..., L]."""
        mean, log_std = self.encode(obs, action)
        kl = -0.5 * (1 + 2 * log_std - jnp.square(mean) - jnp.exp(2 * log_std))
        return self.decode(obs, mean + jnp.exp(log_std) * eps), kl


def vae(noise: Noise, spec: Spec, hidden: tuple[int, ...], latent: int) -> VAE:
    """A VAE for the actions of `spec`."""
    (d,) = spec.obs
    encoder = nets.mlp(noise.sub("encoder"), (d + spec.action, *hidden, 2 * latent))
    return VAE(encoder, nets.mlp(noise.sub("decoder"), (d + latent, *hidden, spec.action)))


def loss(vae: VAE, obs: jax.Array, action: jax.Array, eps: jax.Array, beta: Scalar) -> tuple[jax.Array, Metrics]:
    """Mean squared reconstruction error plus `beta` times the KL, a mean over latents too, as in BCQ's code."""
    made, kl = vae.reconstruct(obs, action, eps)
    error = jnp.square(made - action).mean()
    return error + beta * kl.mean(), {"reconstruction": error, "kl": kl.mean()}


def fit(vae: Trained, lr: Scalar, batch: Batch, noise: Noise, beta: Scalar) -> tuple[Trained, Metrics]:
    """One step of Adam on `loss` over a batch."""
    eps = noise.normal("vae_posterior", (*batch.reward.shape, vae.net.latent))
    return vae.step(optimisers.adam(lr), loss, batch.obs, batch.action, eps, beta, name="vae")


def prior(noise: Noise, name: str, shape: tuple[int, ...]) -> jax.Array:
    """Latents to decode: standard normals clipped to +-.5, the range with most of the data (BCQ's code)."""
    return jnp.clip(noise.normal(name, shape), -0.5, 0.5)
