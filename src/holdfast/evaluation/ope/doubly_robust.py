"""Doubly robust estimators: a model of the values, corrected by weighted residuals of the logged rewards.

DR: Jiang, Li 2016 (arXiv:1511.03722). WDR and MAGIC: Thomas, Brunskill 2016 (arXiv:1604.00923). Marginalised: Kallus,
Uehara 2020 (arXiv:1908.08526). `Log.q` and `Log.v` come from a model that was fitted on other episodes.
"""

from __future__ import annotations

import numpy as np

from ...core.errors import UserError
from .log import Log, mean, ratio

HORIZONS = 16  # largest number of partial returns that MAGIC mixes
DRAWS = 200  # resamples of its interval of WDR
RIDGE = 1e-10  # share of the trace that is added to the diagonal of its quadratic form


def model(log: Log) -> tuple[np.ndarray, np.ndarray]:
    """Q [n, T] and V [n, T + 1] of the log.

    Raises:
        UserError: the log has no model values.
    """
    if log.q is None or log.v is None:
        raise UserError("this estimator needs the values of a model (FQE): they are not known")
    return log.q, log.v


def dm(log: Log, counts: np.ndarray) -> np.ndarray:
    """The direct method: the mean value of the model at first observations, [B]."""
    return mean(counts, model(log)[1][:, 0])


def dr_terms(log: Log, weight: np.ndarray | None = None) -> np.ndarray:
    """sum_t gamma^t (w_t (r_t - Q) + w_{t-1} V(s_t)) of each episode, [n]; at a cut gamma^L w_{L-1} V(s_L) is added.

    Args:
        log: the episodes.
        weight: [n, T] other weights, for instance `marginal` ones; None: w_t.
    """
    q, v = model(log)
    weight = log.weight if weight is None else weight
    before = np.concatenate([np.ones((log.n, 1)), weight], 1)
    return (weight * (log.reward - q)) @ log.powers[:-1] + (before * v) @ log.powers


def correction_terms(log: Log) -> np.ndarray:
    """What the logged rewards change in the direct method, episode by episode: [n]."""
    return dr_terms(log) - model(log)[1][:, 0]


def dr(log: Log, counts: np.ndarray) -> np.ndarray:
    """Doubly robust, [B]: unbiased with true ratios, whatever the model."""
    return mean(counts, dr_terms(log))


def wdr(log: Log, counts: np.ndarray) -> np.ndarray:
    """Weighted doubly robust, [B]: `dr` with weights that are normalised at every step."""
    q, v = model(log)
    residual = ratio(counts @ (log.scaled * (log.reward - q)), counts @ log.scaled)
    following = ratio(counts @ (log.scaled * v[:, 1:]), counts @ log.scaled)
    first = mean(counts, v[:, 0])
    return first + residual @ log.powers[:-1] + following @ log.powers[1:]


def horizons(steps: int) -> np.ndarray:
    """The partial returns that `magic` mixes: -1 (the model alone) to T - 1 (WDR), thinned to `HORIZONS`."""
    return np.unique(np.round(np.linspace(-1, steps - 1, min(HORIZONS, steps + 1))).astype(int))


def partial_returns(log: Log, count: np.ndarray) -> np.ndarray:
    """The terms of the partial returns g^j of every episode, [n, k]; their sum over episodes is g^j.

    Args:
        log: the episodes.
        count: [n] how often each episode occurs.
    """
    q, v = model(log)
    scaled = log.scaled * count[:, None]
    normal = ratio(scaled, np.broadcast_to(scaled.sum(0), scaled.shape))
    before = np.concatenate([(count / count.sum())[:, None], normal], 1)
    steps = (normal * (log.reward - q) + before[:, :-1] * v[:, :-1]) * log.powers[:-1]
    sums = np.concatenate([np.zeros((log.n, 1)), np.cumsum(steps, 1)], 1)  # sums[:, j + 1]: up to step j
    whole = sums + log.powers * before * v
    return whole[:, horizons(log.steps) + 1]


def magic(log: Log, counts: np.ndarray, bounds: tuple[float, float] | None = None, seed: int = 0) -> np.ndarray:
    """MAGIC, [B]: the mixture of partial returns with the smallest estimated squared error.

    Args:
        log: the episodes.
        counts: [B, n] resamples.
        bounds: the interval of WDR; None: 5 % and 95 % of `DRAWS` resamples, widened to contain WDR.
        seed: seed of these resamples.
    """
    whole = np.ones((1, log.n))
    centre = wdr(log, whole)[0]
    if bounds is None:
        rng = np.random.default_rng(seed)
        drawn = wdr(log, rng.multinomial(log.n, np.full(log.n, 1 / log.n), DRAWS).astype(float))
        low, high = np.quantile(drawn, [0.05, 0.95])
        bounds = (min(low, centre), max(high, centre))
    found = np.empty(len(counts))
    for b, count in enumerate(counts):  # a small quadratic program for each resample
        terms = partial_returns(log, count)
        shift = terms[:, -1].sum() - centre
        found[b] = mixture(terms, count, (bounds[0] + shift, bounds[1] + shift)) @ terms.sum(0)
    return found


def mixture(terms: np.ndarray, count: np.ndarray, bounds: tuple[float, float]) -> np.ndarray:
    """MAGIC's weights x of the partial returns, [k]: they minimise x' (Omega + b b') x on the simplex.

    Args:
        terms: [n, k] terms of the partial returns, which contain `count`.
        count: [n] how often each episode occurs.
        bounds: the interval of WDR.
    """
    n = count.sum()
    g = terms.sum(0)
    single = ratio(terms, np.broadcast_to(count[:, None], terms.shape)) - g / n  # of one occurrence of each episode
    omega = n / (n - 1) * (single * count[:, None]).T @ single if n > 1 else np.zeros((len(g), len(g)))
    bias = np.where(g > bounds[1], g - bounds[1], np.where(g < bounds[0], g - bounds[0], 0.0))
    form = omega + np.outer(bias, bias)
    return smallest_on_simplex(form + RIDGE * np.trace(form) * np.eye(len(g)))


def smallest_on_simplex(form: np.ndarray) -> np.ndarray:
    """The x of the simplex with the smallest x' form x, [k], for a positive definite form [k, k].

    Wolfe's method for the point of smallest norm in a polytope (Wolfe 1976, doi:10.1007/BF01580381): exact, after
    finitely many steps.
    """
    k = len(form)
    if not np.any(form):
        return np.eye(k)[-1]
    tolerance = 1e-12 * np.abs(form).max()
    active = [int(np.argmin(np.diag(form)))]
    x = np.eye(k)[active[0]]
    for _ in range(20 * k):
        gradient = form @ x
        new = int(np.argmin(gradient))
        if new in active or x @ gradient - gradient[new] <= tolerance:
            break
        active.append(new)
        while True:
            inner = np.linalg.solve(form[np.ix_(active, active)], np.ones(len(active)))
            inner /= inner.sum()
            if (inner > 0).all():
                x = np.zeros(k)
                x[active] = inner
                break
            old = x[active]
            falling = inner <= 0
            step = (old[falling] / (old[falling] - inner[falling])).min()
            mixed = old + step * (inner - old)
            x = np.zeros(k)
            x[active] = np.where(mixed > 1e-15, mixed, 0.0)
            active = [one for one in active if x[one] > 0]
            x /= x.sum()
    return x
