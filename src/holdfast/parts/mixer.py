"""The value of a team: a weighted sum of the values of its agents, whose weights follow from the joint state."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from ..core.noise import Noise
from ..core.tree import PyTree
from . import layers, nets


class Mixer(PyTree):
    """State s [..., D] to weights w [..., N], at least 0, and an offset b [...]."""

    weight: layers.MLP
    offset: layers.MLP

    def __call__(self, state: jax.Array) -> tuple[jax.Array, jax.Array]:
        return jnp.abs(self.weight(state)), self.offset(state)[..., 0]


class Mixed(PyTree):
    """The critics of all agents and their mixer, which one optimiser moves."""

    q: nets.Critic
    mixer: Mixer


def mixer(noise: Noise, width: int, hidden: tuple[int, ...], agents: int) -> Mixer:
    """A mixer of states [..., width]."""
    sizes = (width, *hidden)
    return Mixer(nets.mlp(noise.sub("weight"), (*sizes, agents)), nets.mlp(noise.sub("offset"), (*sizes, 1)))
