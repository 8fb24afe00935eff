"""The sample of steps that the doctor looks at: states in comparable units, regions of states, and neighbours."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np

from ..arrays import take
from ..dataset import Dataset

MOST = 4000  # steps that are compared with each other
QUERIES = 1000  # steps whose neighbours are looked for
REGIONS = 16  # of states
PER_REGION = 25  # steps that a region has on average at least
PER_DIMENSION = 5  # and for each dimension of the states


class Sample(NamedTuple):
    """S steps of the log, drawn without replacement."""

    rows: np.ndarray  # [S] steps, rising
    states: np.ndarray  # [S, k] float64: dimensions that vary, each divided by its standard deviation
    episode: np.ndarray  # [S]
    region: np.ndarray  # [S] region of the state
    regions: int  # number of regions
    unit: float  # the median distance between two steps


def sample_of(dataset: Dataset) -> Sample:
    """Draw the sample. The same data give the same sample.

    Args:
        dataset: data with observations that are vectors.
    """
    from scipy.cluster.vq import kmeans2

    rng = np.random.default_rng(0)
    count = min(MOST, dataset.n_steps)
    rows = np.sort(rng.choice(dataset.n_steps, count, replace=False))
    states = take(dataset.observations, dataset.observation_rows[rows]).astype(np.float64)
    states = np.nan_to_num(states, posinf=0.0, neginf=0.0)
    spread = states.std(0)
    varies = spread > 1e-6 * np.abs(states).max(0, initial=0)
    states = states[:, varies] / spread[varies]
    regions = max(1, min(REGIONS, count // max(PER_REGION, PER_DIMENSION * states.shape[1])))
    region = np.zeros(count, np.int64)
    if regions > 1 and states.shape[1]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a region may be empty
            region = kmeans2(states, regions, minit="++", rng=np.random.default_rng(1))[1]
    pairs = rng.integers(0, count, (2, 2000))
    apart = np.linalg.norm(states[pairs[0]] - states[pairs[1]], axis=1)
    unit = float(np.median(apart[apart > 0])) if (apart > 0).any() else 1.0
    return Sample(rows, states, dataset.episode_of[rows], region, regions, unit)


def neighbours(sample: Sample, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The nearest steps of other episodes.

    Args:
        sample: the sample.
        count: how many neighbours of each step.

    Returns:
        The steps that were looked at, [Q]; their neighbours, [Q, count]; the distances in units of the sample,
        [Q, count], infinite if there is no such step. Steps are places in the sample.
    """
    chosen = np.arange(len(sample.rows))
    if len(chosen) > QUERIES:
        chosen = np.sort(np.random.default_rng(2).choice(len(chosen), QUERIES, replace=False))
    x = sample.states
    squares = (x**2).sum(1)
    count = min(count, len(x))
    near = np.empty((len(chosen), count), np.int64)
    distances = np.empty((len(chosen), count))
    for start in range(0, len(chosen), 250):
        part = chosen[start : start + 250]
        gaps = squares[part, None] + squares[None] - 2 * x[part] @ x.T
        gaps[sample.episode[part, None] == sample.episode[None]] = np.inf
        best = np.argpartition(gaps, count - 1, axis=1)[:, :count]
        found = np.take_along_axis(gaps, best, 1)
        order = np.argsort(found, axis=1)
        near[start : start + 250] = np.take_along_axis(best, order, 1)
        distances[start : start + 250] = np.sqrt(np.maximum(np.take_along_axis(found, order, 1), 0)) / sample.unit
    return chosen, near, distances


def explained(x: np.ndarray, y: np.ndarray, bins: int = 20) -> float:
    """The share of the variance of y that x alone explains, by a line or by bins of x, whichever explains more.

    The share of the bins is the adjusted R^2 of the means of y in them, which is 0 on average if x is unrelated.

    Args:
        x: `[S]`; equal values share a bin.
        y: `[S]`.
        bins: number of bins of x, by its quantiles.

    Returns:
        From 0 to 1; 0 if one of the two is constant.
    """
    total = y.var()
    if not total > 0 or np.ptp(x) == 0:
        return 0.0
    line = float(np.corrcoef(x, y)[0, 1] ** 2)
    index = binned(x, bins)
    counts = np.bincount(index)
    means = np.bincount(index, y) / np.maximum(counts, 1)
    within = ((y - means[index]) ** 2).sum()
    used = int((counts > 0).sum())
    freedom = len(y) - used
    if freedom <= 0:
        return line
    return float(max(line, 1 - within / freedom / (total * len(y) / (len(y) - 1))))


def binned(x: np.ndarray, bins: int) -> np.ndarray:
    """The bin of each value, [S]: one for each value if there are few, else by quantiles."""
    each = np.unique(x)
    if len(each) <= bins:
        return np.searchsorted(each, x)
    edges = np.unique(np.quantile(x, np.linspace(0, 1, bins + 1)[1:-1]))
    return np.searchsorted(edges, x, side="right")
