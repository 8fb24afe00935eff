"""The fields of a `Dataset` in the types that it declares, with lengths and spaces that agree."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..core.errors import UserError
from . import spaces
from .arrays import OBSERVATION_COLUMNS, are_images, as_actions, as_observations, flags, frozen, numbers, stored, vector
from .facts import checked_facts


def checked_fields(given: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a data set, converted.

    Args:
        given: the fields by name, as the caller gave them.

    Raises:
        UserError: columns whose lengths or shapes do not agree, columns that do not hold numbers, or spaces that are
            not supported.
    """
    id = given["id"]
    found = {**given, **checked_facts(id, given["env_spec"], given["reference"], given["provenance"])}
    found["observations"] = as_observations(found["observations"], f"{id}: observations")
    if hasattr(found["observation_space"], "low"):
        found["observation_space"] = spaces.flattened(found["observation_space"], id)
    found["actions"] = as_actions(found["actions"], f"{id}: actions", found["action_space"])
    found |= spaces.joint_actions(found["actions"], found["action_space"], found["provenance"], id)
    found["rewards"] = frozen(vector(found["rewards"], f"{id}: rewards").astype(np.float64, copy=False))
    for name in ("terminations", "truncations"):
        found[name] = flags(found[name], f"{id}: {name}")
    found["offsets"] = _whole_offsets(found["offsets"], id)
    found["columns"] = {k: stored(k, v, f"{id}: {k}") for k, v in found["columns"].items()}
    spaces.require_supported(found["observation_space"], found["action_space"], id)
    observations = found["observations"]
    space = found["observation_space"]
    if are_images(observations) != (len(space.shape) == 3):
        raise UserError(
            f"{id}: observations have shape {observations.shape} and type {observations.dtype}, but "
            f"their space is Box {space.shape}; images need both, as bytes (uint8)"
        )
    _require_lengths(found)
    return found


def _whole_offsets(offsets: ArrayLike, id: str) -> np.ndarray:
    """The offsets as int64.

    Raises:
        UserError: they are not whole numbers [E + 1].
    """
    array = numbers(offsets, f"{id}: offsets")
    if array.ndim != 1 or not np.array_equal(array, np.floor(array)) or (np.abs(array) > 2**53).any():
        raise UserError(f"{id}: offsets of shape {array.shape} are not whole numbers, one more than episodes")
    return frozen(array.astype(np.int64))


def _require_lengths(fields: Mapping[str, Any]) -> None:
    """Refuse columns whose numbers of rows do not agree with the actions and the offsets."""
    id = fields["id"]
    offsets = fields["offsets"]
    n = len(fields["actions"])
    e = len(offsets) - 1
    if e < 0 or offsets[:1].tolist() != [0] or (np.diff(offsets) < 1).any() or offsets[-1] != n:
        raise UserError(
            f"{id}: offsets must rise from 0 to {n} (the number of actions), with at least one step an episode"
        )
    wanted = {"observations": n + e, "rewards": n, "terminations": n, "truncations": n}
    columns = {name: fields[name] for name in wanted} | fields["columns"]
    wanted |= {name: n + e if name in OBSERVATION_COLUMNS else n for name in fields["columns"]}
    for name, rows in wanted.items():
        have = len(columns[name])
        if have != rows:
            why = "one more than steps for each episode" if rows == n + e else "one for each action"
            raise UserError(f"{id}: {name} has {have} rows, expected {rows} ({why}: {n} steps, {e} episodes)")
