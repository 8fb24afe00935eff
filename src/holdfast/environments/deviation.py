"""The exact values of a log under the weights of MABCQ (`parts.deviations`), for finite problems."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .batch_mdp import BatchMDP
from .tabular import Solution

ROUNDS = 10_000  # of value iteration at most


class Deviated(NamedTuple):
    """The problem that weighted transitions describe, and its solution."""

    transition: np.ndarray  # [S, A, S] the weighted probabilities; rows of pairs without data are 0
    weight: np.ndarray  # [S, A, S] of each transition
    solution: Solution  # values [S] and [S, A], policy [S, A]


def solve_deviated(
    batch: BatchMDP,
    paid: np.ndarray,
    discount: float,
    bounds: tuple[float, float] = (0.1, 10.0),
    normalise: bool = True,
    deviate: bool = True,
    tolerance: float = 1e-10,
) -> Deviated:
    """Solve the problem with P^ = lambda_vd lambda_tn P_B / z, whose weights depend on the values.

    Args:
        batch: the log as a finite problem; its last state is the end.
        paid: [S, A, S + 1] mean reward of each transition of the log.
        discount: gamma.
        bounds: the smallest and the largest of lambda_vd lambda_tn / z.
        normalise: divide by P_B (transition normalisation).
        deviate: multiply by lambda_vd (value deviation).
        tolerance: largest change of a value in the last round.

    Raises:
        ValueError: the values do not settle.
    """
    known = batch.support
    probability = batch.mdp.transition[:-1]  # [S, A, S + 1]
    seen = (probability > 0) & known[:, :, None]
    v = np.zeros(len(known) + 1)
    for _ in range(ROUNDS):
        weight = np.ones_like(probability)
        if deviate:
            expected = (probability * v).sum(2, keepdims=True)
            weight = np.maximum(1 + (v - expected) / np.maximum(np.abs(expected), 1e-6), 0)
        if normalise:
            weight = weight / np.where(seen, probability, 1.0)
        mean = np.where(seen, weight * probability, 0.0).sum(2, keepdims=True)  # z
        weight = weight / np.where(mean > 0, mean, 1.0)
        weight = np.where(seen, np.clip(weight, *bounds), 0.0)
        total = (weight * probability).sum(2, keepdims=True)
        transition = weight * probability / np.where(total > 0, total, 1.0)
        q = np.where(known, (transition * (paid + discount * v)).sum(2), 0.0)
        among = np.where(known.any(1, keepdims=True), known, True)
        best = np.where(among, q, -np.inf)
        new = np.append(best.max(1), 0.0)
        moved = np.abs(new - v).max()
        v = new
        if moved < tolerance:
            policy = np.eye(q.shape[1])[best.argmax(1)]
            return Deviated(transition[:, :, :-1], weight[:, :, :-1], Solution(v[:-1], q, policy))
    raise ValueError(f"the values still move by {moved:.3g} after {ROUNDS} rounds")
