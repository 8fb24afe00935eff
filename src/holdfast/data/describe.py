"""Summary statistics of a data set, for `holdfast data info`, the demo and reports."""

from __future__ import annotations

from typing import Any

import numpy as np

from .arrays import take
from .chunks import moments
from .dataset import Dataset


def describe(dataset: Dataset) -> dict[str, Any]:
    """Sizes, returns, lengths, ends, spaces and coverage of a data set, JSON-ready. Returns are raw."""
    returns = dataset.returns()
    last = dataset.offsets[1:] - 1
    both = dataset.terminations & dataset.truncations
    scores = dataset.normalized(returns)
    return {
        "id": dataset.id,
        "fingerprint": dataset.fingerprint,
        "environment": dataset.env_id,
        "episodes": dataset.n_episodes,
        "steps": dataset.n_steps,
        "time_limit": dataset.horizon,
        "observation_space": str(dataset.observation_space),
        "action_space": str(dataset.action_space),
        "columns": sorted(dataset.columns),
        "returns": _spread(returns),
        "lengths": _spread(dataset.lengths),
        "rewards": _spread(dataset.rewards),
        "reference": list(dataset.reference) if dataset.reference else None,
        "normalized_mean": None if scores is None or not len(scores) else float(scores.mean()),
        "ends": {
            "terminated": int(dataset.terminations[last].sum()),
            "truncated": int((dataset.truncations[last] & ~dataset.terminations[last]).sum()),
            "neither": int((~(dataset.terminations | dataset.truncations))[last].sum()),
            "both": int(both.sum()),
        },
        "actions": action_coverage(dataset),
        "observations": _observations(dataset),
        "provenance": {k: v for k, v in dataset.provenance.items() if k != "faults"},
    }


@np.errstate(invalid="ignore")
def action_coverage(dataset: Dataset) -> list[dict[str, Any]]:
    """How the log covers its actions.

    Discrete: the share of each action, by its number, or by its label if the data come from a table. Box: for each
    dimension the mean, the standard deviation, the range, and the shares of actions at the lower and at the upper bound
    (within 1 % of the range).
    """
    if not dataset.n_steps:
        return []
    if dataset.discrete:
        start = int(dataset.action_space.start)  # type: ignore[union-attr]
        count = dataset.spec.action
        inside = dataset.actions.astype(np.int64) - start
        shares = np.bincount(inside[(inside >= 0) & (inside < count)], minlength=count) / dataset.n_steps
        names = dataset.action_names or range(start, start + count)
        return [{"action": name, "share": float(share)} for name, share in zip(names, shares, strict=True)]
    low, high = dataset.action_space.low, dataset.action_space.high  # type: ignore[union-attr]
    out: list[dict[str, Any]] = _dimensions(dataset.actions)
    columns = () if dataset.table is None else dataset.table.action.columns
    for k, name in enumerate(columns):
        out[k] = {"column": name, **out[k]}
    for k, numbers in enumerate(out[: len(low)]):
        edge = 0.01 * (float(high[k]) - float(low[k]))
        numbers["low"] = float(low[k])
        numbers["high"] = float(high[k])
        numbers["at_low"] = float((dataset.actions[:, k] <= low[k] + edge).mean())
        numbers["at_high"] = float((dataset.actions[:, k] >= high[k] - edge).mean())
    return out


def histogram(values: np.ndarray, bins: int = 10, width: int = 30) -> list[tuple[str, int, str]]:
    """A text histogram of the finite values: rows of (range, count, bar); empty if there are no values."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return []
    if np.ptp(finite) == 0:
        return [(f"{finite[0]:.4g}", len(finite), "█" * width)]
    counts, edges = np.histogram(finite, bins)
    top = int(counts.max())
    digits = max(0, 2 - int(np.floor(np.log10(np.ptp(finite)))))
    rows = []
    for count, low, high in zip(counts.tolist(), edges[:-1], edges[1:], strict=True):
        bar = "█" * round(width * count / top) or ("▏" if count else "")
        rows.append((f"{low:.{digits}f} to {high:.{digits}f}", count, bar))
    return rows


@np.errstate(over="ignore", invalid="ignore")  # values that are not finite are shown as they are
def _spread(values: np.ndarray) -> dict[str, float]:
    if not len(values):
        return {}
    quartiles = np.quantile(values, [0.0, 0.25, 0.5, 0.75, 1.0])
    named = dict(zip(("min", "lower", "median", "upper", "max"), quartiles.tolist(), strict=True))
    return {"mean": float(values.mean()), "std": float(values.std()), **named}


def _observations(dataset: Dataset) -> list[dict[str, Any]]:
    """The spread of each dimension of the observations, with its name if the data come from a table."""
    found = _dimensions(take(dataset.observations, slice(None)))
    if dataset.table is None:
        return found
    return [{"column": name, **spread} for name, spread in zip(dataset.table.dimensions, found, strict=True)]


@np.errstate(over="ignore", invalid="ignore")
def _dimensions(columns: np.ndarray) -> list[dict[str, float]]:
    if not len(columns) or columns.ndim != 2:
        return []
    mean, std = moments(columns)
    numbers = {"mean": mean, "std": std, "min": columns.min(0), "max": columns.max(0)}
    return [{name: float(v[k]) for name, v in numbers.items()} for k in range(columns.shape[1])]
