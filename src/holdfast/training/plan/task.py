"""What a run learns from: logged data, or an environment alone; checked, treated and ready for the device."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ...algorithms import registry
from ...core.contract import Algorithm, Treatment
from ...core.errors import UserError
from ...core.spec import Spec
from ...data.checks.check import require_sound
from ...data.dataset import Dataset
from ...data.feed import sampler
from ...data.feed.columns import DERIVED, Columns, prepare, stats
from ...data.feed.treatment import Fitted, fit, untreated
from ...data.references import reference_for
from ...data.sources import load_dataset
from ...environments.gym.adapter import make_env
from ...environments.gym.matching import name_of, spec_of
from ...runs.settings import Settings


@dataclasses.dataclass(frozen=True)
class Problem:
    """One learning problem."""

    name: str  # of the data set, or of the environment
    spec: Spec
    fitted: Fitted
    dataset: Dataset | None  # what is learned from; None: only what is collected
    fingerprint: str | None  # of the whole data set, before any filter
    logged: float | None  # its mean episode return
    env: str | None  # id or EnvSpec as JSON
    reference: tuple[float, float] | None
    stats: dict[str, float]
    warnings: list[Any]

    def make(self) -> Callable[[], Any]:
        """Gives new environments.

        Raises:
            UserError: none is known.
        """
        if self.env is None:
            raise UserError(f"{self.name} names no environment to collect in: give one with --env")
        return functools.partial(make_env, self.env)

    @property
    def always(self) -> set[str]:
        """Stored columns that every method reads: a logged discount, for its targets."""
        return set() if self.dataset is None else {"discount"} & self.dataset.columns.keys()

    def columns(self, needed: set[str], discount: float | None) -> Columns | None:
        """The data on the device, with derived columns."""
        if self.dataset is None:
            return None
        return jax.tree.map(jnp.asarray, prepare(self.dataset, self.fitted, sorted(needed), discount))

    def sources(self, columns: Columns | None, shares: Mapping[str, float], seed: int) -> dict[str, sampler.Source]:
        """What a phase may draw from: the data, and views of it by whole episodes."""
        if self.dataset is None or columns is None:
            return {}
        found: dict[str, sampler.Source] = {"data": columns}
        for view, episodes in split_episodes(self.dataset, shares, seed).items():
            inside = np.isin(self.dataset.episode_of, episodes)
            found[view] = sampler.View(columns, jnp.asarray(np.flatnonzero(inside), jnp.int32))
        return found


def problem_of(settings: Settings, algorithm: Algorithm, cfg: Any, dataset: Dataset | None) -> Problem:
    """The problem that settings stand for; `dataset` where it is in memory.

    Raises:
        UserError: faulty data, an environment that cannot be made, or actions that the algorithm does not take.
    """
    if dataset is None and settings.data is None:
        return _from_environment(settings, algorithm, cfg)
    whole = dataset if dataset is not None else load_dataset(str(settings.data), **settings.data_options)
    warnings = require_sound(whole, settings.allow)
    require_actions(algorithm, whole.id, whole.discrete)
    require_episodes(algorithm, cfg, whole, settings.treatment.get("return_scale") is not None)
    kept = algorithm.filter(cfg, whole) if algorithm.filter else whole
    fitted = fit(Treatment(**settings.treatment), kept)
    env, reference = settings.env or kept.env_spec, kept.reference
    return Problem(
        kept.id,
        kept.spec,
        fitted,
        kept,
        whole.fingerprint,
        float(whole.returns().mean()),
        env,
        reference,
        stats(kept, fitted),
        warnings,
    )


def _from_environment(settings: Settings, algorithm: Algorithm, cfg: Any) -> Problem:
    if settings.env is None:
        raise UserError("nothing to learn from: name logged data with --data, or an environment with --env")
    if algorithm.online is None:
        both = any(phase.collect for phase in algorithm.phases(cfg))
        what = "a log and in an environment at once: name the log" if both else "logged data only: name them"
        raise UserError(f"{algorithm.name} learns from {what} with --data")
    env = make_env(settings.env)
    try:
        name, spec = name_of(env), spec_of(env)
        fitted = untreated(env.observation_space, env.action_space, name)
        if spec.discrete:
            spec = spec._replace(masked="action_mask" in env.reset(seed=settings.seed)[1])
    finally:
        env.close()
    require_actions(algorithm, name, spec.discrete, data=False)
    treatment = Treatment(**settings.treatment)
    of_data = {"normalize_obs": "--normalize-obs", "return_scale": "--return-scale", "clip_actions": "--clip-actions"}
    given = [flag for name, flag in of_data.items() if getattr(treatment, name) is not None]
    if given:
        raise UserError(
            f"{', '.join(given)}: of logged data, and {settings.algorithm} is to learn in {settings.env} alone: leave "
            "that out, or name data with --data"
        )
    fitted = dataclasses.replace(fitted, reward_scale=treatment.reward_scale, reward_shift=treatment.reward_shift)
    return Problem(name, spec, fitted, None, None, None, settings.env, reference_for(name, name), {}, [])


def require_actions(algorithm: Algorithm, name: str, discrete: bool, data: bool = True) -> None:
    """Refuse discrete actions for a continuous method and the reverse, naming methods that fit."""
    kind = "discrete" if discrete else "continuous"
    if kind in algorithm.actions:
        return
    able = [registry.get(other) for other in registry.names()]
    fit_ = [other.name for other in able if kind in other.actions and (data or other.online is not None)]
    raise UserError(
        f"{algorithm.name} needs {' or '.join(sorted(algorithm.actions))} actions, {name} has {kind} ones; "
        f"for those: {', '.join(fit_)}"
    )


def require_episodes(algorithm: Algorithm, cfg: Any, dataset: Dataset, scaled: bool = False) -> None:
    """Refuse single transitions for what reads beyond them: returns, next actions, several steps, scales of returns."""
    each = [phase.needs or algorithm.needs(cfg) for phase in algorithm.phases(cfg)]
    needed = {c for needs in each for c in needs.columns} & DERIVED.keys()
    long = max((needs.length for needs in each if needs.kind != "transitions"), default=1)
    if not (needed or algorithm.episodes or long > 1 or scaled):
        return
    cut = (dataset.lengths == 1) & dataset.truncations[dataset.offsets[1:] - 1]
    if cut.mean() <= 0.5:
        return
    if not (needed or algorithm.episodes or long > 1):
        raise UserError(
            f"{algorithm.name} scales rewards by the spread of whole episodes' returns, but {cut.sum()} of the "
            f"{dataset.n_episodes} episodes of {dataset.id} are single transitions that were cut off: bring the log in "
            "its order with its end flags, or train without it: --return-scale None"
        )
    what = f"the columns {', '.join(sorted(needed))}" if needed else "returns"
    what = f"targets of {long} steps" if long > 1 else what
    raise UserError(
        f"{algorithm.name} needs whole episodes for {what}, but {cut.sum()} of the {dataset.n_episodes} episodes of "
        f"{dataset.id} are single transitions that were cut off: bring the log in its order with its end flags, or "
        "train a method that learns from transitions, e.g. "
        f"{'discrete_cql' if dataset.discrete else 'iql or td3_bc with --return-scale None'}"
    )


def split_episodes(dataset: Dataset, shares: Any, seed: int) -> dict[str, np.ndarray]:
    """Whole episodes dealt to views by their shares; none where there are no shares.

    Raises:
        UserError: too few episodes for every view to get one.
    """
    if not shares:
        return {}
    order = np.random.default_rng(seed).permutation(dataset.n_episodes)
    bounds = np.round(np.cumsum([0, *shares.values()]) / max(1.0, sum(shares.values())) * len(order)).astype(int)
    dealt = {view: order[a:b] for view, a, b in zip(shares, bounds[:-1], bounds[1:], strict=True)}
    empty = [view for view, episodes in dealt.items() if not len(episodes)]
    if empty:
        raise UserError(
            f"{dataset.id}: {len(order)} episodes are too few to split into {', '.join(shares)} (none for "
            f"{', '.join(empty)}): whole episodes are dealt, bring more"
        )
    return dealt
