"""`TeamPolicy`: the policies of the agents of a team, in a folder with one policy folder for each and a `team.json`."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import ArrayLike

from ..algorithms.assembled import Assembled, assembled
from ..core.errors import UserError, unknown
from ..core.files import write_json
from ..core.shown import facts_html, line
from ..core.spec import Memory
from ..core.team import require_team
from ..data.feed.treatment import joint_treatment
from .folder import FORMAT, TEAM, team_facts
from .policy import Policy


class TeamPolicy:
    """The policies of all agents of a team. Each acts on its own observation.

    Attributes:
        members: the policy of each agent, by its name.
        info: JSON-ready facts: `env_spec`, `env_id`, `dataset`, `reference`, `seed`, `step`.
        team: the names and shapes of the agents.
    """

    def __init__(self, members: Mapping[str, Policy], info: Mapping[str, Any] | None = None) -> None:
        """
        Raises:
            UserError: no agents, a name that cannot be that of a folder, or agents with different kinds of actions.
        """
        self.members = dict(members)
        self.info = dict(info or {})
        self.team = require_team(list(self.members), [own.spec for own in self.members.values()], "the team")

    def __call__(
        self, observations: Mapping[str, ArrayLike], mode: str = "best", *, seed: int | None = None
    ) -> dict[str, Any]:
        """The action of each agent, see `Policy`.

        Args:
            observations: raw observations by agent, [d] or [n, d] each.
            mode: "best" or "sample".
            seed: seed of the draws.

        Raises:
            UserError: an agent is missing or not known, or what `Policy` refuses.
        """
        self._require_agents(observations)
        return {name: own(observations[name], mode, seed=seed) for name, own in self.members.items()}

    def act(
        self,
        observations: Mapping[str, ArrayLike],
        memory: Mapping[str, Memory] | None = None,
        mode: str = "best",
        *,
        masks: Mapping[str, ArrayLike] | None = None,
        seed: int | None = None,
    ) -> tuple[dict[str, Any], dict[str, Memory]]:
        """Like calling the team, with a memory for each agent, see `Policy.act`.

        Raises:
            UserError: as a call does.
        """
        self._require_agents(observations)
        actions: dict[str, Any] = {}
        kept: dict[str, Memory] = {}
        for name, own in self.members.items():
            before = None if memory is None else memory[name]
            mask = None if masks is None else masks[name]
            actions[name], kept[name] = own.act(observations[name], before, mode, mask=mask, seed=seed)
        return actions, kept

    def _require_agents(self, observations: Mapping[str, ArrayLike]) -> None:
        missing = [name for name in self.members if name not in observations]
        if missing:
            raise UserError(f"no observation of the agent {missing[0]}: give one for each of {', '.join(self.members)}")
        for name in observations:
            if name not in self.members:
                raise unknown("agent of the team", name, self.members)

    def save(self, folder: str | Path) -> None:
        """Write the folder: a policy folder for each agent, and `team.json`, which is written last.

        Raises:
            UserError: a file cannot be written.
        """
        path = Path(folder)
        for name, own in self.members.items():
            own.save(path / name)
        write_json(path / TEAM, {"format": FORMAT, "agents": list(self.members), "info": self.info})

    @classmethod
    def load(cls, folder: str | Path) -> TeamPolicy:
        """Read a team from its folder.

        Raises:
            UserError: no `team.json` in the folder, another format, or a damaged policy of an agent.
        """
        path = Path(folder)
        if not (path / TEAM).is_file():
            raise UserError(
                f"no team in {folder}: expected {TEAM} and a folder for each agent; name the folder policy/ of a run"
            )
        found = team_facts(path)
        return cls({name: Policy.load(path / name) for name in found["agents"]}, found["info"])

    @functools.cached_property
    def together(self) -> Policy:
        """All agents as one policy of joint observations and joint actions, see `core.team`."""
        each = list(self.members.values())
        algorithm = assembled(self.team, [(own.algorithm, own.cfg) for own in each])
        spec = self.team.joint
        fitted = joint_treatment([own.fitted for own in each], spec.action)
        return Policy(algorithm, Assembled(), tuple(own.state for own in each), spec, fitted, self.info)

    def __repr__(self) -> str:
        facts = ", ".join(f"{name} {value}" for name, value in self._facts())
        return line("TeamPolicy", facts)

    def _repr_html_(self) -> str:
        return facts_html("Policies of a team", self._facts())

    def _facts(self) -> list[tuple[str, str]]:
        names = sorted({own.algorithm.name for own in self.members.values()})
        facts = [("agents", ", ".join(self.members)), ("algorithm", ", ".join(names))]
        return [*facts, *([("environment", str(self.info["env_id"]))] if self.info.get("env_id") else [])]


def teams_in(path: Path) -> list[Path]:
    """The folders of teams in `path`: itself, or those of a run, in natural order. Empty if there are none."""
    for folder in (path, path / "policy"):
        if (folder / TEAM).is_file():
            return [folder]
        several = [file.parent for file in folder.glob(f"*/{TEAM}")]
        if several:
            return sorted(several, key=lambda one: (len(one.name), one.name))
    return []
