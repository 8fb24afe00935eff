"""The answer of one estimator on a log: its value with an interval, or the reasons to refuse it."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from ...core.errors import UserError
from ...data.dataset import Dataset
from ..statistics import Estimate
from . import diagnostics, intervals, marginal, shrinkage
from . import doubly_robust as robust
from .aim import Aim
from .estimators import ESTIMATORS, MODEL, WEIGHTS, Estimator
from .log import Log, padded
from .model_values import Doubt, ModelValues
from .result import Row
from .target import Target
from .visits import Ratios

MAGIC_DRAWS = 200  # resamples of MAGIC, each with a quadratic program


@dataclasses.dataclass(frozen=True, eq=False)
class Case:
    """One log with everything that its rows need."""

    log: Log
    support: diagnostics.Support | None
    counts: np.ndarray
    returns: np.ndarray  # [B] mean logged returns of the resamples
    aim: Aim
    model: ModelValues | None
    dataset: Dataset
    target: Target
    why: str
    open_ended: bool  # the log has no value of the same kind
    ratios: Ratios | None = None

    def row(self, name: str) -> Row:
        """The answer of an estimator."""
        which = ESTIMATORS[name]
        faults = self.faults(which)
        size = self.support.last if self.support is not None and which.needs in WEIGHTS else None
        blank = Row(name, which.title, None, None, None, "", None, size, (), tuple(faults))
        if self.missing(which) or (faults and not self.aim.force):
            return blank
        try:
            log = self.prepared(which)
        except UserError as fault:
            return dataclasses.replace(blank, refused=(*faults, str(fault)))
        return self.answer(name, which, log, faults, size)

    def answer(self, name: str, which: Estimator, log: Log, faults: list[str], size: float | None) -> Row:
        """The value of an estimator on a prepared log, with its interval."""
        counts = self.counts[:MAGIC_DRAWS] if name == "magic" else self.counts
        units = log.n if log.cluster is None else int(log.cluster.max()) + 1

        def statistic(resamples: np.ndarray) -> np.ndarray:
            return which.statistic(log, resamples)

        value = float(statistic(np.ones((1, log.n)))[0])
        drawn = statistic(counts)
        returns = self.returns[: len(counts)]
        method = "bootstrap"
        if name == "fqe" and self.model is not None and self.model.refits is not None:
            assert self.model.logged is not None
            drawn = self.model.refits + value - np.mean(self.model.refits)
            returns = self.model.logged
            low, high = intervals.percentile(drawn, self.aim.level)
            method = "bootstrap with the model fitted again"
        elif name == "magic":
            low, high = intervals.percentile(drawn, self.aim.level)
        else:
            low, high = intervals.bca(statistic, value, drawn, log.cluster, log.n, self.aim.level)
        error = float(drawn.std(ddof=1))
        if which.terms is not None or which.influence is not None:
            influence = which.terms(log) if which.terms is not None else which.influence(log)  # type: ignore[misc]
            exact = intervals.standard_error(influence, log.cluster, which.terms is not None)
            error = max(error, exact) if name == "fqe" else exact
            if self.aim.interval == "t":
                low, high = intervals.t_interval(value, error, units, self.aim.level)
                method = "t" if which.terms is not None else "delta method"
        warnings = self.warnings(which, log)
        if name in ("dr", "wdr", "magic") and self.model is not None:
            method += ", conditional on the model"
        if which.needs == "ratios":
            method += ", conditional on the ratios"
        wider = max((doubt.amount for doubt in self.doubts), default=0.0) if which.needs == "model" else 0.0
        if wider:
            method += f", wider by {wider:.3g} on each side"
        change = None
        if not self.open_ended:
            centre = value - float(self.log.returns.mean())
            below, above = intervals.percentile(drawn - returns[: len(drawn)], self.aim.level)
            change = Estimate(centre, below - wider, above + wider)
        interval = Estimate(value, low - wider, high + wider)
        return Row(
            name, which.title, value, error, interval, method, change, size, tuple(warnings), tuple(faults), drawn,
            wider,
        )  # fmt: skip

    def missing(self, which: Estimator) -> bool:
        """Whether the estimator cannot be computed at all."""
        without = [which.needs in WEIGHTS and self.support is None, which.needs in MODEL and self.model is None]
        return any(without) or (which.needs == "ratios" and self.ratios is None)

    def faults(self, which: Estimator) -> list[str]:
        """Why the estimate is refused."""
        found = []
        if self.log.n < diagnostics.FEWEST_EPISODES:
            least = diagnostics.FEWEST_EPISODES
            found.append(f"{self.log.n} episode{'s' * (self.log.n != 1)}, at least {least} are needed")
        if which.needs in MODEL:
            found += ["no model of the values"] if self.model is None else self.model_faults()
        if which.needs in WEIGHTS:
            found += self.weight_faults(which.needs == "both")
        if which.needs == "ratios":
            found += self.ratio_faults()
        return found

    def model_faults(self) -> list[str]:
        """Why estimates with the model are refused."""
        if self.model is None:
            return []
        spread = float(np.ptp(self.log.returns))
        return list(self.model.faults) or diagnostics.doubt_faults(self.model.doubts, self.model_error, spread)

    @functools.cached_property
    def model_error(self) -> float:
        """Standard error of what is reported: the difference to the log, or the value if they are not comparable."""
        values = robust.dm(self.log, self.counts)
        return float((values if self.open_ended else values - self.returns).std(ddof=1))

    @functools.cached_property
    def doubts(self) -> list[Doubt]:
        """Errors of the model that matter for what is reported."""
        return [] if self.model is None else diagnostics.material(self.model.doubts, self.model_error)

    def ratio_faults(self) -> list[str]:
        """Why the estimate with ratios of visits is refused."""
        if self.ratios is not None:
            return list(self.ratios.faults)
        if self.aim.horizon is not None or self.aim.discount == 1:
            return ["dice estimates the discounted value without a horizon: --endless --discount 0.99"]
        return ["no ratios of visits: dice needs a policy of holdfast"]

    def weight_faults(self, both: bool) -> list[str]:
        """Why estimates with weights are refused."""
        if self.support is None:
            return [self.why or self.target.why or "no propensities of the logged actions"]
        return diagnostics.weight_faults(self.support, self.log.n, both)

    def warnings(self, which: Estimator, log: Log) -> list[str]:
        """What a reader must know."""
        found = []
        if which.needs in WEIGHTS and self.support is not None:
            found += diagnostics.weight_warnings(self.support)
        if which.needs == "both":
            found += diagnostics.model_warnings(log)
        if which.needs == "weights" and log.cut.any():
            found.append("counts logged steps only")
        if which.needs == "model" and self.model is not None:
            found += self.model.warnings
            found += diagnostics.doubt_warnings(self.doubts)
            if self.model.facts.get("bellman_error", 0) > 1:
                found.append("the model is worse than a constant on held-out targets")
        return found

    def prepared(self, which: Estimator) -> Log:
        """The log with the ratios that the estimator reads."""
        if which.reads == "steps":
            return self.log
        if which.reads in ("optimistic", "switch"):
            spread = max(float(np.ptp(self.log.returns)), 1e-12)
            return shrinkage.chosen(self.log, which.reads, spread)
        table = marginal.states_of(self.dataset.observations)
        if table is None:
            raise UserError("marginal ratios need observations with few different values")
        states = padded(table[self.dataset.observation_rows].astype(float), self.dataset.offsets, self.log.steps)
        numbers = np.where(self.log.alive, states, -1).astype(int)
        return _with_weights(self.log, marginal.marginal_weights(self.log, numbers))


def _with_weights(log: Log, weight: np.ndarray) -> Log:
    """The log with other weights W_t at every step in place of the products of ratios."""
    made = dataclasses.replace(log)
    with np.errstate(divide="ignore"):
        made.__dict__["log_weight"] = np.log(weight)
    made.__dict__["weight"] = weight
    return made
