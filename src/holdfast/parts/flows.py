"""Flow policies: noise becomes an action along a learned velocity field (Lipman et al. 2022, arXiv:2210.02747).

A flow starts at standard normal noise x_0 and moves with the velocity v(s, x, t) from t = 0 to t = 1. Flow matching
fits v to the straight lines from x_0 to logged actions. The flow then maps noise to the distribution of the actions,
which may have several peaks.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from ..core.noise import Noise
from ..core.spec import Mode, Obs, Spec
from ..core.tree import PyTree, field
from . import initialisers
from .encoders import Encoded
from .nets import Layers, Network, Trunk, joint_of, network

# The layers of the authors of FQL: GELU in its tanh approximation, Glorot's initial weights.
GELU: Layers = {"activation": "gelu", "init": initialisers.xavier()}
GELU_NORMED: Layers = {**GELU, "norm": "post"}  # the same with LayerNorm after each activation, for critics


class Flow(PyTree):
    """A velocity field v(s, x, t) of actions with `size` numbers."""

    net: Network
    size: int = field(static=True)

    def __call__(self, obs: Obs, x: jax.Array, t: jax.Array) -> jax.Array:
        """The velocity at x [..., *rows, A] and t [..., *rows, 1], for observations [*rows, d]: [..., *rows, A]."""
        return joint_of(self.net, obs, jnp.concatenate([x, t], -1))


class OneStep(PyTree):
    """A policy that maps an observation and noise to an action in one step."""

    net: Network

    def __call__(self, obs: Obs, z: jax.Array) -> jax.Array:
        """The output for noise z [..., *rows, A], which no function keeps within the bounds: [..., *rows, A]."""
        return joint_of(self.net, obs, z)


def flow(noise: Noise, spec: Spec, hidden: tuple[int, ...], size: int) -> Flow:
    """A velocity field for actions of `size` numbers."""
    return Flow(network(noise, spec, hidden, size, size + 1, role="actor", **GELU), size)


def one_step(noise: Noise, spec: Spec, hidden: tuple[int, ...], size: int) -> OneStep:
    """A one-step policy for actions of `size` numbers."""
    return OneStep(network(noise, spec, hidden, size, size, role="actor", **GELU))


def matching_error(flow: Flow, obs: Obs, action: jax.Array, x0: jax.Array, t: jax.Array) -> jax.Array:
    """Squared error of the velocity on the line from `x0` to `action`, entry by entry: [B, A].

    The line is x_t = (1 - t) x_0 + t a, and its velocity a - x_0.

    Args:
        flow: the velocity field.
        obs: [B, ...].
        action: [B, A].
        x0: standard normals, [B, A].
        t: times in [0, 1], [B, 1].
    """
    x = (1 - t) * x0 + t * action
    return jnp.square(flow(obs, x, t) - (action - x0))


def euler(flow: Flow, obs: Obs, x0: jax.Array, steps: int) -> jax.Array:
    """The actions that noise `x0` [..., *rows, A] becomes, by `steps` steps of Euler's method.

    Only the end is clipped to [-1, 1].
    """
    net, given = _encoded(flow.net, obs)

    def move(i: jax.Array, x: jax.Array) -> jax.Array:
        t = jnp.full((*x.shape[:-1], 1), i / steps, x.dtype)
        return x + joint_of(net, given, jnp.concatenate([x, t], -1)) / steps

    return jnp.clip(jax.lax.fori_loop(0, steps, move, x0), -1, 1)


def start(noise: Noise, mode: Mode, shape: tuple[int, ...]) -> jax.Array:
    """Noise from which a policy acts: zeros, the most likely noise, in mode "best", else standard normals."""
    if mode == "best":
        return jnp.zeros(shape)
    return noise.normal("act", shape)


def _encoded(net: Network, obs: Obs) -> tuple[Trunk, jax.Array]:
    """The part of a network behind its encoder, and its input, so that a loop encodes images once."""
    return (net.net, net.encoder(obs)) if isinstance(net, Encoded) else (net, obs)
