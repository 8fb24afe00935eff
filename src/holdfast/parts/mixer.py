"""The value of a team: a weighted sum of the values of its agents, whose weights follow from the joint state."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from ..core.noise import Noise
from ..core.tree import PyTree
from . import layers, nets


class Mixer(PyTree):
    """State s [..., D] to weights w [..., N], at least 0, and an offset b [...]."""

    net: layers.MLP  # N + 1 outputs: the weights before `abs`, then the offset

    def __call__(self, state: jax.Array) -> tuple[jax.Array, jax.Array]:
        found = self.net(state)
        return jnp.abs(found[..., :-1]), found[..., -1]


class Mixed(PyTree):
    """The critics of all agents and their mixer, which one optimiser moves."""

    q: nets.Critic
    mixer: Mixer


def mixer(noise: Noise, width: int, hidden: tuple[int, ...], agents: int) -> Mixer:
    """A mixer of states [..., width]."""
    return Mixer(nets.mlp(noise.sub("mixer"), (width, *hidden, agents + 1)))
