"""Probabilities and log-densities of the actions of a policy, as compiled functions, and what they need.

Shapes: n rows; actions are in inside units, [n, A] in [-1, 1], or [n] integers from 0 if discrete.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..core.contract import Algorithm
from ..core.errors import UserError
from ..core.spec import Memory, Obs, Seen, State
from ..core.tree import PyTree
from ..parts.distributions import Categorical, Deterministic
from . import q_values
from .acting import Layout
from .pruning import reads


def require_distribution(algorithm: Algorithm) -> Callable[..., Any]:
    """The function that gives the distribution of an algorithm's actions.

    Raises:
        UserError: the algorithm does not have it.
    """
    if algorithm.dist is None:
        raise UserError(f"{algorithm.name} gives no distribution of its actions: it only acts")
    return algorithm.dist


@functools.lru_cache(maxsize=64)
def log_probabilities(algorithm: str, dist: Callable[..., Any], layout: Layout) -> Callable[..., jax.Array]:
    """`(leaves, cfg leaves, seen, memory) -> [n, A]` log-probabilities of every discrete action."""

    def of_all(leaves: tuple, cfg_leaves: tuple, seen: Seen, memory: Memory) -> jax.Array:
        cfg, state = layout.build(leaves, cfg_leaves)
        found = dist(cfg, state, seen, memory)
        if not isinstance(found, Categorical):
            raise UserError(f"the distribution of {algorithm} is a {type(found).__name__}, without probabilities")
        return found.log_probs()

    return jax.jit(of_all)


@functools.lru_cache(maxsize=64)
def log_density(algorithm: str, dist: Callable[..., Any], layout: Layout) -> Callable[..., jax.Array]:
    """`(leaves, cfg leaves, seen, memory, action) -> [n]` log-densities of continuous actions, in inside units."""

    def of_one(leaves: tuple, cfg_leaves: tuple, seen: Seen, memory: Memory, action: jax.Array) -> jax.Array:
        cfg, state = layout.build(leaves, cfg_leaves)
        found = dist(cfg, state, seen, memory)
        if isinstance(found, Deterministic):
            raise UserError(f"the policy of {algorithm} is deterministic: its actions have no density")
        return found.log_prob(action)

    return jax.jit(of_one)


def require_value(
    algorithm: Algorithm, cfg: PyTree, state: State, layout: Layout, obs: Obs, action: np.ndarray
) -> None:
    """Refuse a policy that assigns no values, or whose state lacks the critics that say them.

    Args:
        algorithm: the algorithm.
        cfg: its config, with floats as arrays.
        state: the state of the policy.
        layout: which leaves of the state the policy has.
        obs: treated observations, [n, *obs].
        action: actions, [n, ...].

    Raises:
        UserError: naming what to do.
    """
    if not q_values.has_value(algorithm, state):
        raise UserError(f"{algorithm.name} assigns no values to actions")

    def value(state: State) -> jax.Array:
        return q_values.estimated_value(algorithm, cfg, state, obs, jnp.asarray(action))

    if any(used and not kept for used, kept in zip(reads(value, state), layout.live, strict=True)):
        raise UserError(
            f"this policy of {algorithm.name} was shipped without its critic, which no action needs: "
            "run.policy(critic=True) of its run reads it from the checkpoint"
        )
