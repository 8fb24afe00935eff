"""The shapes of a Gymnasium environment, and whether they match those that a policy was trained for.

Nothing here imports jax at run time, since worker processes use it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np

from ...core.errors import UserError

if TYPE_CHECKING:
    import gymnasium
    from gymnasium.spaces import Box

    from ...core.spec import Spec


class ActionShape(Protocol):
    """What `mask_of` reads of a `Spec` or an `env_pool.Shape`."""

    @property
    def discrete(self) -> bool:
        """Whether actions are integers."""

    @property
    def action(self) -> int:
        """The number of discrete actions, or dimensions of an action."""


class ActionBounds(Protocol):
    """What `require_match` reads of a policy's treatment (`data.feed.treatment.Fitted`)."""

    @property
    def action_low(self) -> np.ndarray | None:
        """Least actions, [A]; None if discrete."""

    @property
    def action_high(self) -> np.ndarray | None:
        """Largest actions, [A]; None if discrete."""

    @property
    def action_start(self) -> int:
        """The first discrete action."""


def spec_of(env: gymnasium.Env, masked: bool = False) -> Spec:
    """The shapes of an environment.

    Args:
        env: a Gymnasium environment with a Box of observations and a Box (one axis) or Discrete space of actions.
        masked: whether its info carries `action_mask`.

    Raises:
        UserError: other kinds of spaces; the line names the wrapper to use.
    """
    from gymnasium.spaces import Box, Discrete

    from ...core.spec import Spec, array_spec

    observation = env.observation_space
    action = env.action_space
    name = name_of(env)
    if not isinstance(observation, Box):
        raise UserError(
            f"observations of {name} are {type(observation).__name__}, expected Box (float vectors, or images): "
            "wrap it in gymnasium.wrappers.FlattenObservation"
        )
    obs = array_spec(observation.shape, observation.dtype)
    horizon = getattr(env.spec, "max_episode_steps", None)
    if isinstance(action, Discrete):
        return Spec(obs, int(action.n), True, masked, horizon)
    if isinstance(action, Box) and len(action.shape) == 1:
        return Spec(obs, int(action.shape[0]), False, False, horizon)
    raise UserError(
        f"actions of {name} are {action}, expected Discrete or a Box of one axis: wrap it to flatten its actions"
    )


def require_match(env: gymnasium.Env, spec: Spec, fitted: ActionBounds) -> None:
    """Refuse an environment in which a policy cannot act.

    Args:
        env: the environment.
        spec: the shapes that the policy was trained for.
        fitted: the policy's treatment, with its action bounds [A] or its first discrete action.

    Raises:
        UserError: all differences between the two, in one line.
    """
    found = spec_of(env)
    faults = []
    if found.obs != spec.obs:
        faults.append(f"observations {_observations(found)}, but the policy takes {_observations(spec)}")
    if found.discrete != spec.discrete or found.action != spec.action:
        faults.append(f"{_actions(found)}, but the policy gives {_actions(spec)}")
    elif spec.discrete:
        start = int(getattr(env.action_space, "start", 0))
        if start != int(fitted.action_start):
            faults.append(f"actions from {start}, but the policy's start at {int(fitted.action_start)}")
    else:
        faults += _bounds_faults(
            cast("Box", env.action_space), np.asarray(fitted.action_low), np.asarray(fitted.action_high)
        )
    if faults:
        raise UserError(
            f"environment {name_of(env)} does not match the policy: {'; '.join(faults)}: choose its own with --env"
        )


def _bounds_faults(space: Box, low: np.ndarray, high: np.ndarray) -> list[str]:
    """Whether a policy's actions in [low, high] leave the Box `space`."""
    slack = 1e-6 * np.maximum(1.0, np.abs(high))
    if (low < space.low - slack).any() or (high > space.high + slack).any():
        return [f"actions in {_box(space.low, space.high)}, but the policy's reach {_box(low, high)}"]
    return []


def mask_of(info: Mapping[str, Any], shape: ActionShape) -> np.ndarray | None:
    """The legal actions, [A] bool, in the `info` of an environment; None if it has no mask or continuous actions.

    Raises:
        UserError: a mask of the wrong shape, or without a legal action.
    """
    mask = info.get("action_mask")
    if mask is None or not shape.discrete:
        return None
    mask = np.asarray(mask).astype(bool)
    if mask.shape != (shape.action,):
        raise UserError(f"the environment's action_mask has shape {mask.shape}, expected ({shape.action},)")
    if not mask.any():
        raise UserError("the environment's action_mask allows no action")
    return mask


def name_of(env: gymnasium.Env) -> str:
    """The id of an environment; the name of its class if it was made without one."""
    return env.spec.id if env.spec is not None else type(env.unwrapped).__name__


def _observations(spec: Spec) -> str:
    return f"images {spec.obs_shape}" if spec.images else str(spec.obs)


def _actions(spec: Spec) -> str:
    return f"{spec.action} discrete actions" if spec.discrete else f"{spec.action} continuous actions"


def _box(low: np.ndarray, high: np.ndarray) -> str:
    return f"[{np.min(low):g}, {np.max(high):g}]"
