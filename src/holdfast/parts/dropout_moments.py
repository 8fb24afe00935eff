"""Mean and variance of critics under dropout: from drawn passes, or to first order in the noise of dropout (UWAC)."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from ..core.noise import Noise
from . import layers, nets

Keep = tuple[jax.Array, ...]  # factors of dropout, one for each hidden layer


def masks(
    noise: Noise, name: str, rows: tuple[int, ...], rate: float, passes: int, hidden: tuple[int, ...], shared: bool
) -> Keep:
    """Factors of dropout for `passes` passes of two critics over `rows`: [T, 2, *rows, width] for each layer.

    Args:
        noise: the source of the draws.
        name: the draws are called `name`_0, `name`_1 ..., one for each hidden layer.
        rows: shape of the rows.
        rate: share of the units that are dropped.
        passes: T; 0 gives ().
        hidden: widths of the hidden layers.
        shared: all rows of a pass have the same mask.
    """
    if not passes:
        return ()
    lead = (passes, 2, *((1,) * len(rows) if shared else rows))
    keep = layers.dropout(noise, name, rate, lead, hidden)
    return tuple(jnp.broadcast_to(k, (passes, 2, *rows, k.shape[-1])) for k in keep)


def moments(
    critic: nets.Critic,
    obs: jax.Array,
    action: jax.Array,
    keep: Keep,
    rate: float,
    hidden: tuple[int, ...],
) -> tuple[jax.Array, jax.Array]:
    """Mean and variance of each critic under dropout, [E, ...] each.

    With masks `keep` they are those of the drawn passes (the unbiased variance). Without, the mean is Q without
    dropout and the variance is p / (1 - p) times the sum of (h dQ/dh)^2 over the hidden units h, p = `rate`.
    """
    if keep:  # some passes at a time share the first layer
        q = jax.lax.map(lambda k: critic(obs, action, k), keep, batch_size=8)
        return q.mean(0), q.var(0, ddof=1)
    ones = tuple(jnp.ones((2, *action.shape[:-1], width), action.dtype) for width in hidden)
    q, pull = jax.vjp(lambda k: critic(obs, action, k), ones)  # dQ/dk = h dQ/dh
    slopes = jnp.asarray(sum(jnp.square(g).sum(-1) for g in pull(jnp.ones_like(q))[0]))
    return q, rate / (1 - rate) * slopes
