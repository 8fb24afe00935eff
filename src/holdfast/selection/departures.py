"""`departures`: where a policy departs from a log, and which groups gain or lose by estimates."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..core.errors import UserError
from ..core.spec import Mode
from ..data.arrays import take
from ..data.dataset import Dataset
from ..data.sources import load_dataset
from ..evaluation.ope import intervals
from ..evaluation.ope.departures import Departures, Group
from ..evaluation.ope.diagnostics import FEWEST_EPISODES
from ..evaluation.ope.estimators import USUAL
from ..evaluation.ope.result import ENOUGH, OpeResult
from ..evaluation.ope.target import Target, index_of
from ..evaluation.statistics import Estimate
from ..policy.policy import Policy
from ..policy.support import require_vectors
from .neural import UPDATES
from .ope import Model, Prepared, Propensities, prepare, usual_aim

BINS = 4  # ranges of a column with many values, with equal numbers of decisions
MOST_VALUES = 6  # a column with at most so many values has a group for each
MOST_COLUMNS = 30  # those between whose groups the departure differs most
MOST_SCORED = 20_000  # decisions whose support is computed
JOINT = 0.05  # probability that one of the intervals misses


class _Part(NamedTuple):
    """A group of a column before anything is computed."""

    column: str
    label: str
    decisions: np.ndarray  # [N] booleans
    firsts: np.ndarray  # [E] booleans: episodes whose first observation is in the group


def departures(
    policy: Policy | str | Path,
    data: Dataset | str | Path,
    *,
    mode: Mode = "best",
    discount: float = 1.0,
    horizon: int | None = None,
    propensities: Propensities = "auto",
    model: Model = "linear",
    updates: int = UPDATES,
    bins: int = BINS,
    seed: int = 0,
) -> Departures:
    """Where a policy departs from a log, by groups of each observation column.

    The gain of a group is the mean over the episodes that begin in it of the estimated value of the policy minus the
    logged return. The estimator is `dr` if the weights leave enough effective episodes, else `fqe`. The intervals hold
    jointly (Bonferroni), and are conditional on the model.

    Args:
        policy: a policy, or the folder of a run or of a policy.
        data: the log, or its name. Gains should not be estimated on the data that the policy learned from.
        mode: how the policy will act.
        discount: as for `ope`.
        horizon: as for `ope`.
        propensities: as for `ope`.
        model: as for `ope`.
        updates: as for `ope`.
        bins: ranges of a column with many values.
        seed: seed of folds, resamples and draws.

    Raises:
        UserError: images, a policy of other observations or actions, or settings that do not fit.
    """
    dataset = data if isinstance(data, Dataset) else load_dataset(data)
    policy = policy if isinstance(policy, Policy) else Policy.load(policy)
    if bins < 2:
        raise UserError(f"{bins} ranges of a column, expected at least 2")
    require_vectors(policy.spec, dataset.id)
    aim = usual_aim(dataset, discount, horizon, False, seed)
    made = prepare(policy, dataset, USUAL, aim, mode=mode, propensities=propensities, model=model, updates=updates)
    departs = _departs(made.target, dataset)
    flagged = _flagged(policy, made.target, dataset, seed)
    parts = _most_different(list(_parts(policy, dataset, bins)), departs)
    estimator, gains, reason = _gains(made, made.estimate())
    known = [part for part in parts if gains is not None and part.firsts.sum() >= FEWEST_EPISODES]
    level = 1 - JOINT / max(len(known), 1)
    everything = _Part("all", "all", np.ones(dataset.n_steps, bool), np.ones(dataset.n_episodes, bool))

    def group(part: _Part, at: float) -> Group:
        episodes = int(part.firsts.sum())
        gain = None
        note = ""
        if gains is not None:
            note = "" if episodes >= FEWEST_EPISODES else f"{episodes} episodes begin here"
            gain = None if note else _mean(gains[part.firsts], made.cluster, part.firsts, at)
        scored = None
        if flagged is not None:
            inside = part.decisions & ~np.isnan(flagged)
            scored = float(flagged[inside].mean()) if inside.any() else None
        return Group(part.column, part.label, float(part.decisions.mean()), float(departs[part.decisions].mean()),
                     scored, episodes, gain, note)  # fmt: skip

    return Departures(
        policy=made.target.name,
        dataset=dataset.id,
        discrete=dataset.discrete,
        estimator=estimator,
        reason=reason,
        level=level,
        whole=group(everything, 1 - JOINT),
        groups=tuple(group(part, level) for part in parts),
        actions=_actions(policy, made.target, dataset),
    )


def _departs(target: Target, dataset: Dataset) -> np.ndarray:
    """How much the policy departs in each decision, [N], see `Group.departs`."""
    rows = dataset.observation_rows
    if target.probabilities is not None:
        return 1 - target.probabilities[rows, index_of(dataset)]
    assert target.actions is not None
    space: Any = dataset.action_space
    half = (np.asarray(space.high, np.float64) - np.asarray(space.low, np.float64)) / 2
    return np.asarray((np.abs(target.actions[:, rows] - dataset.actions) / half).mean((0, 2)))


def _flagged(policy: Policy, target: Target, dataset: Dataset, seed: int) -> np.ndarray | None:
    """Whether the support of the policy's action is too low, [N]; NaN: not computed. None: no score."""
    if policy.support_model is None:
        return None
    steps = np.arange(dataset.n_steps)
    if len(steps) > MOST_SCORED:
        steps = np.sort(np.random.default_rng(seed).choice(steps, MOST_SCORED, replace=False))
    rows = dataset.observation_rows[steps]
    observed = policy.fitted.observe(take(dataset.observations, rows))
    if target.probabilities is not None:
        inside = target.probabilities[rows].argmax(1)
    else:
        assert target.actions is not None
        inside = policy.fitted.act_inside(target.actions[0, rows])
    found = np.full(dataset.n_steps, np.nan)
    found[steps] = policy.support_model.scores(observed, inside) < policy.support_model.false_alarms
    return found


