"""`TeamDataset`: the logs of several agents, an ordinary `Dataset` for each."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

import numpy as np
from numpy.typing import ArrayLike

from ...core.errors import UserError, unknown
from ...core.shown import facts_html, line
from ...core.team import Team, parts, require_team
from ..dataset import Dataset
from ..facts import checked_facts
from ..references import env_id_of

if TYPE_CHECKING:
    from gymnasium.spaces import Box, Discrete

Values = Mapping[str, ArrayLike] | ArrayLike | None  # a column of each agent, or one that all share
SHARED = ("offsets", "terminations", "truncations")  # what the agents of a joint log have in common


class TeamFacts(TypedDict, total=False):
    """Fields of a `TeamDataset` that describe it."""

    env_spec: str | None
    reference: tuple[float, float] | None
    provenance: Mapping[str, Any]


@dataclasses.dataclass(frozen=True, eq=False)
class TeamDataset:
    """N agents, a `Dataset` for each.

    In a joint log, row i of every agent is the same step of the same episode. In a decentralised log, each agent has
    rows of its own, as many as it likes: nothing says which rows of two agents belong together.

    Raises:
        UserError: no agents, names that cannot be names of folders, agents with different kinds of actions, or a joint
            log whose agents have different episodes.
    """

    agents: Mapping[str, Dataset]
    joint: bool  # whether row i is the same moment for all agents
    id: str = "team"
    env_spec: str | None = None  # of the team's environment: its id, or Gymnasium's EnvSpec as JSON
    reference: tuple[float, float] | None = None  # team returns of random and of expert policies
    provenance: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, own in self.agents.items():
            if not isinstance(own, Dataset):
                raise UserError(f"{self.id}: agent {name!r} has the type {type(own).__name__}, expected a Dataset")
        facts = checked_facts(self.id, self.env_spec, self.reference, self.provenance)
        object.__setattr__(self, "reference", facts["reference"])
        object.__setattr__(self, "agents", dict(self.agents))
        require_team(list(self.agents), [own.spec for own in self.agents.values()], self.id)
        if self.joint:
            self._require_together()

    def _require_together(self) -> None:
        first, *others = self.agents.items()
        for name, own in others:
            if own.n_steps != first[1].n_steps:
                raise UserError(
                    f"{self.id}: {first[0]} has {first[1].n_steps} steps and {name} has {own.n_steps}; the agents of a "
                    "joint log have the same steps: repair the log, or say that it is decentralised (joint=False)"
                )
            for column in SHARED:
                if not np.array_equal(getattr(own, column), getattr(first[1], column)):
                    raise UserError(
                        f"{self.id}: the {column} of {name} differ from those of {first[0]}; the agents of a joint log "
                        "share their episodes: repair the log, or say that it is decentralised (joint=False)"
                    )

    def __getitem__(self, agent: str) -> Dataset:
        """The log of one agent.

        Raises:
            UserError: there is no agent of that name; the line suggests the nearest one.
        """
        if agent not in self.agents:
            raise unknown(f"agent of {self.id}", agent, self.agents)
        return self.agents[agent]

    def __iter__(self) -> Iterator[str]:
        return iter(self.agents)

    def __len__(self) -> int:
        """N, the number of agents."""
        return len(self.agents)

    def __repr__(self) -> str:
        facts = dict(self._facts())
        return line("TeamDataset", f"{self.id!r}: {facts['agents']}, {facts['form']}, {facts['steps']} steps")

    def _repr_html_(self) -> str:
        return facts_html(f"Log of the team {self.id}", self._facts())

    def _facts(self) -> list[tuple[str, str]]:
        first = next(iter(self.agents.values())).spec
        steps = [f"{own.n_steps:,}" for own in self.agents.values()]
        kind = "discrete" if first.discrete else "continuous"
        facts = [("agents", f"{len(self)} ({', '.join(self.agents)})"), ("form", self.form)]
        facts += [("steps", steps[0] if len(set(steps)) == 1 else ", ".join(steps)), ("actions", kind)]
        if self.joint and self.n_episodes:
            returns = self.returns()
            facts.append(("team returns", f"{returns.min():.4g} to {returns.max():.4g}, mean {returns.mean():.4g}"))
        return [*facts, *([("environment", self.env_id)] if self.env_id is not None else [])]

    @property
    def form(self) -> str:
        """joint or decentralised."""
        return "joint" if self.joint else "decentralised"

    @cached_property
    def team(self) -> Team:
        """The names and shapes of the agents."""
        return require_team(list(self.agents), [own.spec for own in self.agents.values()], self.id)

    @property
    def n_steps(self) -> int:
        """Steps of a joint log; in a decentralised one, those of the longest log."""
        return max(own.n_steps for own in self.agents.values())

    @property
    def n_episodes(self) -> int:
        """Episodes of a joint log; in a decentralised one, those of the agent with the most."""
        return max(own.n_episodes for own in self.agents.values())

    @property
    def discrete(self) -> bool:
        """Whether actions are integers."""
        return next(iter(self.agents.values())).discrete

    @property
    def env_id(self) -> str | None:
        """Id of the environment; None if it is not known."""
        return env_id_of(self.env_spec)

    def returns(self) -> np.ndarray:
        """The team return of each episode of a joint log, [E] float64: the mean of the agents' returns.

        Raises:
            UserError: the log is decentralised, so that no episode belongs to the whole team.
        """
        if not self.joint:
            raise UserError(f"{self.id} is decentralised: it has no team returns; take those of one agent, team[NAME]")
        return np.mean([own.returns() for own in self.agents.values()], 0)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the names, the form and the fingerprints of all agents, in hexadecimal."""
        digest = hashlib.sha256(f"{self.form};".encode())
        for name, own in self.agents.items():
            digest.update(f"{name}:{own.fingerprint};".encode())
        return digest.hexdigest()

    def apart(self) -> TeamDataset:
        """The same rows as a decentralised log."""
        return dataclasses.replace(self, joint=False)

    def named(self, id: str) -> TeamDataset:
        """The same log with another name, which begins the names of the agents' logs."""
        agents = {name: dataclasses.replace(own, id=f"{id}/{name}") for name, own in self.agents.items()}
        return dataclasses.replace(self, agents=agents, id=id)

    def select(self, episodes: ArrayLike) -> TeamDataset:
        """The given episodes of a joint log, in the given order, see `Dataset.select`.

        Raises:
            UserError: the log is decentralised.
        """
        if not self.joint:
            raise UserError(f"{self.id} is decentralised: select the episodes of one agent, team[NAME].select(...)")
        return dataclasses.replace(self, agents={name: own.select(episodes) for name, own in self.agents.items()})

    @classmethod
    def from_joint(cls, joint: Dataset, team: Team) -> TeamDataset:
        """The log of each agent, from a log of joint observations and joint actions. All agents share the reward.

        Args:
            joint: the log, as an environment of a team gives it (see `core.team`).
            team: the agents.

        Raises:
            UserError: the log has other shapes than the team.
        """
        spec = joint.spec
        if (spec.obs, spec.action, spec.discrete) != (team.joint.obs, team.joint.action, team.joint.discrete):
            raise UserError(
                f"{joint.id} has observations {spec.obs} and {spec.action} actions, the team of "
                f"{', '.join(team.names)} has {team.joint.obs} and {team.joint.action}: name the log of this team"
            )
        seen = team.observations(joint.observations)
        acts = team.actions(joint.actions)
        spaces = zip(_parts(joint.observation_space, team.widths), _action_parts(joint.action_space, team), strict=True)
        agents = {}
        for name, own_seen, own_acts, (observation_space, action_space) in zip(
            team.names, seen, acts, spaces, strict=True
        ):
            agents[name] = dataclasses.replace(
                joint,
                observations=own_seen,
                actions=own_acts,
                observation_space=observation_space,
                action_space=action_space,
                id=f"{joint.id}/{name}",
                env_spec=None,
                reference=None,
                columns={k: v for k, v in joint.columns.items() if k != "action_mask"},
                provenance={},
            )
        facts = {k: v for k, v in joint.provenance.items() if k not in ("raw_action_space", "faults")}
        return cls(agents, True, joint.id, joint.env_spec, joint.reference, facts)

    @classmethod
    def from_agents(
        cls, agents: Mapping[str, Dataset], *, joint: bool | None = None, id: str = "team", **facts: Unpack[TeamFacts]
    ) -> TeamDataset:
        """A log from a data set for each agent.

        Args:
            agents: data sets by the names of the agents.
            joint: whether row i is the same moment for all agents. None: if they have the same episodes and ends.
            id: name of the log.
            facts: env_spec, reference and provenance, as fields of `TeamDataset`.

        Raises:
            UserError: as the class does.
        """
        if not agents:
            raise UserError(f"{id}: no agents; expected at least one")
        sets = list(agents.values())
        if joint is None:
            every = [isinstance(own, Dataset) for own in sets]
            joint = all(every) and all(
                np.array_equal(getattr(own, column), getattr(sets[0], column)) for own in sets for column in SHARED
            )
        return cls(agents, joint, id, **facts)

    @classmethod
    def from_arrays(
        cls,
        observations: Mapping[str, ArrayLike],
        actions: Mapping[str, ArrayLike],
        rewards: Mapping[str, ArrayLike] | ArrayLike,
        terminations: Mapping[str, ArrayLike] | ArrayLike,
        truncations: Mapping[str, ArrayLike] | ArrayLike | None = None,
        next_observations: Mapping[str, ArrayLike] | None = None,
        *,
        joint: bool | None = None,
        id: str = "team",
        env_spec: str | None = None,
        reference: tuple[float, float] | None = None,
        columns: Mapping[str, Mapping[str, ArrayLike]] | None = None,
        action_bounds: tuple[ArrayLike, ArrayLike] | None = None,
        max_episode_steps: int | None = None,
        action_space: Box | Discrete | None = None,
    ) -> TeamDataset:
        """A log from flat columns of each agent; one row a step, episodes one after another.

        Args:
            observations: `[N, d]` by agent.
            actions: `[N, A]` floats or `[N]` integers by agent.
            rewards: `[N]` by agent, or one array that all agents share.
            terminations: `[N]` flags by agent, or shared: true ends.
            truncations: `[N]` flags by agent, or shared: time limits.
            next_observations: `[N, d]` by agent.
            joint: as in `from_agents`.
            id: name of the log.
            env_spec: the team's environment.
            reference: team returns of random and of expert policies.
            columns: optional columns by agent, see `Dataset.from_arrays`.
            action_bounds: low and high of a Box of actions, the same for all agents; None: [-1, 1].
            max_episode_steps: as in `Dataset.from_arrays`.
            action_space: space of every agent's actions; None: it follows from the actions and their bounds.

        Raises:
            UserError: an agent without one of the columns, or columns that do not fit.
        """
        each: dict[str, Any] = {"observations": observations, "actions": actions, "rewards": rewards}
        each |= {"terminations": terminations, "truncations": truncations, "next_observations": next_observations}
        names = list(observations)
        made = {}
        for name in names:
            own = {column: _of_agent(values, name, column, id) for column, values in each.items()}
            made[name] = Dataset.from_arrays(
                **own,
                columns=(columns or {}).get(name),
                action_bounds=action_bounds,
                max_episode_steps=max_episode_steps,
                action_space=action_space,
                id=f"{id}/{name}",
            )
        for column, values in each.items():
            for name in values if isinstance(values, Mapping) else ():
                if name not in made:
                    raise UserError(
                        f"{id}: {column} has the agent {name!r}, observations do not: add it, or leave it out"
                    )
        return cls.from_agents(made, joint=joint, id=id, env_spec=env_spec, reference=reference)


def _parts(space: Box, widths: Sequence[int]) -> list[Any]:
    """A Box of joint observations or actions as the Box of each agent."""
    from gymnasium.spaces import Box

    pairs = zip(parts(space.low, widths), parts(space.high, widths), strict=True)
    return [Box(low, high, dtype=space.dtype) for low, high in pairs]


def _action_parts(space: Box | Discrete, team: Team) -> list[Any]:
    """The space of each agent's actions."""
    from gymnasium.spaces import Discrete

    if isinstance(space, Discrete):
        return [Discrete(count) for count in team.counts]
    return _parts(space, team.counts)


def _of_agent(values: Values, agent: str, column: str, id: str) -> Any:
    """The column of one agent: its own, or the one that all share.

    Raises:
        UserError: the agent is missing.
    """
    if not isinstance(values, Mapping):
        return values
    if agent not in values:
        raise UserError(f"{id}: {column} has no agent {agent!r}; it has {', '.join(map(str, values))}: add it")
    return values[agent]
