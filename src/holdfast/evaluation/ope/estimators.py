"""The registry of estimators: what each one computes, and what it reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np

from ...core import errors
from . import doubly_robust as robust
from . import importance, visits
from .log import Log

Needs = Literal["model", "weights", "both", "ratios"]
MODEL = ("model", "both")  # those that read a model
WEIGHTS = ("weights", "both")  # those that read propensities


class Estimator(NamedTuple):
    """One row of the registry of estimators."""

    title: str
    needs: Needs
    statistic: Callable[[Log, np.ndarray], np.ndarray]  # (log, counts [B, n]) -> [B]
    terms: Callable[[Log], np.ndarray] | None = None  # [n], if the estimate is their mean
    influence: Callable[[Log], np.ndarray] | None = None  # [n], see `intervals.standard_error`
    reads: Literal["steps", "states", "optimistic", "switch"] = "steps"  # what the log has to be prepared for


def _first(log: Log) -> np.ndarray:
    return robust.model(log)[1][:, 0]


ESTIMATORS: dict[str, Estimator] = {
    "fqe": Estimator("direct method: the model alone", "model", robust.dm, terms=_first),
    "tis": Estimator("importance sampling of trajectories", "weights", importance.tis, terms=importance.tis_terms),
    "pdis": Estimator("importance sampling per decision", "weights", importance.pdis, terms=importance.pdis_terms),
    "wis": Estimator("weighted importance sampling", "weights", importance.wis, influence=importance.wis_influence),
    "sn_pdis": Estimator(
        "weighted importance sampling per decision",
        "weights",
        importance.sn_pdis,
        influence=importance.sn_pdis_influence,
    ),
    "mis": Estimator(
        "marginal importance sampling (few states)", "weights", importance.pdis, importance.pdis_terms, None, "states"
    ),
    "dr": Estimator("doubly robust", "both", robust.dr, terms=robust.dr_terms),
    "wdr": Estimator("weighted doubly robust", "both", robust.wdr),
    "magic": Estimator("MAGIC, a mixture of the model and WDR", "both", robust.magic),
    "mdr": Estimator("marginalised doubly robust (few states)", "both", robust.dr, robust.dr_terms, None, "states"),
    "dr_os": Estimator(
        "doubly robust with optimistic shrinkage", "both", robust.dr, robust.dr_terms, None, "optimistic"
    ),
    "dice": Estimator("ratios of discounted visits", "ratios", visits.value),
    "dr_switch": Estimator("doubly robust with switched weights", "both", robust.dr, robust.dr_terms, None, "switch"),
}
USUAL = ("fqe", "pdis", "wis", "sn_pdis", "dr", "wdr", "magic")


def require_known(names: Sequence[str]) -> tuple[str, ...]:
    """The names of estimators; `all` is every one but `dice`, which estimates a discounted value only.

    Raises:
        UserError: a name is not known.
    """
    if list(names) == ["all"]:
        return tuple(name for name, one in ESTIMATORS.items() if one.needs != "ratios")
    errors.require_known(names, "estimator", ESTIMATORS)
    return tuple(names)
