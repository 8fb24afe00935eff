"""The action space of a data set whose file has none: what is assumed, and what the user says instead."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..core.errors import UserError
from . import spaces
from .arrays import as_actions
from .dataset import Dataset

if TYPE_CHECKING:
    from gymnasium.spaces import Box, Discrete, Space

Kind = Literal["discrete", "continuous"]
ASSUMED = "assumed"  # entry of the provenance: which facts of the action space no file and no user has given


def with_action_space(dataset: Dataset, space: Space) -> Dataset:
    """The data set with another action space, and its actions in the shape of that space.

    Args:
        dataset: the data set.
        space: the space, for example that of an environment. If the actions do not have its dimensions, the data set is
            returned as it is.

    Raises:
        UserError: the space is Discrete and the actions are not whole numbers.
    """
    from gymnasium.spaces import Box, Discrete

    from ..environments.gym.joint_actions import counts

    chosen: Any = space
    width = 1 if dataset.actions.ndim == 1 else dataset.actions.shape[1]
    alike = not isinstance(space, Discrete) and space.shape == (width,)
    if not (isinstance(space, Discrete) and width == 1) and not (
        alike and (isinstance(space, Box) or counts(space) is not None)
    ):
        return dataset
    actions = as_actions(dataset.actions, f"{dataset.id}: actions", chosen)
    if isinstance(space, Discrete):
        actions = _whole(actions, dataset.id)
    elif isinstance(space, Box) and actions.dtype.kind != "f":
        actions = actions.astype(np.float32)
    known = {name: value for name, value in dataset.provenance.items() if name != ASSUMED}
    return dataclasses.replace(dataset, actions=actions, action_space=chosen, provenance=known)


def with_action_options(
    dataset: Dataset,
    kind: Kind | None = None,
    start: int | None = None,
    count: int | None = None,
    bounds: spaces.Bounds | None = None,
) -> Dataset:
    """The data set with the action space that the user describes. What is not given stays as it was.

    Args:
        dataset: the data set.
        kind: "discrete" or "continuous".
        start: the first discrete action.
        count: number of discrete actions.
        bounds: low and high of continuous actions, numbers or `[A]`.

    Raises:
        UserError: an option that does nothing for actions of this kind, or actions that are not of this kind.
    """
    if kind is None and start is None and count is None and bounds is None:
        return dataset
    if kind not in (None, "discrete", "continuous"):
        raise UserError(f"--action-kind {kind}: expected discrete or continuous")
    if (kind == "discrete") if kind else dataset.discrete:
        if bounds is not None:
            raise UserError(
                f"{dataset.id} has discrete actions, which have no bounds: leave --action-bounds out, or add "
                "--action-kind continuous"
            )
        open_ended = count is None and (ASSUMED in dataset.provenance or not dataset.discrete)
        numbered = with_action_space(dataset, _numbered(dataset, start, count))
        return _assuming(numbered, ["count"]) if open_ended else numbered
    if start is not None or count is not None:
        raise UserError(
            f"{dataset.id} has continuous actions, which have no first one and no number: leave --action-start and "
            "--action-count out, or add --action-kind discrete"
        )
    changed = with_action_space(dataset, _bounded(dataset, bounds))
    if bounds is not None or (not dataset.discrete and ASSUMED not in dataset.provenance):
        return changed
    return _assuming(changed, ["bounds"])


def bounded(space: Space, bounds: spaces.Bounds | None, where: str) -> Space:
    """The action space of an environment with the bounds that the user gives.

    Args:
        space: the space of the environment.
        bounds: low and high, numbers or `[A]`; None: those of the environment.
        where: name of the environment in error messages.

    Raises:
        UserError: bounds for discrete actions, or bounds beyond those of the environment.
    """
    from gymnasium.spaces import Box

    if bounds is None:
        return space
    if not isinstance(space, Box):
        raise UserError(f"actions of {where} have no bounds: leave --action-bounds out")
    low, high = (np.broadcast_to(np.asarray(b, space.dtype), space.shape).copy() for b in bounds)
    if (low < space.low).any() or (high > space.high).any() or not (low < high).all():
        raise UserError(
            f"--action-bounds {np.min(low):g} {np.max(high):g}: expected low < high, within the bounds of {where}, "
            f"{np.min(space.low):g} to {np.max(space.high):g}"
        )
    return Box(low, high, dtype=space.dtype.type)


def _assuming(dataset: Dataset, facts: list[str]) -> Dataset:
    """The data set with what is still assumed of its action space."""
    return dataclasses.replace(dataset, provenance={**dataset.provenance, ASSUMED: facts})


def _numbered(dataset: Dataset, start: int | None, count: int | None) -> Discrete:
    """The Discrete space from the options, and what they leave open from the data set."""
    from gymnasium.spaces import Discrete

    space: Any = dataset.action_space
    given = dataset.discrete and ASSUMED not in dataset.provenance
    actions = dataset.actions.reshape(-1) if dataset.actions.size else np.zeros(1)
    if start is None:
        start = int(space.start) if given else min(0, int(actions.min()))
    if count is None:
        end = int(space.start) + int(space.n) if given else int(actions.max()) + 1
        count = end - start
    if count < 1:
        raise UserError(f"{dataset.id}: {count} actions from {start}, expected at least 1 (--action-count)")
    return Discrete(count, start=start)


def _bounded(dataset: Dataset, bounds: spaces.Bounds | None) -> Box:
    """The Box from the bounds, else that of the data set."""
    from gymnasium.spaces import Box

    if bounds is None and isinstance(dataset.action_space, Box):
        return dataset.action_space
    low, high = (-1.0, 1.0) if bounds is None else bounds
    actions = dataset.actions.astype(np.float32) if dataset.actions.dtype.kind != "f" else dataset.actions
    box: Any = spaces.action_space_for(actions.reshape(len(actions), -1), (low, high))
    return box


def _whole(actions: np.ndarray, id: str) -> np.ndarray:
    """Discrete actions as integers."""
    if actions.dtype.kind in "iu":
        return actions
    broken = np.flatnonzero(~np.isfinite(actions) | (actions != np.round(actions)))
    if len(broken):
        raise UserError(
            f"{id}: the action in row {broken[0]} is {actions[broken[0]]:g}, expected a whole number (discrete actions)"
        )
    return actions.astype(np.int64)
