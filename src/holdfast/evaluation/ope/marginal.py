"""Marginal ratios of a finite set of states, and what lies between them and whole products of ratios.

Xie, Ma, Wang 2019 (arXiv:1906.03393) for the recursion; Yuan et al. 2021 (arXiv:2111.03936) for the spectrum.
"""

from __future__ import annotations

import numpy as np

from ...core.errors import UserError
from .log import Log, ratio

MOST_STATES = 1000


def states_of(observations: np.ndarray) -> np.ndarray | None:
    """Numbers of the different observations, [M]; None if there are too many of them for a table.

    Args:
        observations: [M, d].
    """
    flat = np.ascontiguousarray(observations.reshape(len(observations), -1))
    sample = flat[: 20 * MOST_STATES]
    if len(np.unique(sample, axis=0)) > min(MOST_STATES, max(1, len(sample) // 4)):
        return None
    found, numbers = np.unique(flat, axis=0, return_inverse=True)
    return numbers.reshape(-1) if len(found) <= min(MOST_STATES, max(1, len(flat) // 4)) else None


def state_ratios(log: Log, states: np.ndarray) -> np.ndarray:
    """d^pi_t(s_t) / d^mu_t(s_t) at every logged step, [n, T]; the last value is kept after an end.

    d^pi_{t+1}(s') is the mean over episodes of (d^pi_t / d^mu_t)(s_t) rho_t 1{s_{t+1} = s'}.

    Args:
        log: the episodes, with ratios. None of them may be cut.
        states: [n, T] numbers of the states from 0; an end is a state of its own, -1.

    Raises:
        UserError: an episode is cut.
    """
    if log.cut.any():
        raise UserError("marginal ratios need episodes that reach the horizon: some are cut before")
    assert log.log_ratio is not None
    step = np.exp(np.where(log.alive, log.log_ratio, 0.0))
    count = int(states.max()) + 2
    found = np.ones((log.n, log.steps))
    carried = np.ones(log.n)  # (d^pi_t / d^mu_t)(s_t) rho_t of each episode
    for t in range(1, log.steps):
        carried = found[:, t - 1] * step[:, t - 1]
        here = states[:, t] + 1
        visits = np.bincount(here, minlength=count)
        mass = np.bincount(here, carried, minlength=count)
        found[:, t] = ratio(mass, visits.astype(float))[here]
    return found


def marginal_weights(log: Log, states: np.ndarray, products: int = 0) -> np.ndarray:
    """W_t = (d^pi_{t-k} / d^mu_{t-k})(s_{t-k}) times the ratios of the last k + 1 steps, [n, T].

    Args:
        log: the episodes.
        states: [n, T], see `state_ratios`.
        products: k; 0: the marginal ratio of (s_t, a_t). From T - 1 it is the whole product w_t.
    """
    marginal = state_ratios(log, states)
    total = np.concatenate([np.zeros((log.n, 1)), log.log_weight], 1)  # total[:, t + 1] = log w_t
    t = np.arange(log.steps)
    start = np.maximum(t - products, 0)
    with np.errstate(invalid="ignore"):
        recent = np.exp(total[:, t + 1] - total[:, start])
    return marginal[:, start] * np.where(np.isnan(recent), 0.0, recent)  # -inf - -inf: an impossible action before


def mis_terms(log: Log, weight: np.ndarray) -> np.ndarray:
    """sum_t gamma^t W_t r_t of each episode, [n]."""
    return (weight * log.reward) @ log.powers[:-1]
