"""Refusals of data and environments that an algorithm cannot learn from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...algorithms import registry
from ...core.contract import Algorithm, Chunks, Needs, NStep, Windows
from ...core.errors import UserError
from ...core.networks import is_own
from ...core.spec import Cfg, Spec
from ...data.dataset import Dataset
from ...data.feed.columns import DERIVED
from ...data.feed.treatment import Fitted
from ...runs.settings import Settings

FAR = 100  # times the largest logged return: a target beyond is in another unit


def require_actions(algorithm: Algorithm, name: str, discrete: bool, data: bool = True) -> None:
    """Refuse actions of a kind that the algorithm does not support.

    Args:
        algorithm: the algorithm.
        name: name of the data set or of the environment, for the message.
        discrete: whether its actions are discrete.
        data: whether there are logged data; without them, only algorithms that learn online are suggested.

    Raises:
        UserError: naming the algorithms that support these actions.
    """
    kind = "discrete" if discrete else "continuous"
    if kind in algorithm.actions:
        return
    able = [other for other in registry.every() if kind in other.actions and not other.inputs]
    suggested = [other.name for other in able if data or other.online is not None]
    raise UserError(
        f"{algorithm.name} needs {' or '.join(sorted(algorithm.actions))} actions, {name} has {kind} ones; "
        f"for those: {', '.join(suggested)}"
    )


def require_rule(settings: Settings, algorithm: Algorithm, spec: Spec, name: str, evaluates: bool) -> None:
    """Refuse a rule of --stop-when that the run cannot follow.

    Args:
        settings: settings of the run.
        algorithm: the algorithm.
        spec: shapes of the problem.
        name: name of the data set or of the environment, for the message.
        evaluates: whether the run plays evaluations.

    Raises:
        UserError: no evaluations for the rule return:N, or policies that the estimators do not follow.
    """
    what = settings.rule[0]
    if what == "return" and not evaluates:
        raise UserError(
            f"--stop-when {settings.stop_when}: no environment is known for {name}, so no return is measured: name one "
            "with --env, or use estimate:N"
        )
    if what == "estimate" and (spec.images or isinstance(spec.obs_arrays, dict)):
        raise UserError(f"--stop-when {settings.stop_when}: {name} has images or several arrays, and estimates need "
                        "vectors: use return:N")  # fmt: skip
    if what == "estimate" and algorithm.target is not None:
        raise UserError(f"--stop-when {settings.stop_when}: policies of {algorithm.name} have a memory, which the "
                        "estimators do not follow: use return:N")  # fmt: skip


def require_observations(algorithm: Algorithm, name: str, spec: Spec, settings: Settings) -> None:
    """Refuse images if the algorithm cannot learn from them, and settings of images if there are none.

    Args:
        algorithm: the algorithm.
        name: name of the data set or of the environment, for the message.
        spec: shapes of the problem.
        settings: settings of the run.

    Raises:
        UserError: naming the algorithms that learn from images.
    """
    if settings.random_shift and not spec.images:
        raise UserError(f"--random-shift {settings.random_shift} is for images, {name} has vectors: leave it out")
    if algorithm.images:
        return
    if is_own(settings.encoder):
        able = ", ".join(other.name for other in registry.every() if other.images)
        raise UserError(f"{algorithm.name} takes observations as they are, without an encoder; --encoder is for {able}")
    if len(spec.obs_shape) == 1:
        return
    kind = "discrete" if spec.discrete else "continuous"
    suggested = ", ".join(other.name for other in registry.every() if other.images and kind in other.actions)
    raise UserError(f"{algorithm.name} needs vectors of observations, {name} has images; for those: {suggested}")


def require_targets(algorithm: Algorithm, cfg: Cfg, name: str, fitted: Fitted, stats: Mapping[str, float]) -> None:
    """Refuse returns that a policy cannot be asked for.

    Args:
        algorithm: the algorithm.
        cfg: its config.
        name: name of the data set or of the environment, for the message.
        fitted: the treatment of the data.
        stats: scalars of the treated data, as `Context.stats`.

    Raises:
        UserError: rewards are shifted, or a target is so far from the logged returns that its unit must be another one.
    """
    if algorithm.target is None:
        return
    targets = getattr(cfg, "target_return", ())
    fitted.returns(targets)
    if "return_max" not in stats:
        return
    low, high = (stats[bound] / fitted.reward_scale for bound in ("return_min", "return_max"))
    most = FAR * max(abs(low), abs(high))
    wrong = [f"{target:g}" for target in targets if abs(target) > most > 0]
    if wrong:
        raise UserError(
            f"--target-return {' '.join(wrong)}: the returns of {name} are from {low:.6g} to {high:.6g}; expected "
            "one of that size, the sum of an episode's rewards in units of the environment"
        )


def require_nonnegative(cfg: Cfg, name: str, stats: Mapping[str, float]) -> None:
    """Refuse targets that are never below 0 (`nonnegative`) if every logged return is: they would all be 0.

    Args:
        cfg: the config.
        name: name of the data set, for the message.
        stats: scalars of the treated data, as `Context.stats`.

    Raises:
        UserError: naming the highest return.
    """
    most = stats.get("return_max", 0.0)
    if getattr(cfg, "nonnegative", False) and most < 0:
        raise UserError(
            f"nonnegative keeps targets at 0 or above, but the highest treated return of {name} is {most:.6g}: use "
            "--no-nonnegative"
        )


def require_windows(each: Sequence[Needs], dataset: Dataset) -> None:
    """Refuse windows that are longer than every episode.

    Raises:
        UserError: naming the longest episode.
    """
    asked = max((needs.length for needs in each if isinstance(needs, Windows)), default=1)
    longest = int(dataset.lengths.max())
    if asked > longest:
        raise UserError(
            f"windows of {asked} steps are longer than every episode of {dataset.id}, whose longest has {longest}: ask "
            f"for at most {longest} (--context {longest})"
        )


def require_episodes(algorithm: Algorithm, cfg: Cfg, dataset: Dataset, scaled: bool = False) -> None:
    """Refuse data of single transitions if the run needs whole episodes.

    Args:
        algorithm: the algorithm, which may need returns, next actions, or targets of several steps.
        cfg: its config.
        dataset: the data.
        scaled: whether the treatment scales rewards by the returns of episodes.

    Raises:
        UserError: most episodes are single transitions that were cut off, or no episode has as many steps as a chunk.
    """
    each = [phase.needs or algorithm.needs(cfg) for phase in algorithm.phases(cfg)]
    chunk = max((needs.length for needs in each if isinstance(needs, Chunks)), default=1)
    longest = int(dataset.lengths.max(initial=0))
    if chunk > longest:
        raise UserError(
            f"{algorithm.name} learns from chunks of {chunk} steps, but the longest episode of {dataset.id} has "
            f"{longest}: lower --horizon to at most {longest}"
        )
    needed = {c for needs in each for c in needs.columns} & DERIVED.keys()
    long = max((needs.length for needs in each if isinstance(needs, NStep | Windows | Chunks)), default=1)
    require_windows(each, dataset)
    if not (needed or algorithm.episodes or long > 1 or scaled):
        return
    cut = (dataset.lengths == 1) & dataset.truncations[dataset.offsets[1:] - 1]
    if cut.mean() <= 0.5:
        return
    count = f"{cut.sum()} of the {dataset.n_episodes} episodes of {dataset.id}"
    if not (needed or algorithm.episodes or long > 1):
        raise UserError(
            f"{algorithm.name} scales rewards by the spread of whole episodes' returns, but {count} are single "
            "transitions that were cut off: keep the order and the end flags of the log, or train without the scaling: "
            "--return-scale None"
        )
    what = f"the columns {', '.join(sorted(needed))}" if needed else "returns"
    what = f"targets of {long} steps" if long > 1 else what
    raise UserError(
        f"{algorithm.name} needs whole episodes for {what}, but {count} are single transitions that were cut off: keep "
        "the order and the end flags of the log, or use an algorithm that learns from transitions, e.g. "
        f"{'discrete_cql' if dataset.discrete else 'iql or td3_bc with --return-scale None'}"
    )
