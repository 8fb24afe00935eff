"""Weights of transitions for decentralised teams (Jiang, Lu 2021, arXiv:2108.01832): value deviation, normalisation.

What follows an agent's action depends on its teammates. In a log, they act as they did when it was written. Two factors
correct for that: `value_deviation` raises good next states, because teammates improve too; `1 / density` makes the next
states of a pair uniform, so that agents with different logs agree on what follows.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from ..core.spec import Scalar

SMALLEST = 1e-6  # of expected values: below, the deviation is counted from 0


def value_deviation(value: jax.Array, expected: jax.Array) -> jax.Array:
    """lambda_vd = 1 + (V(s') - E V) / |E V|, at least 0, so that weighted transitions stay a distribution.

    Args:
        value: V(s') of the transitions, [...].
        expected: E V(s^) over the next states that the log shows after the same state and action, [...].
    """
    scale = jnp.maximum(jnp.abs(expected), SMALLEST)
    return jnp.maximum(1 + (value - expected) / scale, 0)


def weights(deviation: jax.Array, density: jax.Array, least: Scalar, most: Scalar) -> jax.Array:
    """The weight of each transition, lambda_vd / density within [least, most].

    Args:
        deviation: lambda_vd, [B].
        density: P(s'|s, a) in the log, up to a factor, [B].
        least: the smallest weight.
        most: the largest weight.
    """
    return jnp.clip(deviation / density, least, most)
