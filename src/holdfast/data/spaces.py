"""Observation and action spaces: which kinds are supported, how a missing one is inferred, and their JSON form."""

from __future__ import annotations

import math
import warnings
from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from ..core.errors import UserError
from ..core.files import JSON, object_in
from .arrays import are_images, frozen, numbers

if TYPE_CHECKING:
    from gymnasium.spaces import Box, Discrete, Space

LARGEST_SPACE = 2**24  # entries of an observation, or discrete actions
LARGEST_FLAT = 2**31  # numbers that whole numbers are flattened to, in one column
Bounds = tuple[ArrayLike, ArrayLike]  # low and high of a Box of actions: numbers or [A]


def require_supported(observation_space: Space, action_space: Space, where: str) -> None:
    """Refuse spaces that no algorithm supports yet.

    Observations must be a Box of one dimension, or of images in their one layout; actions a Box of one dimension or
    Discrete.

    Raises:
        UserError: another kind of space; the line says how to flatten it.
    """
    from gymnasium.spaces import Box, Discrete

    if not isinstance(observation_space, Box) or not (
        len(observation_space.shape) == 1 or (observation_space.dtype == np.uint8 and len(observation_space.shape) == 3)
    ):
        raise UserError(
            f"{where}: observations are {_named(observation_space)}, expected a Box of one dimension (float vectors) "
            "or of images (uint8); flatten them first, e.g. with gymnasium.wrappers.FlattenObservation"
        )
    if not isinstance(action_space, Discrete) and not (isinstance(action_space, Box) and len(action_space.shape) == 1):
        raise UserError(
            f"{where}: actions are {_named(action_space)}, expected Discrete or a Box of one dimension; flatten them"
        )


def flattened(space: Space, where: str) -> Space:
    """The space of flattened observations: `space` itself if it is a Box, with images in their one layout.

    Args:
        space: the space of the observations, for instance Dict, Tuple, Discrete, MultiBinary, MultiDiscrete or Box.
        where: name of the data set in error messages.

    Raises:
        UserError: a space that has no flat form, for instance of texts or graphs.
    """
    from gymnasium.spaces import Box, flatdim, flatten_space

    if isinstance(space, Box):
        from ..environments.gym.image_layout import image_box

        return image_box(space)
    if not _has_flat_form(space):
        raise UserError(f"{where}: observations are {_named(space)}, which has no flat form; write float vectors")
    if flatdim(space) > LARGEST_SPACE:
        raise UserError(f"{where}: observations have {flatdim(space):,} numbers, expected at most {LARGEST_SPACE:,}")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*precision lowered")
        flat: Any = flatten_space(space)
    return Box(flat.low.astype(np.float32), flat.high.astype(np.float32), dtype=np.float32)


def _in_written_order(space: Space, facts: Any) -> Space:
    """A space whose dictionaries have the order of the JSON, which is that of the environment; Minari sorts them."""
    from gymnasium.spaces import Dict, Tuple

    inner = facts.get("subspaces") if isinstance(facts, Mapping) else None
    if isinstance(space, Dict) and isinstance(inner, Mapping):
        return Dict(OrderedDict((name, _in_written_order(space.spaces[name], inner[name])) for name in inner))
    if isinstance(space, Tuple) and isinstance(inner, list):
        return Tuple([_in_written_order(one, part) for one, part in zip(space.spaces, inner, strict=True)])
    return space


def _has_flat_form(space: Space) -> bool:
    from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple

    if isinstance(space, Dict | Tuple):
        parts = space.spaces.values() if isinstance(space, Dict) else space.spaces
        return len(parts) > 0 and all(_has_flat_form(part) for part in parts)
    return isinstance(space, Box | Discrete | MultiBinary | MultiDiscrete)


