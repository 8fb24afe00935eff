"""The finite MDP that a batch of transitions describes, to compare batch-constrained Q-learning with exact solutions.

Fujimoto, Meger, Precup 2019 (arXiv:1812.02900), section 4.1: p_B(s'|s, a) = N(s, a, s') / N(s, a). A pair that is not
in the batch leads to an end with its initial value.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .tabular import Solution, Tabular, solve


class BatchMDP(NamedTuple):
    """An MDP of S states and an end, estimated from counts."""

    mdp: Tabular  # S + 1 states, the last of which is the end
    counts: np.ndarray  # [S, A] number of transitions of each pair
    support: np.ndarray  # [S, A] bool: pairs with at least `least_count` transitions

    def solve(self, discount: float) -> Solution:
        """The exact best policy among supported actions, and its values [S] and [S, A].

        Pairs without support have their initial value, and so has a state without supported actions.
        """
        known = np.vstack([self.support, np.zeros_like(self.support[:1])])
        allowed = np.where(known.any(1, keepdims=True), known, True)
        found = solve(self.mdp, discount, allowed)
        return Solution(*(x[:-1] for x in found))


def states_of(observations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct rows of `observations` [M, d] in sorted order, [S, d], and the state of each row, [M]."""
    codes, index = np.unique(observations, axis=0, return_inverse=True)
    return codes, index.reshape(-1)


def batch_mdp(
    state: np.ndarray,
    action: np.ndarray,
    reward: np.ndarray,
    next_state: np.ndarray,
    terminated: np.ndarray,
    shape: tuple[int, int],
    initial_value: float = 0.0,
    least_count: int = 1,
) -> BatchMDP:
    """The MDP of a batch of N transitions.

    Args:
        state: [N] integers.
        action: [N] integers.
        reward: [N]; the reward of a pair is the mean of its logged rewards.
        next_state: [N] integers.
        terminated: [N] bool, true ends without time limits.
        shape: (S, A).
        initial_value: the value of pairs that are not supported.
        least_count: the number of transitions from which a pair is supported.
    """
    states, actions = shape
    end = states
    seen = np.zeros((states + 1, actions, states + 1))
    paid = np.zeros((states + 1, actions))
    np.add.at(seen, (state, action, np.where(terminated, end, next_state)), 1.0)
    np.add.at(paid, (state, action), reward)
    counts = seen.sum(2)
    support = counts >= least_count
    divisor = np.maximum(counts, 1)
    to_end = np.eye(states + 1)[end]
    transition = np.where(support[:, :, None], seen / divisor[:, :, None], to_end)
    payoff = np.where(support, paid / divisor, initial_value)
    payoff[end] = 0.0
    start = np.full(states + 1, 1 / states)
    start[end] = 0.0
    mdp = Tabular(transition, payoff, np.arange(states + 1) == end, start)
    return BatchMDP(mdp, counts[:-1].astype(int), support[:-1])
