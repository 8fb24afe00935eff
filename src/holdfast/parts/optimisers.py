"""Optimisers whose learning rates may be traced."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import optax


def adam(lr: Any, eps: float = 1e-8, clip_norm: float | None = None) -> optax.GradientTransformation:
    """Adam, betas .9 and .999; `lr` is a (traced) number or a schedule; gradients clipped to `clip_norm` first."""
    tx = optax.adam(lr, eps=eps)
    return tx if clip_norm is None else optax.chain(optax.clip_by_global_norm(clip_norm), tx)


def sgd(lr: Any, momentum: float) -> optax.GradientTransformation:
    """Gradient descent with momentum, v = momentum v + g."""
    return optax.sgd(lr, momentum=momentum)


def cosine(lr: Any, steps: int) -> Any:
    """`lr` falling to 0 along half a cosine over `steps` updates; constant where `steps` is not positive.

    Update t (from 0) takes lr (1 + cos(pi t / steps)) / 2. The peak may be traced, the horizon not. A constant
    rate is a schedule too: the optimiser's state is then the same with any horizon, and fine-tuning may end a decay.
    """
    if steps <= 0:
        return lambda count: lr
    return lambda count: lr * 0.5 * (1 + jnp.cos(jnp.pi * jnp.minimum(count, steps) / steps))
