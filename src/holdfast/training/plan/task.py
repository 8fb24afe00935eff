"""What a run learns from: logged data, or an environment alone. Checks the data and fits their treatment."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from ...core.contract import Algorithm, Context, Frozen, Treatment
from ...core.errors import UserError
from ...core.networks import Networks
from ...core.spec import Cfg, Spec
from ...core.trust import environment_in
from ...data.action_spaces import bounded
from ...data.checks.check import require_sound
from ...data.checks.faults import Fault
from ...data.dataset import Dataset
from ...data.feed import row_sources
from ...data.feed.columns import Columns, Held, prepare, stats
from ...data.feed.treatment import Fitted, fit, untreated
from ...data.feed.window import NotInMemory
from ...data.references import reference_for
from ...data.scores import usable
from ...data.sources import load_dataset, with_environment
from ...data.spaces import to_json
from ...data.split import by_episodes
from ...dynamics.ensemble import Ensemble
from ...dynamics.termination import Rule
from ...environments.gym.adapter import make_env, raw_action_space_of, raw_space_of
from ...environments.gym.env_pool import Shape, gives_mask
from ...environments.gym.matching import name_of, require_match, spec_of
from ...environments.gym.timed import env_for_spaces
from ...environments.gym.workers import TIMEOUT
from ...runs.settings import Settings
from .held_out import divided
from .inputs import inputs_of, require_inputs_match
from .models import model_of, rule_of
from .refusals import require_actions, require_episodes, require_observations
from .shapes import with_networks

if TYPE_CHECKING:
    import gymnasium


@dataclasses.dataclass(frozen=True)
class Task:
    """What one run learns from, and in which environment it acts."""

    name: str  # of the data set, or of the environment if there are no data
    spec: Spec
    fitted: Fitted
    dataset: Dataset | None  # the rows that are learned from; None: only what the run collects, or see `without_rows`
    fingerprint: str | None  # of the whole data set, before the algorithm's filter
    logged: float | None  # mean episode return of the whole data set
    env: str | None  # environment id, or EnvSpec as JSON
    eval_env: str | None  # the environment of evaluations, in the same form
    reference: tuple[float, float] | None  # returns of a random and an expert policy
    stats: dict[str, float]  # scalars of the data, as `Context.stats`
    warnings: list[Fault]  # faults of the data that the settings allow
    raw_space: str | None = None  # of observations that are flattened, as JSON
    raw_action_space: str | None = None  # of several discrete actions that became one, as JSON
    table: dict[str, Any] | None = None  # the roles of the table that the data come from, complete
    inputs: dict[str, Frozen] = dataclasses.field(default_factory=dict)  # policies of other runs, by name
    model: Ensemble | None = None  # the model of another run
    rule: Rule | None = None  # by which rollouts in a model end, if it is known
    env_id: str | None = None  # Gymnasium's id of the environment, if it is known
    held_out: Dataset | None = None  # episodes that are not learned from, for estimates of --stop-when
    steps: int = 0  # transitions that are learned from
    episodes: int = 0  # and their episodes
    agents: str = ""  # of a team, for `Plan.describe`

    def make(self) -> Callable[[], gymnasium.Env]:
        """A function that makes new environments.

        Raises:
            UserError: the data name no environment.
        """
        return functools.partial(make_env, self._collects_in())

    def _collects_in(self) -> str:
        if self.env is None:
            raise UserError(f"{self.name} names no environment to collect in: give one with --env")
        return self.env

    def require_environment(self, workers: int = 0, timeout: float = TIMEOUT, evaluation: bool = False) -> None:
        """Make the environment once, compare its spaces with the data, and close it.

        Args:
            workers: worker processes that will play in it.
            timeout: seconds that a step may take in a worker; making it falls under this limit too.
            evaluation: whether to make the environment of evaluations, not the one to collect in.

        Raises:
            UserError: the environment cannot be made, or its spaces differ from those of the data.
        """
        chosen = self.eval_env if evaluation and self.eval_env is not None else self._collects_in()
        env = env_for_spaces(chosen, workers, timeout)
        try:
            require_match(env, self.spec, self.fitted)
        finally:
            env.close()

    def with_networks(self, networks: Networks) -> Task:
        """The task with other networks."""
        return dataclasses.replace(self, spec=self.spec._replace(networks=networks))

    def context(self, columns: Held | NotInMemory) -> Context:
        """What the algorithm may look at, with the training columns, or None in their place."""
        held: Any = columns if isinstance(columns, Columns | NotInMemory) else None
        return Context(self.spec, held, self.stats, self.inputs, self.model, self.rule)

    def without_rows(self) -> Task:
        """The task without its data set, once the programs have the columns: so the rows are in memory once."""
        return dataclasses.replace(self, dataset=None)

    @property
    def always(self) -> set[str]:
        """Stored columns that every algorithm reads: the logged discount, which enters the targets."""
        return set() if self.dataset is None else {"discount"} & self.dataset.columns.keys()

    def columns(self, needed: set[str], discount: float | None) -> Held:
        """The data on the device, with the derived columns in `needed`; None if there are no data."""
        if self.dataset is None:
            return None
        return jax.tree.map(jax.device_put, prepare(self.dataset, self.fitted, sorted(needed), discount))

    def sources(self, columns: Held, shares: Mapping[str, float], seed: int) -> dict[str, row_sources.OneOrTeam]:
        """What a phase may draw from: the data, and views of it by whole episodes."""
        if self.dataset is None or not isinstance(columns, Columns):
            return {}
        found: dict[str, row_sources.OneOrTeam] = {"data": columns}
        parts = by_episodes(self.dataset, shares, seed) if shares else {}
        for view, episodes in parts.items():
            inside = np.isin(self.dataset.episode_of, episodes)
            found[view] = row_sources.View(columns, jnp.asarray(np.flatnonzero(inside), jnp.int32))
        return found


def task_of(settings: Settings, algorithm: Algorithm, cfg: Cfg, dataset: Dataset | None) -> Task:
    """Load and check what the settings name.

    Args:
        settings: settings of the run.
        algorithm: the algorithm, which may filter the data.
        cfg: its config.
        dataset: the data if they are in memory; else `settings.data` is loaded, or there are none.

    Raises:
        UserError: faulty data, an environment that cannot be made, or actions that the algorithm does not support.
    """
    policies = inputs_of(settings, algorithm)
    if dataset is None and settings.data is None:
        if policies:
            raise UserError(f"{algorithm.name} reads {', '.join(policies)} and learns from logged data: name --data")
        return _from_environment(settings, algorithm, cfg)
    whole = dataset if dataset is not None else load_dataset(str(settings.data), **settings.data_options)
    if settings.env is not None:
        make = functools.partial(env_for_spaces, workers=settings.workers, timeout=settings.worker_timeout)
        whole = with_environment(whole, settings.env, make)
    warnings = require_sound(whole, settings.allow)
    require_actions(algorithm, whole.id, whole.discrete)
    require_episodes(algorithm, cfg, whole, settings.treatment.get("return_scale") is not None)
    learned, held_out = divided(settings, whole)
    kept = algorithm.filter(cfg, learned) if algorithm.filter else learned
    require_inputs_match(policies, kept)
    fitted = next(iter(policies.values())).fitted if policies else fit(Treatment(**settings.treatment), kept)
    require_observations(algorithm, kept.id, kept.spec, settings)
    env = settings.env or environment_in(kept.env_spec, f"the data set {kept.id}")
    rule = rule_of(algorithm, cfg, kept, fitted, env)
    return Task(
        name=kept.id,
        spec=with_networks(kept.spec, settings),
        fitted=fitted,
        dataset=kept,
        fingerprint=whole.fingerprint,
        logged=float(whole.returns().mean()),
        env=env,
        eval_env=settings.env or environment_in(kept.evaluation_spec, f"the data set {kept.id}"),
        reference=kept.reference if kept.reference and usable(kept.reference) else None,
        stats=stats(kept, fitted),
        warnings=warnings,
        raw_space=kept.provenance.get("raw_observation_space"),
        raw_action_space=kept.provenance.get("raw_action_space"),
        table=kept.provenance.get("table"),
        inputs={name: policy.frozen() for name, policy in policies.items()},
        model=model_of(settings, algorithm, cfg, kept, fitted, whole.fingerprint, rule),
        rule=rule,
        env_id=kept.env_id,
        held_out=held_out,
        steps=kept.n_steps,
        episodes=kept.n_episodes,
    )


def _from_environment(settings: Settings, algorithm: Algorithm, cfg: Cfg) -> Task:
    if settings.env is None:
        raise UserError("nothing to learn from: name logged data with --data, or an environment with --env")
    if algorithm.online is None:
        both = any(phase.collect for phase in algorithm.phases(cfg))
        what = "a log and an environment at once: name the log" if both else "logged data only: name them"
        raise UserError(f"{algorithm.name} learns from {what} with --data")
    env = env_for_spaces(settings.env, settings.workers, settings.worker_timeout)
    try:
        name = name_of(env)
        raw = raw_space_of(env)
        raw_action = raw_action_space_of(env)
        spec = spec_of(env)
        options = dict(settings.data_options)
        action_space = bounded(env.action_space, options.pop("action_bounds", None), name)
        if options:
            flags = ", ".join(f"--{option.replace('_', '-')}" for option in sorted(options))
            raise UserError(f"{flags}: this says how to read logged data, and there are none: leave it out")
        fitted = untreated(env.observation_space, action_space, name)
        if spec.discrete:
            spec = spec._replace(masked=gives_mask(env, Shape(spec.discrete, spec.action), settings.seed))
    finally:
        env.close()
    require_actions(algorithm, name, spec.discrete, data=False)
    require_observations(algorithm, name, spec, settings)
    spec = with_networks(spec, settings)
    treatment = Treatment(**settings.treatment)
    of_data = {"normalize_obs": "--normalize-obs", "return_scale": "--return-scale", "clip_actions": "--clip-actions"}
    given = [flag for name, flag in of_data.items() if getattr(treatment, name) is not None]
    if given:
        raise UserError(
            f"{', '.join(given)}: this treats logged data, but {settings.algorithm} learns in {settings.env} without "
            "data: leave the option out, or name data with --data"
        )
    fitted = dataclasses.replace(fitted, reward_scale=treatment.reward_scale, reward_shift=treatment.reward_shift)
    return Task(
        name=name,
        spec=spec,
        fitted=fitted,
        dataset=None,
        fingerprint=None,
        logged=None,
        env=settings.env,
        eval_env=settings.env,
        reference=reference_for(name, name),
        stats={},
        warnings=[],
        raw_space=None if raw is None else to_json(raw),
        raw_action_space=None if raw_action is None else to_json(raw_action),
        env_id=name,
    )
