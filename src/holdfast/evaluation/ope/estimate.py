"""All estimators of a policy on a log, with intervals, refusals and the comparison with the log."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np

from ...core.errors import UserError, unknown
from ...data.dataset import Dataset
from ..statistics import LEVEL, Estimate
from . import diagnostics, distribution, importance, intervals, marginal, shrinkage, visits
from . import doubly_robust as robust
from .behaviour import Behaviour
from .log import Log, padded
from .model_values import Doubt, ModelValues
from .result import OpeResult, Row
from .target import Target

Needs = Literal["model", "weights", "both", "ratios"]
MODEL = ("model", "both")  # those that read a model
WEIGHTS = ("weights", "both")  # those that read propensities
Interval = Literal["bootstrap", "t"]


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
QUANTILES = (0.1, 0.5, 0.9)
MAGIC_DRAWS = 200  # resamples of MAGIC, each with a quadratic program


@dataclasses.dataclass(frozen=True)
class Aim:
    """What is estimated, and how its intervals are made."""

    discount: float = 1.0
    horizon: int | None = None  # steps; None: discounted value without a horizon
    interval: Interval = "bootstrap"
    level: float = LEVEL
    resamples: int = intervals.RESAMPLES
    seed: int = 0
    tail: float = 0.1  # share of the worst returns whose mean is reported
    below: tuple[float, ...] = ()  # returns c whose P(return < c) is reported
    return_range: tuple[float, float] | None = None  # known before the log is seen: for guaranteed bounds
    force: bool = False  # give numbers that would be refused, with the reasons


def require_known(names: Sequence[str]) -> tuple[str, ...]:
    """The names of estimators; `all` is every one but `dice`, which estimates a discounted value only.

    Raises:
        UserError: a name is not known.
    """
    if list(names) == ["all"]:
        return tuple(name for name, one in ESTIMATORS.items() if one.needs != "ratios")
    for name in names:
        if name not in ESTIMATORS:
            raise unknown("estimator", name, ESTIMATORS)
    return tuple(names)


def log_of(
    dataset: Dataset,
    aim: Aim,
    target: Target,
    behaviour: Behaviour | None,
    model: ModelValues | None,
    cluster: np.ndarray | None,
    ratios: visits.Ratios | None = None,
) -> Log:
    """The log as padded arrays for the estimators.

    Args:
        dataset: the log.
        aim: what is estimated.
        target: the policy on it.
        behaviour: propensities; None: not known.
        model: values; None: not known.
        cluster: [E] numbers of clusters from 0, or None.
        ratios: ratios of visits; None: not known.
    """
    whole = dataset.lengths if aim.horizon is None else np.minimum(dataset.lengths, aim.horizon)
    steps = int(whole.max())
    last = dataset.offsets[:-1] + whole - 1
    ended = dataset.terminations[last]
    if aim.horizon is not None:
        ended = ended | (whole >= aim.horizon)
    steps_ratios = None
    if behaviour is not None and target.log_prob is not None:
        steps_ratios = padded(target.log_prob - behaviour.log_prob, dataset.offsets, steps)
    q = v = None
    if model is not None:
        q = padded(model.q, dataset.offsets, steps)
        v = padded(model.v, dataset.offsets + np.arange(dataset.n_episodes + 1), steps + 1)
        v[np.arange(len(v))[ended], whole[ended]] = 0.0
    reward = padded(dataset.rewards, dataset.offsets, steps)
    seen = None if ratios is None else visits.sums(dataset, ratios)
    return Log(reward, whole, aim.discount, ~ended, steps_ratios, q, v, seen, cluster)


def estimate(
    dataset: Dataset,
    target: Target,
    behaviour: Behaviour | None,
    model: ModelValues | None,
    aim: Aim,
    names: Sequence[str],
    mode: str = "best",
    cluster: np.ndarray | None = None,
    why: str = "",
    ratios: visits.Ratios | None = None,
) -> OpeResult:
    """Estimate the value of a policy.

    Args:
        dataset: the log.
        target: the policy on it.
        behaviour: propensities of the logged actions; None: not known.
        model: values of the policy; None: no model.
        aim: what is estimated.
        names: estimators, see `ESTIMATORS`.
        mode: how the policy acts, for the result.
        cluster: [E] numbers of clusters from 0, or None.
        why: why there are no propensities, for messages.
        ratios: ratios of visits; None: not computed.
    """
    log = log_of(dataset, aim, target, behaviour, model, cluster, ratios)
    support = None if log.log_ratio is None else diagnostics.support_of(log)
    counts = intervals.unit_counts(cluster, log.n, aim.resamples, aim.seed)
    units = log.n if cluster is None else int(cluster.max()) + 1
    error = intervals.standard_error(log.returns, cluster)
    logged = Estimate(float(log.returns.mean()), *intervals.t_interval(log.returns.mean(), error, units, aim.level))
    returns = counts @ log.returns / counts.sum(1)
    rest = aim.discount ** float(np.median(log.lengths))
    open_ended = bool(log.cut.any()) and aim.horizon is None and rest > 0.01
    case = _Case(log, support, counts, returns, aim, model, dataset, target, why, open_ended, ratios)
    rows = tuple(case.row(name) for name in names)
    weighed = support is not None and not case.weight_faults(False)
    facts = {} if model is None else {"kind": model.name, **model.facts}
    notes = []
    if log.cut.any():
        notes.append(
            f"{int(log.cut.sum())} of {log.n} episodes stop before the horizon: estimators without a model count their "
            "logged steps only"
        )
    if behaviour is not None and behaviour.source == "estimated":
        notes.append("the propensities are estimated: no interval has a guarantee")
    return OpeResult(
        policy=target.name,
        dataset=dataset.id,
        mode=mode,
        discount=aim.discount,
        horizon=aim.horizon,
        episodes=log.n,
        rows=rows,
        logged=logged,
        support=support,
        behaviour={} if behaviour is None else {"source": behaviour.source, **behaviour.report},
        model=facts,
        returns=_distribution(log, counts, aim, None if case.model_faults() else model, weighed),
        guarantee=_guarantee(log, aim) if behaviour is not None and behaviour.source == "logged" and weighed else None,
        warnings=tuple(notes),
    )


@dataclasses.dataclass(frozen=True, eq=False)
class _Case:
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
    ratios: visits.Ratios | None = None

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


def _guarantee(log: Log, aim: Aim) -> tuple[float, float] | None:
    """A lower and an upper bound of the value that hold for finite n; None if the range of returns is not known."""
    if aim.return_range is None or log.cluster is not None:
        return None
    low, high = aim.return_range
    if high <= low or (log.returns < low).any() or (log.returns > high).any():
        raise UserError(
            f"the range of returns is {low:g} to {high:g}, but the log has returns from {log.returns.min():.4g} to "
            f"{log.returns.max():.4g}: give the range that is possible"
        )
    share = (log.returns - low) / (high - low)
    error = (1 - aim.level) / 2
    least = intervals.betting(log.last_weight * share, error, aim.seed)
    most = 1 - intervals.betting(log.last_weight * (1 - share), error, aim.seed)
    return low + (high - low) * least, low + (high - low) * min(most, 1.0)


def _distribution(
    log: Log, counts: np.ndarray, aim: Aim, model: ModelValues | None, weighed: bool
) -> dict[str, Estimate]:
    """Facts of the distribution of the return: by weights, else by quantiles of the model; empty without both."""
    if log.n < diagnostics.FEWEST_EPISODES:
        return {}
    if weighed:
        found = distribution.self_normalised(log, np.concatenate([np.ones((1, log.n)), counts]))
    elif model is not None and model.quantiles is not None and not model.faults:
        found = distribution.of_quantiles(model.quantiles)
    else:
        return {}
    values = {f"quantile {level:g} of the return": found.quantile(level) for level in QUANTILES}
    values[f"mean of the worst {aim.tail:.0%} of returns"] = found.cvar(aim.tail)
    values |= {f"P(return < {c:g})": found.below(c) for c in aim.below}
    facts = {}
    for name, drawn in values.items():
        edges: tuple[float | None, float | None] = (None, None)
        if weighed:
            edges = intervals.percentile(drawn[1:], aim.level)
        facts[name] = Estimate(float(drawn[0]), *edges)
    return facts
