"""Observation and action spaces: which kinds are supported, how a missing one is inferred, and their JSON form."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from ..core.errors import UserError
from ..core.files import JSON, object_in

if TYPE_CHECKING:
    from gymnasium.spaces import Box, Discrete, Space

LARGEST_SPACE = 2**24  # entries of an observation, or discrete actions
Bounds = tuple[ArrayLike, ArrayLike]  # low and high of a Box of actions: numbers or [A]


def require_supported(observation_space: Space, action_space: Space, where: str) -> None:
    """Refuse spaces that no algorithm supports yet.

    Observations must be a Box of one dimension, actions a Box of one dimension or Discrete. Change this function and
    `arrays.take` for image and dictionary observations.

    Raises:
        UserError: another kind of space; the line says how to flatten it.
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
    """An unbounded Box for observations `[M, d]` whose bounds are not known."""
    from gymnasium.spaces import Box

    dtype = observations.dtype if observations.dtype.kind == "f" else np.dtype(np.float32)
    return Box(-np.inf, np.inf, observations.shape[1:], dtype=dtype.type)


def action_space_for(actions: np.ndarray, bounds: Bounds | None = None) -> Box | Discrete:
    """The space of logged actions: Discrete for integers `[N]`, a Box for floats `[N, A]`.

    A Discrete space starts at 0, or at the least action if that is negative.

    Args:
        actions: the logged actions.
        bounds: low and high of the Box, numbers or `[A]`; None: [-1, 1], as in D4RL and OGBench.
    """
    from gymnasium.spaces import Box, Discrete

    if actions.ndim == 1:
        least, most = (int(actions.min()), int(actions.max())) if actions.size else (0, 0)
        start = min(0, least)
        return Discrete(max(most - start + 1, 1), start=start)
    dtype = actions.dtype.type if actions.dtype.kind == "f" else np.float32
    low, high = (np.broadcast_to(np.asarray(b, dtype), actions.shape[1:]).copy() for b in bounds or (-1.0, 1.0))
    return Box(low, high, dtype=dtype)


def to_json(space: Box | Discrete) -> str:
    """A Box or Discrete as one line of JSON, in Minari's form."""
    from minari.serialization import serialize_space

    return str(serialize_space(space))


def from_json(text: str, where: str) -> Space:
    """Read a space that Minari or `to_json` wrote.

    Args:
        text: the JSON.
        where: name of the entry in error messages.

    Raises:
        UserError: `text` is not the JSON of a space.
    """
    from minari.serialization import deserialize_space

    try:
        facts = object_in(text if isinstance(text, str) else "", where)
        _require_size(facts, where)
        return deserialize_space(facts)
    except Exception as e:  # of Minari, Gymnasium and NumPy, which have no common type
        raise UserError(
            f"{where}: cannot read a space from {str(text)[:60]!r}; write the set again with a current Minari"
        ) from e


def _require_size(facts: JSON, where: str) -> None:
    """Refuse the JSON of a space that would fill the memory."""
    if isinstance(facts, dict):
        shape = facts.get("shape", ())
        count = math.prod(shape) if isinstance(shape, list) and all(isinstance(k, int) for k in shape) else 0
        n = facts.get("n", 0)
        if count > LARGEST_SPACE or (isinstance(n, int | float) and n > LARGEST_SPACE):
            raise UserError(f"{where} declares more than {LARGEST_SPACE:,} numbers or actions")
    for inside in facts.values() if isinstance(facts, dict) else facts if isinstance(facts, list) else ():
        if isinstance(inside, dict | list):
            _require_size(inside, where)


def _named(space: Space) -> str:
    shape = getattr(space, "shape", None)
    return type(space).__name__ + (f" {shape}" if shape else "")
