"""The networks of OBAC's authors: dense, LayerNorm, tanh, dense, ELU, dense, with Glorot's initial weights."""

from __future__ import annotations

from ..core.noise import Noise
from ..core.spec import Spec
from . import initialisers, nets

TRUNK: nets.Layers = {"activation": "tanh elu", "norm": "first", "eps": 1e-5, "init": initialisers.xavier()}


def actor_and_critic(noise: Noise, spec: Spec, hidden: tuple[int, ...]) -> tuple[nets.Policy, nets.Critic]:
    """A squashed Gaussian policy, mean and deviation as separate heads, and two critics."""
    how: nets.Layers = {**TRUNK, "last": initialisers.xavier(heads=2)}
    actor = nets.gaussian_heads_policy(noise.sub("actor"), spec, hidden, **how)
    return actor, nets.critic(noise.sub("critic"), spec, hidden, **TRUNK)
