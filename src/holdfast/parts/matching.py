"""The constraint of BEAR and UWAC: actions of the policy must match decoded actions, up to a threshold on the MMD."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from ..core.noise import Noise
from ..core.spec import Batch, Scalar
from ..core.trained import Metrics, Trained
from . import divergences, nets, optimisers
from . import vae as vaes
from .distributions import TanhNormal

Sides = tuple[jax.Array, jax.Array]  # decoded actions before tanh and normals of the policy, [n, B, A] each


def pairs(samples: int, vae: vaes.VAE, batch: Batch, noise: Noise) -> Sides:
    """The two sides of the MMD: decoded actions before tanh, and the noise of the policy, [samples, B, A] each."""
    latent = vaes.prior(noise, "vae_decode_latent", (samples, len(batch.reward), vae.latent))
    eps = noise.normal("actor_action", (samples, *batch.action.shape))
    return vae.raw(batch.obs, latent), eps


def distance(
    actor: nets.Policy, obs: jax.Array, sides: Sides, kernel: str, sigma: Scalar
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The mean MMD over the rows, the actions of the policy before tanh [n, B, A], and its mean standard deviation.

    Args:
        actor: a squashed Gaussian policy.
        obs: [B, d].
        sides: decoded actions before tanh and normals of the policy, [n, B, A] each.
        kernel: laplacian or gaussian.
        sigma: width of the kernel.
    """
    decoded, eps = sides
    policy = actor(obs).repeat(len(eps))
    assert isinstance(policy, TanhNormal)
    raw = policy.mean + jnp.exp(policy.log_std) * eps
    return divergences.mmd(decoded, raw, kernel, sigma).mean(), raw, jnp.exp(policy.log_std).mean()


def multiplier_loss(log_alpha: jax.Array, mmd: jax.Array, threshold: Scalar) -> tuple[jax.Array, Metrics]:
    """Minus alpha (MMD - threshold)."""
    return -jnp.exp(log_alpha) * (mmd - threshold), {"value": jnp.exp(log_alpha)}


def dual_step(multiplier: Trained, lr: Scalar, mmd: jax.Array, threshold: Scalar) -> tuple[Trained, Metrics]:
    """One step of gradient ascent on alpha (MMD - threshold); log alpha is kept within [-5, 10]."""
    multiplier, metrics = multiplier.step(optimisers.adam(lr), multiplier_loss, mmd, threshold, name="multiplier")
    return multiplier.replace(jnp.clip(multiplier.net, -5, 10)), metrics
