"""Whether logged propensities are those of the policy that chose the actions."""

from __future__ import annotations

import numpy as np

from ..dataset import Dataset
from .findings import Finding

RARE = 0.01  # propensities below are small
WRONG = 4.0  # standard errors
MOST_NAMED = 3


def calibration(dataset: Dataset) -> list[Finding]:
    """Compare logged propensities with the logged actions.

    If p is the probability of the logged action, the mean of 1{a} / p is 1 for every action a that is legal everywhere,
    and the mean of 1 / p is the mean number of legal actions. The standard error is that over clusters, or episodes.
    """
    propensity = dataset.propensity
    if propensity is None:
        text = "The log has no propensities: off-policy estimates need a model of the logging policy."
        return [Finding("propensities", "note", text, "log the probability of each action that is taken")]
    numbers: dict[str, float | int | str | None] = {
        "least": float(propensity.min()),
        "rare": float((propensity < RARE).mean()),
    }
    small = f"The least is {propensity.min():.3g}; {numbers['rare']:.1%} are below {RARE}."
    if not dataset.discrete:
        return [Finding("propensities", "note", f"Densities of the logged actions are given. {small}", numbers=numbers)]
    if propensity.min() == 1:
        text = "Every propensity is 1: the log is deterministic, so no other policy can be compared by weights."
        return [Finding("propensities", "warn", text, "use estimates by a model only", numbers)]
    mask = dataset.columns.get("action_mask")
    count = dataset.spec.action
    legal = np.full(dataset.n_steps, count) if mask is None else mask[dataset.observation_rows].astype(bool).sum(1)
    unit = dataset.episode_of if dataset.cluster is None else np.unique(dataset.cluster, return_inverse=True)[1]
    z = z_of(1 / propensity - legal, unit)
    numbers |= {"mean_inverse": float((1 / propensity).mean()), "legal": float(legal.mean()), "z": z}
    text = (
        f"The mean of 1 / propensity is {numbers['mean_inverse']:.4g}, and {legal.mean():.4g} actions are legal "
        f"({z:+.1f} standard errors). {small}"
    )
    wrong = _wrong_actions(dataset, propensity, unit) if mask is None else []
    if abs(z) > WRONG or wrong:
        fix = "estimates by these weights are refused or wrong: check the logger, or model the logging policy"
        named = "; ".join(wrong[:MOST_NAMED])
        more = f" They do not fit the frequencies of actions: {named}." if wrong else ""
        return [Finding("propensities", "bad", text + more, fix, numbers)]
    return [Finding("propensities", "good", f"Propensities fit the logged actions. {text}", numbers=numbers)]


def _wrong_actions(dataset: Dataset, propensity: np.ndarray, unit: np.ndarray) -> list[str]:
    """The actions whose weighted frequency is not 1, worst first, in words."""
    start = int(dataset.action_space.start)  # type: ignore[union-attr]
    names = dataset.action_names or [str(start + i) for i in range(dataset.spec.action)]
    found = []
    for i, name in enumerate(names):
        weighted = (dataset.actions == start + i) / propensity
        z = z_of(weighted - 1, unit)
        if abs(z) > WRONG and (dataset.actions == start + i).sum() >= 10:
            found.append((abs(z), f"action {name} has a weighted frequency of {weighted.mean():.3g}, expected 1"))
    return [text for _, text in sorted(found, reverse=True)]


def z_of(values: np.ndarray, unit: np.ndarray) -> float:
    """The mean of values [N] in standard errors, which are those over units [N]."""
    sums = np.bincount(unit, values)
    spread = float(sums.std(ddof=1)) if len(sums) > 1 else 0.0
    return float(sums.mean() / (spread / np.sqrt(len(sums)))) if spread > 0 else 0.0
