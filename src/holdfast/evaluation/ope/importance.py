"""Importance sampling: rewards of logged episodes, weighted by how likely the policy would have made them.

Precup, Sutton, Singh 2000, "Eligibility traces for off-policy policy evaluation". Each estimator is a function of
resamples: `counts` [B, n] says how often each episode occurs in each of B resamples, and ones give the estimate itself.
The normalisers at step t contain ended episodes with their last weight; without them the limit is not the value.
"""

from __future__ import annotations

import numpy as np

from .log import Log, mean, ratio


def tis_terms(log: Log) -> np.ndarray:
    """w_{L-1} G of each episode, [n]."""
    return log.last_weight * log.returns


def pdis_terms(log: Log) -> np.ndarray:
    """sum_t gamma^t w_t r_t of each episode, [n]."""
    return np.where(log.reward != 0, log.weight * log.reward, 0.0) @ log.powers[:-1]


def tis(log: Log, counts: np.ndarray) -> np.ndarray:
    """Trajectory-wise importance sampling, [B]: unbiased, with the largest variance."""
    return mean(counts, tis_terms(log))


def pdis(log: Log, counts: np.ndarray) -> np.ndarray:
    """Per-decision importance sampling, [B]: unbiased; a reward is weighted by the ratios up to its step."""
    return mean(counts, pdis_terms(log))


def wis(log: Log, counts: np.ndarray) -> np.ndarray:
    """Weighted importance sampling, [B]: `tis` divided by the mean weight; its bias is of order 1 / n."""
    scaled = log.scaled[:, -1]
    return ratio(counts @ (scaled * log.returns), counts @ scaled)


def sn_pdis(log: Log, counts: np.ndarray) -> np.ndarray:
    """Per-decision importance sampling with weights that are normalised at every step, [B]."""
    rewards = ratio(counts @ (log.scaled * log.reward), counts @ log.scaled)
    return rewards @ log.powers[:-1]


def wis_influence(log: Log) -> np.ndarray:
    """n times what each episode contributes to the error of `wis`, [n] (delta method)."""
    scaled = log.scaled[:, -1]
    value = wis(log, np.ones((1, log.n)))[0]
    return log.n * ratio(scaled * (log.returns - value), np.full(log.n, scaled.sum()))


def sn_pdis_influence(log: Log) -> np.ndarray:
    """n times what each episode contributes to the error of `sn_pdis`, [n] (delta method)."""
    total = log.scaled.sum(0)
    share = ratio(log.scaled, np.broadcast_to(total, log.scaled.shape))
    rewards = (share * log.reward).sum(0)
    return log.n * (share * (log.reward - rewards)) @ log.powers[:-1]
