"""Acting by the actor of a state, for policies that are a distribution of actions."""

from __future__ import annotations

from typing import Protocol

import jax

from ..core.noise import Noise
from ..core.spec import Cfg, Memory, Mode, Seen
from ..core.trained import Trained
from .distributions import Distribution, choose


class HasActor(Protocol):
    """A state with a trained policy, which gives a distribution for each observation."""

    @property
    def actor(self) -> Trained: ...


def dist(cfg: Cfg, state: HasActor, seen: Seen, memory: Memory) -> Distribution:
    """The actor's distribution over the legal actions of each row of `seen`."""
    return state.actor.net(seen.obs).among(seen.mask)


def act(cfg: Cfg, state: HasActor, seen: Seen, memory: Memory, noise: Noise, mode: Mode) -> tuple[jax.Array, Memory]:
    """The most likely action in mode "best", else a draw: [n, ...], and the unchanged memory."""
    return choose(dist(cfg, state, seen, memory), noise, mode), memory
