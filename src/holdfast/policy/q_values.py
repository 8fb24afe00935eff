"""The values that a learner assigns to actions, to compare them with the returns of its policy."""

from __future__ import annotations

import jax

from ..core.contract import Algorithm
from ..core.tree import PyTree
from ..parts import nets
from ..parts.action_values import ActionValues, pick


def has_value(algorithm: Algorithm, state: PyTree) -> bool:
    """Whether an algorithm assigns values to actions; imitation does not."""
    return algorithm.value is not None or isinstance(_critic(state), (nets.Critic, ActionValues))


def estimated_value(algorithm: Algorithm, cfg: PyTree, state: PyTree, obs: jax.Array, action: jax.Array) -> jax.Array:
    """The discounted return that a learner expects after `action` at `obs` and its own policy from there: [n].

    It is `Algorithm.value` if the algorithm has it, else the minimum of its critics, which its targets use, or the mean
    of the estimates of one network. The unit is treated rewards; soft values include the entropy bonus.

    Args:
        algorithm: the algorithm.
        cfg: its config, with floats as arrays.
        state: the state of one replica.
        obs: treated observations, [n, *obs].
        action: actions in inside units, [n, A], or [n] integers if discrete.

    Raises:
        TypeError: the algorithm assigns no values; check `has_value` first.
    """
    if algorithm.value is not None:
        return algorithm.value(cfg, state, obs, action)
    critic = _critic(state)
    if isinstance(critic, ActionValues):
        return pick(critic(obs), action).mean(-1)
    if isinstance(critic, nets.Critic):
        return critic(obs, action).min(0)
    raise TypeError(f"{algorithm.name} assigns no values to actions")


def _critic(state: PyTree) -> PyTree | None:
    return getattr(getattr(state, "critic", None), "net", None)
