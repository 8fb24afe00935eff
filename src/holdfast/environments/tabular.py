"""Finite MDPs solved exactly, in float64."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class Tabular:
    """A finite MDP with S states and A actions."""

    transition: np.ndarray  # [S, A, S], probabilities
    reward: np.ndarray  # [S, A], expected
    terminal: np.ndarray  # [S] bool: entering it ends the episode
    start: np.ndarray  # [S], probabilities of the first state

    @property
    def states(self) -> int:
        """S, the number of states."""
        return self.reward.shape[0]

    @property
    def actions(self) -> int:
        """A, the number of actions."""
        return self.reward.shape[1]


class Solution(NamedTuple):
    """A policy and its exact values."""

    v: np.ndarray  # [S]
    q: np.ndarray  # [S, A]
    policy: np.ndarray  # [S, A], probabilities


def value(mdp: Tabular, policy: np.ndarray, discount: float) -> Solution:
    """The exact values of a policy, from the linear system V = r + discount P V.

    Args:
        mdp: the problem.
        policy: [S, A] probabilities of actions.
        discount: gamma; below 1 if episodes may be infinite.
    """
    onward = discount * mdp.transition * ~mdp.terminal
    matrix = np.eye(mdp.states) - np.einsum("sa,sat->st", policy, onward)
    v = np.linalg.solve(matrix, np.where(mdp.terminal, 0.0, (policy * mdp.reward).sum(1)))
    return Solution(np.where(mdp.terminal, 0.0, v), mdp.reward + onward @ v, policy)


def solve(mdp: Tabular, discount: float, allowed: np.ndarray | None = None) -> Solution:
    """The optimal values and a deterministic optimal policy, by policy iteration.

    Args:
        mdp: the problem.
        discount: gamma; below 1 if episodes may be infinite.
        allowed: [S, A] bool, the actions that the policy may take, for instance those in the data; None: all. The
            values `q` of other actions are those of taking them once and following the policy afterwards.
    """
    allowed = np.ones_like(mdp.reward, bool) if allowed is None else allowed
    each = np.arange(mdp.states)
    chosen = allowed.argmax(1)
    while True:
        found = value(mdp, np.eye(mdp.actions)[chosen], discount)
        q = np.where(allowed, found.q, -np.inf)
        better = q.max(1) > q[each, chosen] + 1e-12 * (1 + np.abs(q[each, chosen]))
        if not better.any():
            return found
        chosen = np.where(better, q.argmax(1), chosen)


def occupancy(mdp: Tabular, policy: np.ndarray, discount: float) -> np.ndarray:
    """Discounted expected visits of states and actions, [S, A]. The value is the sum of their product with rewards."""
    onward = discount * np.einsum("sa,sat->st", policy, mdp.transition * ~mdp.terminal)
    visits = np.linalg.solve(np.eye(mdp.states) - onward.T, np.where(mdp.terminal, 0.0, mdp.start))
    return visits[:, None] * policy
