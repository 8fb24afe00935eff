"""The settings of a sweep: which replicas belong to each, what each returned, and which is the best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..evaluation.statistics import average, iqm_interval, two_stage_interval
from .replicas import value_texts


class Group(NamedTuple):
    """Replicas that differ only in their seed."""

    label: str  # "expectile 0.7", or "" if nothing was swept
    rows: list[int]  # indices of its replicas


def groups_of(sweep: Sequence[Mapping[str, float]]) -> list[Group]:
    """Replicas by swept values, in the order of the run.

    Args:
        sweep: the swept values of each replica; empty mappings if nothing was swept.
    """
    names = sweep[0] if sweep else {}
    texts = {name: value_texts(values[name] for values in sweep) for name in names}
    found: dict[str, list[int]] = {}
    for i, values in enumerate(sweep):
        found.setdefault(", ".join(f"{name} {texts[name][value]}" for name, value in values.items()), []).append(i)
    return [Group(label, rows) for label, rows in found.items()]


def best_of(groups: Sequence[Group], returns: np.ndarray) -> Group:
    """The group with the highest average (`evaluation.statistics.average`).

    The choice looks at the returns that it reports, so the average of the best of many groups is too high.

    Args:
        groups: at least one group.
        returns: returns [R, E] of all replicas in their last evaluation.
    """
    return max(groups, key=lambda group: average(returns[group.rows]).value)


def by_setting(
    replicas: Sequence[str],
    sweep: Sequence[Mapping[str, float]],
    returns: np.ndarray,
    scores: np.ndarray | None,
) -> list[dict[str, Any]]:
    """The entry `by_setting` of `result.json`: one object for each setting, of which one is the best.

    Args:
        replicas: names [R] of the replicas.
        sweep: the swept values [R] of each.
        returns: returns [R, E] in the last evaluation.
        scores: their normalised scores [R]; None if no reference is known.
    """
    groups = groups_of(sweep)
    best = best_of(groups, returns)
    found = []
    for group in groups:
        own = returns[group.rows]
        mean = two_stage_interval(own)
        found.append(
            {
                "label": group.label,
                "values": dict(sweep[group.rows[0]]),
                "replicas": [replicas[i] for i in group.rows],
                "return_mean": mean.value,
                "return_interval": [mean.low, mean.high],
                "return_iqm": iqm_interval(own.mean(1))._asdict(),
                "normalized_score": None if scores is None else float(scores[group.rows].mean()),
                "best": group == best,
            }
        )
    return found


ALONE = ("return_mean", "return_interval", "return_iqm", "normalized_score")


def alone(entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The same numbers at the top of `result.json`: None in a sweep, because there is no average over its settings.

    Args:
        entries: what `by_setting` returned; empty if nothing was evaluated.
    """
    return {name: entries[0][name] if len(entries) == 1 else None for name in ALONE}


def upgraded(result: dict[str, Any]) -> dict[str, Any]:
    """A result as it is written now. Older versions wrote no `by_setting`, and averages over the settings of a sweep.

    Args:
        result: the contents of a checked `result.json`.
    """
    if "by_setting" in result or not result.get("returns") or len(result.get("sweep", [])) != len(result["replicas"]):
        return result
    returns = np.array(result["returns"], np.float64)
    scores = result.get("normalized_scores")
    entries = by_setting(
        result["replicas"], result["sweep"], returns, None if scores is None else np.array(scores, np.float64)
    )
    return {**result, "by_setting": entries, **(alone(entries) if len(entries) > 1 else {})}
