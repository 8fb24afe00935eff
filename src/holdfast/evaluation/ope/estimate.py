"""The value of a policy on a log by several estimators, with the comparison with the log."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...core.errors import UserError
from ...data.dataset import Dataset
from ..statistics import Estimate
from . import diagnostics, distribution, intervals, visits
from .aim import Aim
from .behaviour import Behaviour
from .case import Case
from .log import Log, padded
from .model_values import ModelValues
from .result import OpeResult
from .target import Target

QUANTILES = (0.1, 0.5, 0.9)


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
        names: estimators, see `estimators.ESTIMATORS`.
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
    case = Case(log, support, counts, returns, aim, model, dataset, target, why, open_ended, ratios)
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
