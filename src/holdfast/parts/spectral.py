"""Spectral normalisation (Miyato et al. 2018, arXiv:1802.05957): weights divided by their largest singular value."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from ..core.noise import Noise
from . import layers, nets

Directions = tuple[jax.Array, ...]  # one unit vector [out] a layer; [E, out] for an ensemble


def directions(noise: Noise, net: layers.MLP) -> Directions:
    """Random unit vectors to start the power iteration of each layer from; for one network or an ensemble [E, ...]."""
    draws = (noise.normal(f"direction_{i}", layer.bias.shape) for i, layer in enumerate(net.layers))
    return tuple(unit(u) for u in draws)


def unit(u: jax.Array) -> jax.Array:
    """`u` divided by its norm over the last axis."""
    return u / (jnp.sqrt(jnp.square(u).sum(-1, keepdims=True)) + 1e-12)


def normalise(net: layers.MLP, towards: Directions) -> tuple[layers.MLP, Directions]:
    """One power iteration a layer, and the network with every weight divided by the singular value that it gives.

    Gradients flow through the singular value, not through its directions, as in PyTorch.
    """
    pairs = [_normalise(layer, u) for layer, u in zip(net.layers, towards, strict=True)]
    made, after = zip(*pairs, strict=True)
    return layers.MLP(made, net.norms, net.activation, net.norm), after


def _normalise(layer: layers.Linear, u: jax.Array) -> tuple[layers.Linear, jax.Array]:
    fixed = jax.lax.stop_gradient(layer.weight)
    v = unit(fixed @ u)
    u = unit(v @ fixed)
    sigma = v @ layer.weight @ u
    return layers.Linear(layer.weight / sigma, layer.bias), u


def layers_of(critic: nets.Critic) -> layers.MLP:
    """The layers of critics of vectors, leaves [E, ...].

    Raises:
        UserError: the critics are a user's modules.
    """
    return nets.mlp_of(critic.nets, "spectral normalisation")


def smooth(critic: nets.Critic, towards: Directions) -> tuple[nets.Critic, Directions]:
    """Critics with the largest singular value of every layer divided out, unless there are no directions."""
    if not towards:
        return critic, towards
    ensemble, after = jax.vmap(normalise)(layers_of(critic), towards)
    return nets.Critic(ensemble), after
