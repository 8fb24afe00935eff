"""Early stopping: a run ends if its policies have not improved for a declared number of evaluations.

The rule reads the tables of the run and nothing else, so a resumed run decides as an uninterrupted one does.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..core.errors import UserError
from ..evaluation.statistics import Estimate
from ..policy.policy import Policy
from ..runs import csv_tables
from ..runs.folder import RunFolder
from .plan.plan import Plan

WEIGHED = ("dr", "fqe")  # estimators in the order of preference if propensities are logged
PLAIN = ("fqe",)  # without them
RESAMPLES = 200


class Reached(NamedTuple):
    """The rule has ended the run."""

    rule: str
    step: int
    best_step: int
    best_value: float

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready values, with the folder of the best policies."""
        return {**self._asdict(), "best_policies": f"policies/step-{self.best_step}"}


class EarlyStop:
    """The rule of --stop-when."""

    def __init__(self, plan: Plan, folder: RunFolder) -> None:
        """
        Args:
            plan: the plan of the run.
            folder: its folder, whose tables the rule reads.
        """
        self.plan = plan
        self.folder = folder
        self.what, self.patience = plan.settings.rule

    def estimates(self, policies: list[Policy]) -> list[tuple[str, Estimate | None]]:
        """The estimator and the estimate of each policy on the held-out episodes, or the reason and None."""
        # SciPy's distributions take a second to import, which runs without this rule need not spend
        from ..evaluation.ope.aim import Aim
        from ..evaluation.ope.behaviour import Behaviour
        from ..evaluation.ope.estimate import estimate
        from ..evaluation.ope.linear import linear_values
        from ..evaluation.ope.target import target_of

        held_out = self.plan.task.held_out
        assert held_out is not None, "a run with the rule estimate:N has held-out episodes"
        aim = Aim(horizon=held_out.horizon or int(held_out.lengths.max()), resamples=RESAMPLES)
        logged = held_out.propensity
        behaviour = None if logged is None else Behaviour(np.log(logged), "logged", {})
        found: list[tuple[str, Estimate | None]] = []
        for policy in policies:
            target = target_of(policy, held_out)
            try:
                values = linear_values(held_out, target, aim.discount, aim.horizon, None, aim.seed)
            except UserError as fault:
                found.append((str(fault), None))
                continue
            known = behaviour if target.log_prob is not None else None
            given = estimate(held_out, target, known, values, aim, PLAIN if known is None else WEIGHED)
            row = next((row for row in given.rows if row.value is not None), None)
            if row is None or row.value is None:
                found.append(("; ".join(given.rows[-1].refused), None))
            else:
                found.append((row.name, row.interval or Estimate(row.value, None, None)))
        return found

    def reached(self) -> Reached | None:
        """Whether the run is to end, and its best evaluation."""
        if not self.what:
            return None
        steps, values = self._series()
        if not len(steps) or np.isnan(values).all():
            return None
        best = int(np.nanargmax(values))
        if len(steps) - 1 - best < self.patience:
            return None
        return Reached(str(self.plan.settings.stop_when), int(steps[-1]), int(steps[best]), float(values[best]))

    def result(self) -> dict[str, Any]:
        """What `result.json` says about the rule; empty if it has not ended the run."""
        found = self.reached()
        return {} if found is None else {"stopped": found.to_dict()}

    def _series(self) -> tuple[np.ndarray, np.ndarray]:
        """Steps [T], and the mean over the seeds of the best setting at each, [T]; NaN if an estimate is refused."""
        path, column = (
            (self.folder.heldout, "estimate") if self.what == "estimate" else (self.folder.evaluations, "return")
        )
        rows = csv_tables.read(path)
        found: dict[int, dict[str, list[float]]] = {}
        for row in rows:
            by_replica = found.setdefault(int(row["step"]), {})
            by_replica.setdefault(row["replica"], []).append(csv_tables.number(row[column]))
        settings: dict[tuple[float, ...], list[str]] = {}
        for replica in self.plan.replicas:
            settings.setdefault(tuple(replica.values.values()), []).append(replica.name)
        means = np.array([
            [np.mean([np.mean(each[name]) for name in names]) for names in settings.values()]
            for each in found.values()
        ]).reshape(len(found), len(settings))  # fmt: skip
        known = ~np.isnan(means).all(1)
        values = np.full(len(found), np.nan)
        values[known] = np.nanmax(means[known], axis=1, initial=-np.inf)
        return np.array(list(found), np.int64), values