def columns_of(policy: Policy) -> Iterator[tuple[str, int, int, tuple[str, ...]]]:
    """The observation columns: name, first number, how many numbers, and the categories of a one-hot column."""
    if policy.table is None:
        for i in range(int(np.prod(policy.spec.obs_shape))):
            yield f"observations[{i}]", i, 1, ()
        return
    start = 0
    for column in policy.table.observations:
        categories = tuple(map(str, column.categories or ())) if column.kind == "one-hot" else ()
        yield column.name, start, column.width, categories
        start += column.width


def _parts(policy: Policy, dataset: Dataset, bins: int) -> Iterator[_Part]:
    """The groups of every column that has more than one."""
    flat = dataset.observations.reshape(len(dataset.observations), -1)
    rows = dataset.observation_rows
    starts = dataset.offsets[:-1] + np.arange(dataset.n_episodes)
    for name, first, _, categories in columns_of(policy):
        if categories:
            chosen = flat[:, first : first + len(categories)]
            every = np.where(chosen.max(1) > 0, chosen.argmax(1), len(categories))
            labels: tuple[str, ...] = (*categories, "none of these")
        else:
            every, labels = _binned(flat[:, first], flat[rows, first], bins)
        used = np.unique(every[rows])
        for code in used if len(used) > 1 else ():
            yield _Part(name, labels[code], every[rows] == code, every[starts] == code)


def _binned(values: np.ndarray, decisions: np.ndarray, bins: int) -> tuple[np.ndarray, tuple[str, ...]]:
    """The group of each value, and the labels of the groups."""
    each = np.unique(decisions)
    if len(each) <= MOST_VALUES:
        near = np.abs(values[:, None] - each[None]).argmin(1)
        return near, tuple(f"{value:.4g}" for value in each)
    edges = np.unique(np.quantile(decisions, np.linspace(0, 1, bins + 1)[1:-1]))
    texts = [f"{edge:.4g}" for edge in edges]
    middle = [f"{a} to {b}" for a, b in itertools.pairwise(texts)]
    return np.searchsorted(edges, values, side="left"), (f"up to {texts[0]}", *middle, f"above {texts[-1]}")


def _most_different(parts: list[_Part], departs: np.ndarray) -> list[_Part]:
    """The groups of the columns between whose groups the departure differs most, in the order of the columns."""
    spread: dict[str, float] = {}
    for name in dict.fromkeys(part.column for part in parts):
        means = [float(departs[part.decisions].mean()) for part in parts if part.column == name]
        spread[name] = max(means) - min(means)
    kept = set(sorted(spread, key=lambda name: -spread[name])[:MOST_COLUMNS])
    return [part for part in parts if part.column in kept]


def _gains(made: Prepared, found: OpeResult) -> tuple[str, np.ndarray | None, str]:
    """The estimator, the gain of each episode [E] under it, and why there is none."""
    for name in ("dr", "fqe"):
        row = found[name]
        weak = name == "dr" and (row.effective is None or row.effective < ENOUGH)
        if row.value is None or row.difference is None or weak:
            continue
        terms = made.terms(name)
        assert terms is not None, "both estimators are means of episodes"
        return name, terms[0] - terms[1], ""
    return "", None, "; ".join(found["fqe"].refused or ("the log has no comparable value",))


def _mean(gains: np.ndarray, cluster: np.ndarray | None, chosen: np.ndarray, level: float) -> Estimate:
    groups = None if cluster is None else np.unique(cluster[chosen], return_inverse=True)[1]
    units = len(gains) if groups is None else int(groups.max()) + 1
    value = float(gains.mean())
    if units < 2:
        return Estimate(value, None, None)
    return Estimate(value, *intervals.t_interval(value, intervals.standard_error(gains, groups), units, level))


def _actions(policy: Policy, target: Target, dataset: Dataset) -> tuple[tuple[str, float, float], ...]:
    """Share of each action, or mean of each dimension, in the log and under the policy."""
    rows = dataset.observation_rows
    if target.probabilities is not None:
        shares = np.bincount(index_of(dataset), minlength=dataset.spec.action) / dataset.n_steps
        names = policy.table.action_names if policy.table is not None else None
        labels = names or [str(i) for i in range(dataset.spec.action)]
        own_shares = target.probabilities[rows].mean(0)
        return tuple((name, float(a), float(b)) for name, a, b in zip(labels, shares, own_shares, strict=True))
    assert target.actions is not None
    logged = dataset.actions.mean(0)
    own = target.actions[:, rows].mean((0, 1))
    given = policy.table.action.columns if policy.table is not None else [f"actions[{i}]" for i in range(len(logged))]
    return tuple((name, float(a), float(b)) for name, a, b in zip(given, logged, own, strict=True))
