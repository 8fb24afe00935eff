"""Environments with PettingZoo's parallel API as Gymnasium environments of joint observations and joint actions.

`pettingzoo/PACKAGE.NAME` is the environment NAME of a package: `pettingzoo/mpe2.simple_spread_v3`,
`pettingzoo/butterfly.knights_archers_zombies_v10` (PACKAGE is then a part of pettingzoo itself).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete, MultiDiscrete

from ...core.errors import UserError, one_line

if TYPE_CHECKING:
    from ...core.team import Team

PREFIX = "pettingzoo/"
TRUSTED = ("mpe2", "pettingzoo")  # packages that are imported for an id


class JointEnv(gymnasium.Env):
    """A team as one agent. The reward is the mean over the agents; `info["agent_rewards"]` has each one's.

    An agent that has left sees zeros and is paid nothing until the episode ends for all.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}

    def __init__(self, name: str, render_mode: str | None = None) -> None:
        """
        Args:
            name: id of the environment.
            render_mode: rgb_array or None.

        Raises:
            UserError: see `parallel`.
        """
        self.render_mode = render_mode
        self.env = parallel(name, render_mode)
        self.names: list[str] = list(self.env.possible_agents)
        seen = [self.env.observation_space(agent) for agent in self.names]
        acts = [self.env.action_space(agent) for agent in self.names]
        self.widths = [int(np.prod(space.shape)) for space in seen]
        low, high = (np.concatenate([np.ravel(getattr(one, end)) for one in seen]) for end in ("low", "high"))
        self.observation_space = Box(low.astype(np.float32), high.astype(np.float32))
        self.discrete = isinstance(acts[0], Discrete)
        self.action_space: Any
        if self.discrete:
            self.action_space = MultiDiscrete([int(one.n) for one in acts])
        else:
            low, high = (np.concatenate([np.ravel(getattr(one, end)) for one in acts]) for end in ("low", "high"))
            self.action_space = Box(low.astype(np.float32), high.astype(np.float32))
        self.sizes = [1 if self.discrete else int(np.prod(one.shape)) for one in acts]
        self.starts = [int(one.start) if self.discrete else 0 for one in acts]

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        seen, _ = self.env.reset(seed=seed, options=options)
        return self._joint(seen), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        each = np.split(np.asarray(action), np.cumsum(self.sizes)[:-1])
        given = {
            name: int(own[0]) + start if self.discrete else own.astype(np.float32)
            for name, own, start in zip(self.names, each, self.starts, strict=True)
            if name in self.env.agents
        }
        seen, rewards, terminated, truncated, _ = self.env.step(given)
        paid = {name: float(rewards.get(name, 0.0)) for name in self.names}
        over = not self.env.agents
        cut = over and any(truncated.values()) and not all(terminated.values())
        reward = float(np.mean(list(paid.values())))
        return self._joint(seen), reward, over and not cut, cut, {"agent_rewards": paid}

    def render(self) -> Any:
        return self.env.render()

    def close(self) -> None:
        self.env.close()

    def _joint(self, seen: dict[str, Any]) -> np.ndarray:
        sizes = zip(self.names, self.widths, strict=True)
        parts = [np.ravel(seen[name]) if name in seen else np.zeros(width) for name, width in sizes]
        return np.concatenate(parts).astype(np.float32)


def parallel(name: str, render_mode: str | None = None) -> Any:
    """The environment with PettingZoo's parallel API.

    Args:
        name: id of the environment.
        render_mode: rgb_array or None.

    Raises:
        UserError: another form of id, a package that is not installed, an unknown environment, or spaces that are
            neither vectors nor all of one kind of action.
    """
    package, inside = _parts(name)
    home = package if package in TRUSTED else f"pettingzoo.{package}"
    try:
        module = importlib.import_module(f"{home}.{inside}")
    except ModuleNotFoundError as fault:
        missing = str(fault.name)
        if missing.split(".")[0] not in ("pettingzoo", "mpe2") or missing in ("pettingzoo", "mpe2"):
            raise UserError(
                f"environment '{name}' needs the package {missing}: pip install 'holdfast-rl[pettingzoo]'"
            ) from fault
        raise UserError(f"unknown environment '{name}': {home} has no {inside}") from fault
    options: dict[str, Any] = {"render_mode": render_mode}
    if package == "mpe2":
        options["continuous_actions"] = True
    try:
        made = module.parallel_env(**options)
    except Exception as fault:
        raise UserError(f"environment '{name}' cannot be made: {one_line(fault)}") from fault
    kinds = set()
    for agent in made.possible_agents:
        space = made.action_space(agent)
        kinds.add(type(space).__name__)
        if not isinstance(made.observation_space(agent), Box) or not isinstance(space, Box | Discrete):
            raise UserError(
                f"environment '{name}': {agent} has observations {made.observation_space(agent)} and actions {space}, "
                "expected a Box of observations, and Box or Discrete actions"
            )
    if len(kinds) > 1:
        raise UserError(
            f"environment '{name}' has agents with {' and '.join(sorted(kinds))} actions, expected one kind"
        )
    return made


def _parts(name: str) -> tuple[str, str]:
    """The package and the name of an environment.

    Raises:
        UserError: another form of id.
    """
    package, _, inside = name.removeprefix(PREFIX).partition(".")
    if not package.isidentifier() or not inside.isidentifier():
        raise UserError(f"environment '{name}': expected {PREFIX}PACKAGE.NAME, e.g. {PREFIX}mpe2.simple_spread_v3")
    return package, inside


def register(name: str) -> str:
    """Register an environment in Gymnasium under its own id, which it returns.

    Raises:
        UserError: another form of id.
    """
    _parts(name)
    if name not in gymnasium.registry:
        gymnasium.register(name, f"{__name__}:JointEnv", kwargs={"name": name})
    return name


def team_of(name: str) -> Team:
    """The agents of an environment.

    Raises:
        UserError: see `parallel`.
    """
    from ...core.spec import Spec
    from ...core.team import require_team

    made = parallel(name)
    specs = []
    for agent in made.possible_agents:
        space = made.action_space(agent)
        discrete = isinstance(space, Discrete)
        width = int(np.prod(made.observation_space(agent).shape))
        specs.append(Spec((width,), int(space.n) if discrete else int(np.prod(space.shape)), discrete))
    names = list(made.possible_agents)
    made.close()
    return require_team(names, specs, f"environment '{name}'")
