"""Observation and action spaces: which kinds are supported, made up where a file has none, and as JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.errors import UserError

if TYPE_CHECKING:
    from gymnasium.spaces import Box, Discrete, Space


def require_supported(observation_space: Space, action_space: Space, where: str) -> None:
    """Refuse spaces that no algorithm here reads yet.

    Observations: Box of one dimension. Actions: Box of one dimension or Discrete. This and `arrays.take` are the seam
    for images and dictionaries.

    Raises:
        UserError: another kind of space.
    """
    from gymnasium.spaces import Box, Discrete

    if not isinstance(observation_space, Box) or len(observation_space.shape) != 1:
        raise UserError(
            f"{where}: observations are {_named(observation_space)}, expected a Box of one dimension (float vectors); "
            "flatten them first, e.g. with gymnasium.wrappers.FlattenObservation"
        )
    if not isinstance(action_space, Discrete) and not (isinstance(action_space, Box) and len(action_space.shape) == 1):
        raise UserError(
            f"{where}: actions are {_named(action_space)}, expected Discrete or a Box of one dimension; flatten them"
        )


def observation_box(observations: np.ndarray) -> Box:
    """An unbounded Box for observations `[M, d]` of which no bounds are known."""
    from gymnasium.spaces import Box

    dtype = observations.dtype if observations.dtype.kind == "f" else np.dtype(np.float32)
    return Box(-np.inf, np.inf, observations.shape[1:], dtype=dtype.type)


def action_space_for(actions: np.ndarray, bounds: tuple[Any, Any] | None = None) -> Box | Discrete:
    """A space for logged actions: integers `[N]` are Discrete from 0 (from the least where negative), floats `[N, A]` a
    Box.

    Args:
        actions: the logged actions.
        bounds: low and high of the Box, numbers or `[A]`; [-1, 1] where not given, as in D4RL and OGBench.
    """
    from gymnasium.spaces import Box, Discrete

    if actions.ndim == 1:
        least, most = (int(actions.min()), int(actions.max())) if actions.size else (0, 0)
        start = min(0, least)
        return Discrete(max(most - start + 1, 1), start=start)
    low, high = bounds if bounds is not None else (-1.0, 1.0)
    dtype = actions.dtype.type if actions.dtype.kind == "f" else np.float32
    low, high = (np.broadcast_to(np.asarray(b, dtype), actions.shape[1:]).copy() for b in (low, high))
    return Box(low, high, dtype=dtype)


def to_json(space: Box | Discrete) -> str:
    """A Box or Discrete as one line of JSON, Minari's own form."""
    from minari.serialization import serialize_space

    return str(serialize_space(space))


def from_json(text: str, where: str) -> Space:
    """The space that Minari (or `to_json`) wrote.

    Raises:
        UserError: no space can be read from `text`.
    """
    from minari.serialization import deserialize_space

    try:
        return deserialize_space(json.loads(text))
    except (ValueError, KeyError, TypeError, NotImplementedError, AssertionError) as e:
        raise UserError(
            f"{where}: cannot read a space from {text[:60]!r}; write the set again with a current Minari"
        ) from e


def _named(space: Space) -> str:
    shape = getattr(space, "shape", None)
    return type(space).__name__ + (f" {shape}" if shape else "")
