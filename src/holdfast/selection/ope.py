"""`ope`: the value of a policy from a log, with what the estimators need: propensities and a model of the values."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from ..core.errors import UserError
from ..core.spec import Mode
from ..data.checks.check import require_sound
from ..data.dataset import Dataset
from ..data.sources import load_dataset
from ..evaluation.ope import behaviour as behaviours
from ..evaluation.ope import kernels
from ..evaluation.ope.aim import Aim, Interval
from ..evaluation.ope.behaviour import Behaviour
from ..evaluation.ope.diagnostics import FEWEST_EPISODES, joined, propensity_faults
from ..evaluation.ope.estimate import estimate, log_of
from ..evaluation.ope.estimators import ESTIMATORS, MODEL, USUAL, WEIGHTS, require_known
from ..evaluation.ope.linear import linear_values
from ..evaluation.ope.model_values import ModelValues
from ..evaluation.ope.result import OpeResult
from ..evaluation.ope.target import Probabilities, Target, target_of
from ..evaluation.ope.visits import Ratios
from ..evaluation.statistics import LEVEL
from ..policy.policy import Policy
from .neural import UPDATES, neural_values
from .ratios import visit_ratios

Model = Literal["linear", "neural", "quantile", "none"]
Propensities = Literal["auto", "logged", "estimated", "none"]
MOST_COUNTS = 200_000_000  # numbers of episodes times resamples
FEWEST_RESAMPLES = 200


def ope(
    policy: Policy | str | Path | Probabilities,
    data: Dataset | str | Path,
    *,
    estimators: Sequence[str] | None = None,
    mode: Mode = "best",
    discount: float = 1.0,
    horizon: int | None = None,
    endless: bool = False,
    propensity: ArrayLike | None = None,
    cluster: ArrayLike | None = None,
    propensities: Propensities = "auto",
    model: Model = "linear",
    updates: int = UPDATES,
    bandwidth: float | None = None,
    kernel: kernels.Kernel = "gaussian",
    interval: Interval = "bootstrap",
    level: float = LEVEL,
    tail: float = 0.1,
    below: Sequence[float] = (),
    return_range: tuple[float, float] | None = None,
    seed: int = 0,
    force: bool = False,
) -> OpeResult:
    """Estimate the value of a policy from logged episodes, without an environment.

    Args:
        policy: a policy, the folder of a run or of a policy, or a function from observations [n, *obs] to the
            probabilities [n, A] of discrete actions.
        data: the log, or its name as `load_dataset` takes it. It should not be the data that the policy learned from.
        estimators: names, see `evaluation.ope.estimators.ESTIMATORS`; None: the usual ones; ("all",): every one but
            `dice`.
        mode: how the policy will act: "best" (the most likely action) or "sample".
        discount: gamma in (0, 1].
        horizon: steps of an episode; None: the time limit of the data set, else its longest episode.
        endless: estimate the discounted value without a horizon; needs a discount below 1.
        propensity: [N] probabilities (or densities) of the logged actions. None: the column behaviour_log_prob, if
            the data set has it.
        cluster: [N] numbers of users or days, equal within an episode: intervals then resample whole clusters. None:
            the column cluster, if the data set has it.
        propensities: auto: logged ones, else estimated ones; or one of logged, estimated, none.
        model: linear: fitted Q evaluation in features, in seconds; neural: in networks, in minutes; quantile: networks
            of quantiles of the return; none.
        updates: updates of each network, also of the ratios of `dice`.
        bandwidth: smooth a deterministic policy of continuous actions by a kernel of this half width, as a share of
            half the range; for episodes of at most three steps.
        kernel: gaussian or epanechnikov.
        interval: bootstrap over episodes, or t (with the delta method for ratios).
        level: confidence level.
        tail: share of the worst returns whose mean is reported.
        below: returns c for which P(return < c) is reported.
        return_range: smallest and largest possible return, known before the log is seen: for bounds that hold for a
            finite number of episodes with logged propensities.
        seed: seed of folds, resamples and draws.
        force: give numbers that are refused, with the reasons.

    Returns:
        The estimates; `result.best`, `result.verdict` and `result.table()`.

    Raises:
        UserError: a policy of other observations or actions, unknown names, propensities outside (0, 1], or settings
            that do not fit.
    """
    dataset = data if isinstance(data, Dataset) else load_dataset(data)
    names = USUAL if estimators is None else require_known(estimators)
    aim = _aim(dataset, discount, horizon, endless)
    aim = _with_intervals(aim, dataset, interval, level, tail, tuple(below), return_range, seed, force)
    return prepare(
        policy, dataset, names, aim, mode=mode, propensity=propensity, cluster=cluster, propensities=propensities,
        model=model, updates=updates, bandwidth=bandwidth, kernel=kernel,
    ).estimate()  # fmt: skip


@dataclasses.dataclass(frozen=True, eq=False)
class Prepared:
    """A policy and a log with everything that estimators read."""

    dataset: Dataset
    target: Target
    behaviour: Behaviour | None
    values: ModelValues | None
    aim: Aim
    names: Sequence[str]
    mode: Mode
    cluster: np.ndarray | None
    why: str  # why there are no propensities
    ratios: Ratios | None  # None: not computed

    def estimate(self) -> OpeResult:
        """The estimates."""
        return estimate(self.dataset, self.target, self.behaviour, self.values, self.aim, self.names, self.mode,
                        self.cluster, self.why, self.ratios)  # fmt: skip

    def terms(self, name: str) -> tuple[np.ndarray, np.ndarray] | None:
        """The terms [E] of episodes whose mean is an estimate, and their logged returns [E]; None: it is not a mean."""
        which = ESTIMATORS[name]
        if which.terms is None or which.reads != "steps":
            return None
        log = log_of(self.dataset, self.aim, self.target, self.behaviour, self.values, self.cluster, self.ratios)
        return which.terms(log), log.returns


def prepare(
    policy: Policy | str | Path | Probabilities,
    dataset: Dataset,
    names: Sequence[str],
    aim: Aim,
    *,
    mode: Mode = "best",
    propensity: ArrayLike | None = None,
    cluster: ArrayLike | None = None,
    propensities: Propensities = "auto",
    model: Model = "linear",
    updates: int = UPDATES,
    bandwidth: float | None = None,
    kernel: kernels.Kernel = "gaussian",
) -> Prepared:
    """What estimators read of a policy and a log. `aim` says what is estimated; the others are those of `ope`."""
    require_sound(dataset, ("one_step", "same_action"))
    if isinstance(policy, str | Path):
        policy = Policy.load(policy)
    target = target_of(policy, dataset, mode, aim.seed, bandwidth, kernel)
    cluster = dataset.cluster if cluster is None else cluster
    groups = None if cluster is None else _clusters(cluster, dataset)
    given, why = _propensities(dataset, target, propensity, propensities, bandwidth, names, aim.seed)
    chosen = policy if isinstance(policy, Policy) else None
    values = _values(dataset, target, chosen, mode, model, updates, aim, groups, names)
    ratios = _ratios(dataset, chosen, mode, updates, aim, names)
    return Prepared(dataset, target, given, values, aim, names, mode, groups, why, ratios)


def usual_aim(dataset: Dataset, discount: float, horizon: int | None, endless: bool, seed: int) -> Aim:
    """What is estimated, with bootstrap intervals at the usual level; the arguments are those of `ope`."""
    aim = _aim(dataset, discount, horizon, endless)
    return _with_intervals(aim, dataset, "bootstrap", LEVEL, aim.tail, (), None, seed, False)


def _aim(dataset: Dataset, discount: float, horizon: int | None, endless: bool) -> Aim:
    """What is estimated.

    Raises:
        UserError: a discount outside (0, 1], or settings that contradict each other.
    """
    if not 0 < discount <= 1:
        raise UserError(f"the discount is {discount}, expected in (0, 1]")
    if endless and discount == 1:
        raise UserError("a value without a horizon needs a discount below 1: give one, 0.99 for example")
    if endless and horizon is not None:
        raise UserError("a value without a horizon has no number of steps: leave the horizon or endless out")
    if horizon is not None and horizon < 1:
        raise UserError(f"the horizon is {horizon} steps, expected at least 1")
    if "discount" in dataset.columns and not (dataset.columns["discount"] == 1).all():
        raise UserError(f"{dataset.id} has a discount for each step: the estimators use one discount for all steps")
    limit = dataset.horizon or int(dataset.lengths.max())
    return Aim(discount=discount, horizon=None if endless else horizon or limit)


def _with_intervals(
    aim: Aim,
    dataset: Dataset,
    interval: Interval,
    level: float,
    tail: float,
    below: tuple[float, ...],
    return_range: tuple[float, float] | None,
    seed: int,
    force: bool,
) -> Aim:
    for name, value in (("level", level), ("tail", tail)):
        if not 0 < value < 1:
            raise UserError(f"{name} is {value}, expected between 0 and 1")
    resamples = int(np.clip(MOST_COUNTS // dataset.n_episodes, FEWEST_RESAMPLES, aim.resamples))
    return Aim(aim.discount, aim.horizon, interval, level, resamples, seed, tail, below, return_range, force)


def _clusters(cluster: ArrayLike, dataset: Dataset) -> np.ndarray:
    """Numbers [E] from 0 of the clusters of the episodes.

    Raises:
        UserError: not one value a step, several values within an episode, or one cluster only.
    """
    values = np.asarray(cluster)
    if values.shape != (dataset.n_steps,):
        raise UserError(f"cluster has shape {values.shape}, expected one value a step: ({dataset.n_steps},)")
    numbers = np.unique(values, return_inverse=True)[1]
    first = numbers[dataset.offsets[:-1]]
    mixed = first[dataset.episode_of] != numbers
    if mixed.any():
        episode = int(dataset.episode_of[int(np.argmax(mixed))])
        raise UserError(f"episode {episode} has several clusters: expected one value for all its steps")
    if first.max() == 0:
        raise UserError(
            "all episodes are in one cluster: intervals need several; cluster=data.episode_of resamples episodes"
        )
    return np.unique(first, return_inverse=True)[1]


def _propensities(
    dataset: Dataset,
    target: Target,
    propensity: ArrayLike | None,
    kind: Propensities,
    bandwidth: float | None,
    names: Sequence[str],
    seed: int,
) -> tuple[Behaviour | None, str]:
    """Propensities of the logged actions, or why there are none.

    Raises:
        UserError: logged propensities outside (0, 1], or asked for and missing.
    """
    logged = _logged(dataset, propensity)
    if kind == "logged" and logged is None:
        raise UserError(f"{dataset.id} has no propensities: give propensity=, or estimate them")
    if kind == "none" or not any(ESTIMATORS[name].needs in WEIGHTS for name in names):
        return None, "propensities are not used"
    if target.log_prob is None:
        return None, target.why
    steps = int(dataset.lengths.max())
    if bandwidth is not None and not dataset.discrete and steps > kernels.MOST_STEPS:
        return None, f"a kernel has no use in episodes of {steps} steps, at most {kernels.MOST_STEPS} are expected"
    if not dataset.discrete and behaviours.at_bounds(dataset) > behaviours.MOST_AT_EDGE:
        share = behaviours.at_bounds(dataset)
        return None, f"{share:.0%} of the logged actions lie at their bounds and have no density there"
    if logged is not None and kind != "estimated":
        chosen = np.exp(logged)
        report = {"mean": float(chosen.mean())} if dataset.discrete else {}
        return Behaviour(logged, "logged", report), ""
    try:
        return behaviours.estimate(dataset, seed), ""
    except UserError as fault:
        return None, str(fault)


def _logged(dataset: Dataset, propensity: ArrayLike | None) -> np.ndarray | None:
    """Log-propensities [N] of the caller or of the data set."""
    values = dataset.propensity
    if propensity is not None:
        values = np.asarray(propensity, np.float64)
        if values.shape != (dataset.n_steps,):
            raise UserError(f"propensity has shape {values.shape}, expected one value a step: ({dataset.n_steps},)")
    if values is None:
        return None
    faults = propensity_faults(values, dataset.discrete)
    if faults:
        raise UserError(f"{dataset.id}: {joined(faults)}")
    return np.log(values)


def _values(
    dataset: Dataset,
    target: Target,
    policy: Policy | None,
    mode: Mode,
    model: Model,
    updates: int,
    aim: Aim,
    cluster: np.ndarray | None,
    names: Sequence[str],
) -> ModelValues | None:
    """The model of the values; None if no estimator needs it or the log is too small."""
    if model == "none" or not any(ESTIMATORS[name].needs in MODEL for name in names):
        return None
    try:
        if model in ("neural", "quantile"):
            if policy is None:
                raise UserError(f"--model {model} needs a policy of holdfast: use --model linear for a function")
            if updates < 10:
                raise UserError(f"{updates} updates of the model: expected at least 10")
            return neural_values(policy, dataset, mode, aim, model, updates, cluster)
        return linear_values(dataset, target, aim.discount, aim.horizon, cluster, aim.seed)
    except UserError as fault:
        if dataset.n_episodes >= FEWEST_EPISODES:
            raise
        return ModelValues(model, np.zeros(dataset.n_steps), np.zeros(len(dataset.observations)), {}, (str(fault),))


def _ratios(
    dataset: Dataset, policy: Policy | None, mode: Mode, updates: int, aim: Aim, names: Sequence[str]
) -> Ratios | None:
    """Ratios of visits; None if no estimator reads them, or if they do not exist for what is estimated."""
    asked = any(ESTIMATORS[name].needs == "ratios" for name in names)
    if not asked or policy is None or aim.horizon is not None or dataset.n_episodes < FEWEST_EPISODES:
        return None
    if updates < 10:
        raise UserError(f"{updates} updates of the ratios: expected at least 10")
    return visit_ratios(policy, dataset, mode, aim, updates)
