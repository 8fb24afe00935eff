"""Stationary distributions of finite MDPs by duality, exactly: OptiDICE, and the ratios of a given policy (DualDICE).

Visits d of a policy are normalised: d(s, a) = (1 - gamma) sum_t gamma^t P(s_t = s, a_t = a). Entering a terminal state
ends the episode, so the sum of d is below 1 if episodes end. With B the map from states to pairs (v to v(s) for each
(s, a)) and P the transitions without those into terminal states, d satisfies the flow (1 - gamma) p0 + gamma P'd = B'd.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .tabular import Tabular

STEPS = 500  # Newton steps at most
TOLERANCE = 1e-12  # of the residual of the flow


class Optimum(NamedTuple):
    """The solution of OptiDICE."""

    v: np.ndarray  # [S] multipliers of the flow
    ratio: np.ndarray  # [S, A] w, of the best distribution to that of the data
    policy: np.ndarray  # [S, A] probabilities
    dual: float  # the smallest value of the dual objective, which is the largest of the primal one
    residual: float  # largest violation of the flow


class Ratios(NamedTuple):
    """The ratios of the visits of a policy to those of the data."""

    nu: np.ndarray  # [S, A] the minimiser of DualDICE
    ratio: np.ndarray  # [S, A] d of the policy divided by d of the data; 0 for pairs without data


def onward(mdp: Tabular) -> np.ndarray:
    """The transitions without those into terminal states, [S, A, S]."""
    return mdp.transition * ~mdp.terminal


def opti_dice(mdp: Tabular, data: np.ndarray, discount: float, alpha: float, behaviour: np.ndarray) -> Optimum:
    """OptiDICE with f(w) = (w - 1)^2 / 2, by Newton steps on its dual objective (Lee et al. 2021, section 3).

    The objective is convex and piecewise quadratic: L(v) = (1 - gamma) p0 v + E_D[w e - alpha f(w)] with the errors
    e = r + gamma P v - B v and w = max(0, e / alpha + 1). Its gradient is the violation of the flow by w d^D.

    Args:
        mdp: the problem, for example the one that a log describes (`batch_mdp`).
        data: [S, A] visits of the data, d^D; pairs without data get no visits.
        discount: gamma, below 1.
        alpha: weight of the divergence.
        behaviour: [S, A] probabilities of the policy in states that the solution does not visit.

    Raises:
        ValueError: no distribution over the pairs of the data satisfies the flow.
    """
    inner = ~mdp.terminal
    step = discount * onward(mdp) - np.eye(mdp.states)[:, None]  # e = r + step v
    step = np.where(inner[:, None, None], step, 0.0)
    weight = np.where(inner[:, None], data, 0.0)
    start = (1 - discount) * np.where(inner, mdp.start, 0.0)

    def at(v: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        e = mdp.reward + step @ v
        w = np.maximum(0.0, e / alpha + 1)
        loss = start @ v + (weight * (w * e - 0.5 * alpha * (w - 1) ** 2)).sum()
        return float(loss), w, start + np.einsum("sa,sat->t", weight * w, step)

    v = np.zeros(mdp.states)
    loss, w, gradient = at(v)
    for _ in range(STEPS):
        if np.abs(gradient).max() < TOLERANCE:
            break
        curvature = np.einsum("sa,sat,sau->tu", weight * (w > 0), step, step) / alpha
        damping = 1e-12 * max(1.0, np.abs(curvature).max())
        direction = np.linalg.lstsq(curvature + damping * np.eye(mdp.states), gradient, rcond=None)[0]
        size = 1.0
        while size > 1e-12 and at(v - size * direction)[0] > loss - 1e-4 * size * (gradient @ direction):
            size *= 0.5
        v = v - size * direction
        loss, w, gradient = at(v)
    residual = float(np.abs(gradient).max())
    if residual > 1e-6:
        raise ValueError(f"the flow is violated by {residual:.1e} after {STEPS} steps: the data do not cover a policy")
    visits = weight * w
    total = visits.sum(1, keepdims=True)
    policy = np.where(total > 0, visits / np.where(total > 0, total, 1.0), behaviour)
    return Optimum(v, w, policy, loss, residual)


def dual_dice(mdp: Tabular, policy: np.ndarray, data: np.ndarray, discount: float) -> Ratios:
    """The ratios of a policy, from the linear system of DualDICE (Nachum et al. 2019, arXiv:1906.04733, eq. 8).

    nu minimises E_D[(nu - gamma P_pi nu)^2] / 2 - (1 - gamma) E[nu(s0, a0)], and the ratio is nu - gamma P_pi nu.

    Args:
        mdp: the problem.
        policy: [S, A] probabilities of the policy.
        data: [S, A] visits of the data; positive wherever the policy goes.
        discount: gamma, below 1.
    """
    pairs = mdp.states * mdp.actions
    moves = (onward(mdp)[..., None] * policy).reshape(pairs, pairs)
    change = np.eye(pairs) - discount * moves
    start = (1 - discount) * (np.where(mdp.terminal, 0.0, mdp.start)[:, None] * policy).reshape(pairs)
    share = np.where(mdp.terminal[:, None], 0.0, data).reshape(pairs)
    system = change.T @ (share[:, None] * change)
    nu = np.linalg.lstsq(system, start, rcond=None)[0]
    ratio = np.where(share > 0, change @ nu, 0.0)
    return Ratios(nu.reshape(policy.shape), ratio.reshape(policy.shape))
