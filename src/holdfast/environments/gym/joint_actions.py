"""Several discrete actions at once (MultiDiscrete, MultiBinary) as one discrete action, and back.

The number of a joint action counts through all combinations, the last part fastest, as `numpy.ravel_multi_index` does.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
from gymnasium.spaces import Discrete, MultiBinary, MultiDiscrete

from ...core.errors import UserError

if TYPE_CHECKING:
    from gymnasium.spaces import Space

MOST = 4096  # joint actions: networks have one output for each of them


def counts(space: Space) -> np.ndarray | None:
    """How many values each part of an action has, [K]; None if the space is neither MultiDiscrete nor MultiBinary."""
    if isinstance(space, MultiDiscrete):
        return np.ravel(space.nvec).astype(np.int64)
    if isinstance(space, MultiBinary):
        return np.full(math.prod(space.shape), 2)
    return None


def joint_space(space: Space, where: str) -> Space:
    """The Discrete space of joint actions; other spaces are returned as they are.

    Args:
        space: the action space.
        where: name of the data set or the environment in error messages.

    Raises:
        UserError: more than `MOST` combinations.
    """
    each = counts(space)
    if each is None:
        return space
    total = math.prod(each.tolist())
    if total > MOST:
        raise UserError(
            f"{where}: actions have {' x '.join(map(str, each.tolist()[:8]))}{' ...' if len(each) > 8 else ''} = "
            f"{total:,} combinations, expected at most {MOST:,}: each is one output of a network; leave parts out"
        )
    return Discrete(total)


def joint(space: Space, actions: np.ndarray, where: str) -> np.ndarray:
    """Actions [N, *space.shape] as numbers of joint actions, [N] int64.

    Args:
        space: a MultiDiscrete or MultiBinary space.
        actions: whole numbers.
        where: name of the column in error messages.

    Raises:
        UserError: another shape, or values outside the space.
    """
    each = counts(space)
    assert each is not None, "only MultiDiscrete and MultiBinary actions have parts"
    if space.shape == (1,) and actions.ndim == 1:
        actions = actions[:, None]
    if actions.shape[1:] != space.shape:
        raise UserError(f"{where} have rows of shape {actions.shape[1:]}, their space has {space.shape}")
    parts = actions.reshape(len(actions), -1) - _starts(space)
    wrong = (parts < 0) | (parts >= each) | (parts != np.round(parts))
    if wrong.any():
        row = int(np.argmax(wrong.any(1)))
        raise UserError(f"{where} in row {row} are {actions[row].tolist()}, expected values of {space}")
    return np.asarray(np.ravel_multi_index(tuple(parts.astype(np.int64).T), tuple(each)), np.int64)


def parts(space: Space, number: np.ndarray) -> np.ndarray:
    """The actions [..., *space.shape] with these numbers [...]: the inverse of `joint`."""
    each = counts(space)
    assert each is not None, "only MultiDiscrete and MultiBinary actions have parts"
    found = np.stack(np.unravel_index(np.asarray(number, np.int64), tuple(each)), -1) + _starts(space)
    return found.reshape(*np.shape(number), *(space.shape or ())).astype(space.dtype)


def _starts(space: Space) -> np.ndarray:
    """The first value of each part, [K]."""
    start: Any = getattr(space, "start", 0)
    return np.ravel(start).astype(np.int64)


class JointActions(gymnasium.ActionWrapper):
    """An environment that takes numbers of joint actions."""

    def __init__(self, env: gymnasium.Env, where: str) -> None:
        """
        Raises:
            UserError: more than `MOST` combinations.
        """
        super().__init__(env)
        self.action_space = joint_space(env.action_space, where)

    def action(self, action: int) -> np.ndarray:
        """The parts of an action."""
        return parts(self.env.action_space, np.asarray(action))
