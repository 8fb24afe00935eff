"""A small network that perturbs an action within a bound (BCQ, PLAS)."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from ..core.noise import Noise
from ..core.spec import Scalar, Spec
from ..core.tree import PyTree
from . import nets


class Perturbation(PyTree):
    """xi(s, a): the action plus at most `phi` in each dimension, within [-1, 1]."""

    net: nets.Network

    def __call__(self, obs: jax.Array, action: jax.Array, phi: Scalar) -> jax.Array:
        """Perturbed actions, of the shape of `action` [..., B, A] for obs [B, d]."""
        return jnp.clip(action + phi * jnp.tanh(nets.joint_of(self.net, obs, action)), -1, 1)


def perturbation(noise: Noise, spec: Spec, hidden: tuple[int, ...]) -> Perturbation:
    """A perturbation network for the actions of `spec`."""
    return Perturbation(nets.network(noise, spec, hidden, spec.action, spec.action, role="actor"))
