"""What a learner believes: the value that it gives to actions, to be held against what they bring."""

from __future__ import annotations

from typing import Any

import jax

from ..core.contract import Algorithm
from ..parts import nets
from ..parts.action_values import ActionValues, pick


def has_value(algorithm: Algorithm, state: Any) -> bool:
    """Whether it values actions at all; cloners do not."""
    return algorithm.value is not None or isinstance(_critic(state), (nets.Critic, ActionValues))


def believed_value(algorithm: Algorithm, cfg: Any, state: Any, obs: jax.Array, action: jax.Array) -> jax.Array:
    """The discounted return that a learner expects from `action` at `obs` and its own policy after: [n].

    It is what `Algorithm.value` says, else the smallest of its critics, of which targets are built, or the mean of the
    estimates of one network. In units of treated rewards; soft values include the bonus for entropy.

    Args:
        algorithm: the record of functions.
        cfg: its config, floats as arrays.
        state: of one replica.
        obs: treated observations [n, *obs].
        action: in inside units, [n, A], or [n] integers where discrete.

    Raises:
        TypeError: it values no action; ask `has_value` first.
    """
    if algorithm.value is not None:
        return algorithm.value(cfg, state, obs, action)
    critic = _critic(state)
    if isinstance(critic, ActionValues):
        return pick(critic(obs), action).mean(-1)
    if isinstance(critic, nets.Critic):
        return critic(obs, action).min(0)
    raise TypeError(f"{algorithm.name} values no action")


def _critic(state: Any) -> Any:
    return getattr(getattr(state, "critic", None), "net", None)
