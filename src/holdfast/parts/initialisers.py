"""Initialisers of a dense layer: functions `(noise, n_in, n_out) -> Linear`."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from ..core.noise import Noise
from .layers import Linear

Initialiser = Callable[[Noise, int, int], Linear]


def torch_uniform(noise: Noise, n_in: int, n_out: int) -> Linear:
    """Weights and biases uniform in +-1/sqrt(n_in): PyTorch's default, with which most published codes were tuned."""
    bound = n_in**-0.5
    return uniform_init(bound, bound)(noise, n_in, n_out)


def uniform_init(weight: float, bias: float) -> Initialiser:
    """Weights uniform in +-`weight`, biases in +-`bias`."""

    def make(noise: Noise, n_in: int, n_out: int) -> Linear:
        w = noise.uniform("weight", (n_in, n_out)) * 2 - 1
        b = noise.uniform("bias", (n_out,)) * 2 - 1
        return Linear(w * weight, b * bias)

    return make


def small_weights(bound: float) -> Initialiser:
    """Weights uniform in +-`bound`, and biases as in `torch_uniform`: output layers that begin near 0."""

    def make(noise: Noise, n_in: int, n_out: int) -> Linear:
        return uniform_init(bound, n_in**-0.5)(noise, n_in, n_out)

    return make


def torch_weights(bias: float) -> Initialiser:
    """Weights as in `torch_uniform`, and every bias equal to `bias`: the hidden layers of EDAC and ReBRAC."""

    def make(noise: Noise, n_in: int, n_out: int) -> Linear:
        return Linear(torch_uniform(noise, n_in, n_out).weight, jnp.full(n_out, bias, jnp.result_type(float)))

    return make


def orthogonal(gain: float = 2**0.5) -> Initialiser:
    """Orthogonal weights (rows or columns, whichever are fewer) times `gain`, zero biases."""

    def make(noise: Noise, n_in: int, n_out: int) -> Linear:
        shape = (max(n_in, n_out), min(n_in, n_out))
        q = _orthonormal(noise.normal("weight", shape))
        return Linear(gain * (q if n_in >= n_out else q.T), jnp.zeros(n_out))

    return make


def xavier(heads: int = 1) -> Initialiser:
    """Glorot's uniform weights in +-sqrt(6 / (n_in + n_out / heads)), zero biases.

    `heads` is the number of equal parts of the outputs that the published code builds as separate layers.
    """

    def make(noise: Noise, n_in: int, n_out: int) -> Linear:
        return uniform_init((6 / (n_in + n_out // heads)) ** 0.5, 0.0)(noise, n_in, n_out)

    return make


def groups(*parts: tuple[Initialiser, int]) -> Initialiser:
    """A layer whose outputs are groups of given sizes, each with its own initialiser."""

    def make(noise: Noise, n_in: int, n_out: int) -> Linear:
        made = [init(noise.fold(i), n_in, size) for i, (init, size) in enumerate(parts)]
        weight, bias = (jnp.concatenate([getattr(one, name) for one in made], -1) for name in ("weight", "bias"))
        return Linear(weight, bias)

    return make


def _orthonormal(a: jax.Array) -> jax.Array:
    """Gram-Schmidt with two projections per column: `jnp.linalg.qr`, batched, can hang the thread pool of XLA's CPU."""

    def column(i: jax.Array, q: jax.Array) -> jax.Array:
        v = a[:, i]
        for _ in range(2):
            v = v - q @ (q.T @ v)
        return q.at[:, i].set(v / jnp.linalg.norm(v))

    return jax.lax.fori_loop(0, a.shape[1], column, jnp.zeros_like(a))
