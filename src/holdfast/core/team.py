"""A team: the names and shapes of its agents, and their parts of joint observations and joint actions.

A joint observation is the observations of all agents, one after the other. A joint action is their actions, one after
the other, or one number if they are discrete: it counts through all combinations, the last agent fastest.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from .errors import UserError
from .spec import Array, Spec

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")  # names of agents are names of folders
MOST_AGENTS = 256  # more is a mistake in how a log was read


class Team(NamedTuple):
    """The agents of a problem; hashable and static."""

    names: tuple[str, ...]
    specs: tuple[Spec, ...]  # of each agent, as if it was alone

    @property
    def alike(self) -> bool:
        """Whether all agents have the same shapes."""
        return len(set(self.specs)) == 1

    @property
    def joint(self) -> Spec:
        """The shapes of the problem for one agent that sees and does everything."""
        first = self.specs[0]
        count = math.prod(self.counts) if first.discrete else sum(self.counts)
        masked = any(spec.masked for spec in self.specs)
        return Spec((sum(self.widths),), count, first.discrete, masked, first.horizon)

    @property
    def widths(self) -> list[int]:
        """The width of each agent's observation."""
        return [spec.obs_shape[0] for spec in self.specs]

    @property
    def counts(self) -> list[int]:
        """Dimensions of each agent's action, or how many actions it has."""
        return [spec.action for spec in self.specs]

    def observations(self, joint: Array) -> list[Any]:
        """Joint observations [..., D] as those of each agent, [..., d]."""
        return parts(joint, self.widths)

    def actions(self, joint: Array) -> list[Any]:
        """Joint actions [..., A] as those of each agent, [..., a]; or numbers [...] as the number of each agent."""
        if not self.specs[0].discrete:
            return parts(joint, self.counts)
        found: list[Any] = []
        for count in reversed(self.counts):
            found.append(joint % count)
            joint = joint // count
        return found[::-1]

    def joint_action(self, actions: Sequence[Any]) -> Any:
        """The inverse of `actions`, for discrete actions: the number [...] of the numbers of each agent."""
        number = actions[0]
        for action, count in zip(actions[1:], self.counts[1:], strict=True):
            number = number * count + action
        return number

    def masks(self, joint: Array) -> list[Any]:
        """Legal joint actions [..., A] as those of each agent, [..., a]: legal in at least one combination."""
        lead = len(joint.shape) - 1
        each = joint.reshape(*joint.shape[:-1], *self.counts)
        axes = range(lead, lead + len(self.counts))
        return [each.any(axis=tuple(axis for axis in axes if axis != own)) for own in axes]


def parts(joint: Array, widths: Sequence[int]) -> list[Any]:
    """Arrays [..., sum of widths] cut along the last axis: [..., width] each."""
    found: list[Any] = []
    start = 0
    for width in widths:
        found.append(joint[..., start : start + width])
        start += width
    return found


def require_team(names: Sequence[str], specs: Sequence[Spec], where: str) -> Team:
    """The team of these agents.

    Args:
        names: names of the agents.
        specs: shapes of each agent.
        where: name of the log or the environment, for error messages.

    Raises:
        UserError: no agents or too many, a name that cannot be the name of a folder, agents with different kinds of
            actions, or images.
    """
    if not 0 < len(names) <= MOST_AGENTS:
        raise UserError(f"{where} has {len(names)} agents, expected 1 to {MOST_AGENTS}")
    for name in names:
        if not NAME.fullmatch(str(name)):
            raise UserError(
                f"{where}: the agent {name!r} needs a name of letters, digits, '_', '-' and '.', at most 64 of them: "
                "rename it"
            )
    for name, spec in zip(names, specs, strict=True):
        if spec.discrete != specs[0].discrete:
            kinds = ["discrete" if one.discrete else "continuous" for one in (specs[0], spec)]
            raise UserError(
                f"{where}: {names[0]} has {kinds[0]} actions and {name} has {kinds[1]} ones; expected one kind for all "
                "agents: train them one by one"
            )
        if len(spec.obs_shape) != 1:
            raise UserError(f"{where}: {name} has images {spec.obs_shape}, expected vectors for every agent")
    return Team(tuple(str(name) for name in names), tuple(specs))
