"""Scores of teams: the team's return in an environment of joint actions, and the return of each agent."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, SupportsFloat

import gymnasium
import numpy as np

from ..core.errors import UserError
from ..environments.gym.adapter import make_env
from ..environments.gym.naming import named
from ..policy.team import TeamPolicy
from .evaluate import Evaluation, environment_of, evaluate

if TYPE_CHECKING:
    from ..environments.gym.naming import EnvLike

AGENT_REWARDS = "agent_rewards"  # in the info of an environment: the reward of each agent by name


@dataclasses.dataclass(frozen=True, eq=False)
class TeamEvaluation(Evaluation):
    """Returns of R teams in E episodes each. `returns` are those of the team."""

    agents: tuple[str, ...] = ()
    # [R, E, N] of each agent. Equal to those of the team if the environment gives one reward for all
    agent_returns: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros((0, 0, 0)))

    def to_dict(self) -> dict[str, Any]:
        """All of these values, JSON-ready."""
        return {**super().to_dict(), "agents": list(self.agents), "agent_returns": self.agent_returns.tolist()}


def evaluate_team(
    team: TeamPolicy | Sequence[TeamPolicy],
    env: EnvLike | None = None,
    episodes: int = 10,
    seed: int = 0,
    mode: str = "best",
    progress: bool = True,
) -> TeamEvaluation:
    """Score a team, or several that play the same episodes.

    Args:
        team: the team or the teams, with the same agents.
        env: environment whose observations and actions are the joint ones, see `evaluate`. None: that of the training
            data.
        episodes: the exact number of episodes of each team.
        seed: seed of the episodes and of sampled actions.
        mode: "best" (the most likely action) or "sample".
        progress: show how many episodes have ended.

    Raises:
        UserError: no environment is known, its spaces do not match, teams of different agents, or what `evaluate`
            refuses.
    """
    teams = [team] if isinstance(team, TeamPolicy) else list(team)
    if not teams:
        raise UserError("no teams to evaluate: give at least one")
    names = teams[0].team.names
    for other in teams:
        if other.team.names != names:
            raise UserError(f"the teams have different agents, {names} and {other.team.names}: evaluate each alone")
    place = named(env) if env is not None else environment_of(teams[0].info)
    found = []
    each = []
    for one in teams:
        log: dict[int, np.ndarray] = {}

        def make(log: dict[int, np.ndarray] = log) -> _Recorder:
            return _Recorder(make_env(place), names, log)

        played = evaluate(one.together, make, episodes, seed, mode, _reference(one), progress=progress)
        found.append(played)
        each.append(np.stack([log[int(start)] for start in played.seeds[0]])[None])
    facts = {f.name: getattr(found[0], f.name) for f in dataclasses.fields(Evaluation)}
    facts |= {name: np.concatenate([getattr(one, name) for one in found]) for name in ("returns", "lengths", "seeds")}
    return TeamEvaluation(**facts, agents=names, agent_returns=np.concatenate(each))


def _reference(team: TeamPolicy) -> Any:
    found = team.info.get("reference")
    return None if found is None else (float(found[0]), float(found[1]))


class _Recorder(gymnasium.Wrapper):
    """An environment that keeps the return of each agent, by the seed of the episode."""

    def __init__(self, env: gymnasium.Env, names: Sequence[str], log: dict[int, np.ndarray]) -> None:
        super().__init__(env)
        self.names = names
        self.log = log
        self.key = 0
        self.sums = np.zeros(len(names))

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        self.key = int(seed or 0)
        self.sums = np.zeros(len(self.names))
        return self.env.reset(seed=seed, options=options)

    def step(self, action: np.ndarray | int) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        obs, reward, terminated, truncated, info = self.env.step(action)
        own = info.get(AGENT_REWARDS)
        paid = [float(reward)] * len(self.names) if own is None else [float(own[name]) for name in self.names]
        self.sums = self.sums + paid
        if terminated or truncated:
            self.log[self.key] = self.sums
        return obs, reward, terminated, truncated, info
