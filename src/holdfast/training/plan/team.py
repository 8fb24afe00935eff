"""What a team learns from: a log for each agent, each with a treatment of its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ...algorithms.independent import independent, require_rows_alone
from ...core.contract import Algorithm, Context, Treatment
from ...core.errors import UserError
from ...core.networks import Networks
from ...core.spec import Cfg, Spec
from ...core.team import Team
from ...core.trust import environment_in
from ...data.checks.check import require_sound
from ...data.checks.faults import Fault
from ...data.dataset import Dataset
from ...data.feed import row_sources
from ...data.feed.columns import Held, prepare, stats
from ...data.feed.treatment import Fitted, agent_treatments, fit, joint_treatment
from ...data.feed.window import NotInMemory
from ...data.split import by_episodes
from ...data.teams.dataset import TeamDataset
from ...environments.teams import require_team_env
from ...runs.settings import Settings
from .refusals import require_actions, require_episodes, require_observations
from .shapes import with_networks
from .task import Task, task_of
from .team_data import Logged, team_of

MOST_JOINT = 4096  # joint actions of a team that acts in one environment


class Member(NamedTuple):
    """What one agent learns from."""

    name: str
    spec: Spec
    fitted: Fitted
    dataset: Dataset | None  # None: see `Task.without_rows`
    stats: dict[str, float]


@dataclasses.dataclass(frozen=True)
class TeamTask(Task):
    """A task whose spec and treatment are those of joint observations and actions."""

    members: tuple[Member, ...] = ()
    together: bool = False  # whether row i of each log is the same moment

    @property
    def team(self) -> Team:
        """The names and shapes of the agents."""
        return Team(tuple(own.name for own in self.members), tuple(own.spec for own in self.members))

    def without_rows(self) -> Task:
        """The task without the logs, see `Task.without_rows`."""
        return dataclasses.replace(self, members=tuple(own._replace(dataset=None) for own in self.members))

    def with_networks(self, networks: Networks) -> Task:
        """The task with other networks for all agents."""
        members = tuple(own._replace(spec=own.spec._replace(networks=networks)) for own in self.members)
        return dataclasses.replace(self, spec=self.spec._replace(networks=networks), members=members)

    def context(self, columns: Held | NotInMemory) -> Context:
        """What the method may look at, with the training columns of each agent, or None."""
        each: Any = columns or [None] * len(self.members)
        members = [Context(own.spec, held, own.stats) for own, held in zip(self.members, each, strict=True)]
        return Context(self.spec, members=tuple(members))

    @property
    def always(self) -> set[str]:
        """Stored columns that every algorithm reads, if all agents have them."""
        every = [own.dataset.columns.keys() for own in self.members if own.dataset is not None]
        return {"discount"}.intersection(*every) if every else set()

    def columns(self, needed: set[str], discount: float | None) -> Any:
        """The training columns of each agent, on the device."""
        found = [
            prepare(own.dataset, own.fitted, sorted(needed), discount)
            for own in self.members
            if own.dataset is not None
        ]
        return tuple(jax.tree.map(jax.device_put, found))

    def sources(self, columns: Held, shares: Mapping[str, float], seed: int) -> dict[str, row_sources.OneOrTeam]:
        """What a phase may draw from: the data of all agents, and views of them by whole episodes."""
        if not columns:  # the run collects
            return {}
        assert isinstance(columns, tuple), "a team has columns for each agent"
        found: dict[str, row_sources.OneOrTeam] = {"data": row_sources.Members(columns, self.together)}
        for view in shares:
            each = []
            for own, held in zip(self.members, columns, strict=True):
                assert own.dataset is not None, "the views are made before the rows are dropped"
                inside = np.isin(own.dataset.episode_of, by_episodes(own.dataset, shares, seed)[view])
                each.append(row_sources.View(held, jnp.asarray(np.flatnonzero(inside), jnp.int32)))
            found[view] = row_sources.Members(tuple(each), self.together)
        return found


def method_and_task(
    settings: Settings, algorithm: Algorithm, cfg: Cfg, dataset: Logged | None
) -> tuple[Algorithm, Task]:
    """What a run learns from, and the method that learns it: for a team, that of all agents.

    Args:
        settings: settings of the run.
        algorithm: the algorithm that the settings name.
        cfg: its config.
        dataset: the data if they are in memory; else `settings.data` is loaded, or there are none.

    Raises:
        UserError: see `team_of`, `learning_of`, `playing_of` and `task_of`.
    """
    team = team_of(settings, algorithm, dataset)
    if team is not None:
        return learning_of(settings, algorithm, cfg, team)
    if settings.agents:
        return playing_of(settings, algorithm, cfg)
    return algorithm, task_of(settings, algorithm, cfg, dataset if isinstance(dataset, Dataset) else None)


def learning_of(settings: Settings, algorithm: Algorithm, cfg: Cfg, data: TeamDataset) -> tuple[Algorithm, TeamTask]:
    """The method as it learns the team, and its task.

    Raises:
        UserError: faulty data of an agent, agents of different shapes that would share weights, or options of runs with
            one agent.
    """
    require_rows_alone(algorithm, algorithm.phases(cfg))
    _require_settings(settings)
    members = []
    warnings: list[Fault] = []
    for name, own in data.agents.items():
        warnings += require_sound(own, settings.allow)
        require_actions(algorithm, own.id, own.discrete)
        require_episodes(algorithm, cfg, own, settings.treatment.get("return_scale") is not None)
        kept = algorithm.filter(cfg, own) if algorithm.filter else own
        require_observations(algorithm, own.id, own.spec, settings)
        fitted = fit(Treatment(**settings.treatment), kept)
        members.append(Member(name, with_networks(kept.spec, settings), fitted, kept, stats(kept, fitted)))
    together = data.joint and algorithm.filter is None
    if algorithm.member is not None:
        _require_alike(algorithm, members, data.id)
    env = settings.env or environment_in(data.env_spec, f"the log {data.id}")
    team = Team(tuple(own.name for own in members), tuple(own.spec for own in members))
    spec = with_networks(team.joint, settings)
    if env is not None and settings.evaluate and spec.discrete and spec.action > MOST_JOINT:
        raise UserError(
            f"{data.id}: the team has {spec.action:,} joint actions, and evaluations take at most {MOST_JOINT:,}: "
            "train with --no-eval"
        )
    sets = [own.dataset for own in members if own.dataset is not None]
    task = TeamTask(
        name=data.id,
        spec=spec,
        fitted=joint_treatment([own.fitted for own in members], spec.action),
        dataset=None,
        fingerprint=data.fingerprint,
        logged=float(data.returns().mean()) if data.joint else None,
        env=env,
        eval_env=env,
        reference=data.reference,
        stats={},
        warnings=warnings,
        env_id=data.env_id,
        steps=sum(own.n_steps for own in sets),
        episodes=sum(own.n_episodes for own in sets),
        agents=f", agents {', '.join(team.names)}",
        members=tuple(members),
        together=together,
    )
    return (algorithm if algorithm.member is not None else independent(algorithm, team)), task


def playing_of(settings: Settings, algorithm: Algorithm, cfg: Cfg) -> tuple[Algorithm, TeamTask]:
    """Independent learners that collect in the environment of a team, without logged data.

    Raises:
        UserError: not the environment of a team, or what `task_of` refuses.
    """
    require_rows_alone(algorithm, ())
    _require_settings(settings)
    team = require_team_env(settings.env)
    task = task_of(settings, algorithm, cfg, None)
    specs = [with_networks(own._replace(horizon=task.spec.horizon), settings) for own in team.specs]
    treatments = agent_treatments(task.fitted, team)
    members = [Member(*own, None, {}) for own in zip(team.names, specs, treatments, strict=True)]
    fields = {field.name: getattr(task, field.name) for field in dataclasses.fields(Task)}
    return independent(algorithm, Team(team.names, tuple(specs))), TeamTask(**fields, members=tuple(members))


def _require_settings(settings: Settings) -> None:
    wrong = ["--growing"] if settings.growing else []
    wrong += ["--held-out"] if settings.held_out else []
    wrong += ["--stop-when estimate"] if (settings.stop_when or "").startswith("estimate") else []
    wrong += ["--dynamics"] if settings.dynamics is not None else []
    wrong += ["--input"] if settings.inputs else []
    if wrong:
        raise UserError(f"{', '.join(wrong)}: this is for the log of one agent: leave it out")


def _require_alike(algorithm: Algorithm, members: list[Member], name: str) -> None:
    """Refuse agents with different shapes for a method whose networks all agents share."""
    first = members[0]
    for own in members:
        if own.spec != first.spec:
            raise UserError(
                f"{name}: {own.name} has observations {own.spec.obs} and {own.spec.action} actions, {first.name} has "
                f"{first.spec.obs} and {first.spec.action}, but {algorithm.name} shares its networks: train "
                "independent learners (omar, mabcq with --agents independent)"
            )