def flatten_rows(space: Space, values: Any, where: str) -> np.ndarray:
    """Observations of a space as flat rows `[M, d]`, as `gymnasium.spaces.flatten` does for each of them.

    Args:
        space: the space of the observations.
        values: M observations: an array, a mapping of them, or a sequence of them, as the space is nested.
        where: name of the observations in error messages.

    Raises:
        UserError: observations that do not have the form of the space.
    """
    from gymnasium.spaces import Dict, Discrete, MultiDiscrete, Tuple

    if isinstance(space, Dict):
        missing = [name for name in space.spaces if not isinstance(values, Mapping) or name not in values]
        if missing:
            raise UserError(f"{where} have no '{missing[0]}'; expected a mapping with {', '.join(space.spaces)}")
        parts = [flatten_rows(one, values[name], f"{where}['{name}']") for name, one in space.spaces.items()]
        return np.concatenate(parts, axis=1)
    if isinstance(space, Tuple):
        if isinstance(values, Mapping):  # as Minari stores tuples
            values = [values[key] for key in (f"_index_{i}" for i in range(len(space.spaces))) if key in values]
        if len(values) != len(space.spaces):
            raise UserError(f"{where} have {len(values)} parts, expected {len(space.spaces)}")
        parts = [
            flatten_rows(one, part, f"{where}[{i}]")
            for i, (one, part) in enumerate(zip(space.spaces, values, strict=True))
        ]
        return np.concatenate(parts, axis=1)
    array = numbers(values, where)
    shape = space.shape or ()
    if array.shape[1:] != shape and not (shape == () and array.shape[1:] == (1,)):
        raise UserError(f"{where} have rows of shape {array.shape[1:]}, expected {shape}")
    if isinstance(space, Discrete):
        return _one_hot(array.reshape(-1) - int(space.start), int(space.n), where)
    if isinstance(space, MultiDiscrete):
        columns = (array - space.start).reshape(len(array), -1)
        counts = np.ravel(space.nvec).tolist()
        return np.concatenate([_one_hot(columns[:, i], n, where) for i, n in enumerate(counts)], axis=1)
    return array.reshape(len(array), -1).astype(np.float32 if array.dtype.kind != "f" else array.dtype)


def flatten_observation(space: Space, values: Any, where: str) -> np.ndarray:
    """One observation of a space as `[d]`, or several as `[M, d]`; what is flat already stays as it is.

    Raises:
        UserError: observations that do not have the form of the space.
    """
    part, inner = values, space
    while hasattr(inner, "spaces"):  # the first leaf tells whether there are several
        name, inner = next(iter(inner.spaces.items() if isinstance(inner.spaces, Mapping) else enumerate(inner.spaces)))
        try:
            part = part[name]
        except (KeyError, IndexError, TypeError):
            break
    if hasattr(values, "dtype") and np.shape(values)[-1:] == flattened(space, where).shape:
        whole = hasattr(space, "start")  # of Discrete and MultiDiscrete: integers are the observations themselves
        if not whole or np.asarray(values).dtype.kind == "f":
            return np.asarray(values)
    if np.ndim(part) > len(inner.shape or ()):
        return flatten_rows(space, values, where)
    return flatten_rows(space, _batch_of_one(space, values), where)[0]


def _batch_of_one(space: Space, values: Any) -> Any:
    """An observation with a first axis of 1 in each of its arrays."""
    inner = getattr(space, "spaces", None)
    if isinstance(inner, Mapping) and isinstance(values, Mapping):
        return {name: _batch_of_one(inner[name], part) for name, part in values.items() if name in inner}
    if isinstance(inner, tuple) and isinstance(values, tuple | list):
        return [_batch_of_one(one, part) for one, part in zip(inner, values, strict=False)]
    return np.asarray(values)[None]


def _one_hot(index: np.ndarray, n: int, where: str) -> np.ndarray:
    wrong = np.flatnonzero((index < 0) | (index >= n) | (index != np.round(index)))
    if len(wrong):
        raise UserError(f"{where} in row {wrong[0]} is not one of the {n} values of its space")
    if len(index) * n > LARGEST_FLAT:
        raise UserError(f"{where} have {len(index):,} rows of {n:,} values, too many to flatten: write vectors")
    return (index[:, None] == np.arange(n)).astype(np.float32)


def observation_box(observations: np.ndarray) -> Box:
    """An unbounded Box for observations `[M, d]` whose bounds are not known, or the Box of images."""
    from gymnasium.spaces import Box

    if are_images(observations):
        return Box(0, 255, observations.shape[1:], np.uint8)
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


def joint_actions(actions: np.ndarray, space: Space, provenance: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The fields of a data set in which several discrete actions at once have become one.

    Args:
        actions: `[N, *space.shape]`.
        space: their space.
        provenance: provenance of the data set; the entry `raw_action_space` is added.
        where: name of the data set in error messages.

    Returns:
        `actions` `[N]`, `action_space` and `provenance`; nothing if the space is neither MultiDiscrete nor MultiBinary.

    Raises:
        UserError: too many combinations, or actions outside the space.
    """
    from ..environments.gym import joint_actions as joint

    if joint.counts(space) is None:
        return {}
    return {
        "action_space": joint.joint_space(space, where),
        "actions": frozen(joint.joint(space, actions, f"{where}: actions")),
        "provenance": {**provenance, "raw_action_space": to_json(space)},
    }


def to_json(space: Space) -> str:
    """A space as one line of JSON, in Minari's form."""
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
        return _in_written_order(deserialize_space(facts), facts)
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
