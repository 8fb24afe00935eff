"""Checks of what a caller gives to a policy. Every mistake becomes a `UserError` of one line."""

from __future__ import annotations

import operator
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, SupportsIndex

import jax
import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from ..core import images
from ..core.errors import UserError
from ..core.spec import ArraySpec, Memory, Obs, Spec
from ..core.tree import Tree
from ..data import spaces

if TYPE_CHECKING:
    from gymnasium.spaces import Space

SEEDS = 2**63  # seeds are below
LARGEST = float(np.finfo(np.float32).max)  # networks calculate in float32


def observations(obs: Obs, spec: Spec, raw: Space | None = None) -> Obs:
    """Observations as an array, or as arrays by name. Images of another layout get the one of `spec`.

    Args:
        obs: what the caller gives.
        spec: shapes of the problem.
        raw: the space of the environment's observations if they are flattened; None: they are not.

    Raises:
        UserError: lists of different lengths, or observations that do not have the form of the space.
    """
    if raw is not None:
        try:
            return spaces.flatten_observation(raw, obs, "the policy's observations")
        except (ValueError, TypeError, AttributeError, OverflowError) as fault:  # NumPy: what is not an array
            raise UserError(f"observations are {_shown(obs)}, expected those of the environment: {raw}") from fault
    if isinstance(obs, Mapping):
        return {name: array(x, f"observations '{name}'") for name, x in obs.items()}
    given = array(obs, "observations")
    return _image(given, spec.obs_shape) if spec.images else given


def _image(given: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """One image or several in the layout `shape`. What has another layout is returned as it is."""
    if shape in (given.shape, given.shape[1:]) and given.dtype == np.uint8:
        return given
    for lead in (0, 1):
        if images.layout(given.shape[lead:], given.dtype) == shape:
            return images.in_layout(given, lead)
    return given


def array(values: ArrayLike, what: str, dtype: DTypeLike | None = None) -> np.ndarray:
    """An array.

    Args:
        values: numbers, an array or nested lists.
        what: name of the values, for the message.
        dtype: type of the array; None: that of the values.

    Raises:
        UserError: lists of different lengths, or values of another type.
    """
    try:
        return np.asarray(values, dtype)
    except (ValueError, TypeError, OverflowError) as fault:
        kind = "numbers" if dtype is None else f"{np.dtype(dtype).name} numbers"
        raise UserError(
            f"{what} cannot be read as an array: expected {kind} in lists of equal lengths, got {_shown(values)}"
        ) from fault


def require_rows(obs: Obs, spec: Spec) -> bool:
    """Refuse observations that are not [*obs] or [n, *obs], or not finite in float32.

    Returns:
        Whether it is a single observation, without the axis n.

    Raises:
        UserError: naming the shape, or the first bad entry.
    """
    arrays = spec.obs_arrays
    if isinstance(arrays, ArraySpec):
        if isinstance(obs, Mapping):
            raise UserError(f"observations are arrays by name ({', '.join(map(str, obs))}), expected one array")
        return _require_array(obs, arrays, "observations")
    if not isinstance(obs, Mapping) or obs.keys() != arrays.keys():
        found = sorted(obs) if isinstance(obs, Mapping) else "one array"
        raise UserError(f"observations are {found}, expected arrays by name: {', '.join(arrays)}")
    single = {name: _require_array(obs[name], one, f"observations '{name}'") for name, one in arrays.items()}
    sizes = {None if single[name] else len(obs[name]) for name in arrays}
    if len(sizes) > 1:
        raise UserError("observations by name have different numbers of rows: expected one number for all")
    return sizes == {None}


def _require_array(obs: np.ndarray, one: ArraySpec, what: str) -> bool:
    if obs.shape != one.shape and obs.shape[1:] != one.shape:
        raise UserError(f"{what} have shape {obs.shape}, expected {one.shape} or (n, {', '.join(map(str, one.shape))})")
    if obs.dtype.kind not in "fiub":
        raise UserError(f"{what} have type {obs.dtype}, expected numbers")
    if one.dtype != "float32" and obs.dtype != one.dtype:
        raise UserError(f"{what} have type {obs.dtype}, expected {one.dtype}")
    bad = ~np.isfinite(obs)
    if obs.dtype.kind == "f" and obs.dtype.itemsize > 4:
        bad |= np.abs(obs) > LARGEST
    if bad.any():
        at = tuple(map(int, np.argwhere(bad)[0]))
        which = what.replace("observations", "observation")
        raise UserError(f"the {which} at index {at} is {obs[at]}, expected finite numbers up to {LARGEST:.3g}")
    return obs.shape == one.shape


def rewards(reward: ArrayLike | None, n: int) -> np.ndarray:
    """Rewards of the step before as [n] float64; zeros for None.

    Raises:
        UserError: not n finite numbers.
    """
    if reward is None:
        return np.zeros(n)
    values = array(reward, "rewards", np.float64)
    if values.shape != (n,) and not (n == 1 and values.shape == ()):
        raise UserError(f"the reward has shape {values.shape}, expected ({n},): one number for each observation")
    if not np.isfinite(values).all():
        raise UserError(f"the reward is {_shown(reward)}, expected finite numbers")
    return values.reshape(n)


def targets(target: ArrayLike, n: int) -> np.ndarray:
    """Raw returns that a policy is asked for as [1, n] float64; one number is for all.

    Raises:
        UserError: not n finite numbers.
    """
    values = array(target, "target_return", np.float64)
    if values.shape not in ((), (n,)):
        raise UserError(f"target_return has shape {values.shape}, expected one number or ({n},)")
    if not np.isfinite(values).all():
        raise UserError(f"target_return is {_shown(target)}, expected finite numbers, sums of raw rewards")
    return np.broadcast_to(values, (1, n))


def require_seed(seed: SupportsIndex) -> int:
    """A seed as a Python integer.

    Raises:
        UserError: not a whole number, or out of range.
    """
    try:
        number = operator.index(seed)
    except TypeError:
        raise UserError(f"the seed is {_shown(seed)}, expected a whole number") from None
    if isinstance(seed, (bool, np.bool_)) or not -SEEDS <= number < SEEDS:
        raise UserError(f"the seed is {_shown(seed)}, expected a whole number below 2**63")
    return number


def require_memory(memory: Memory, fresh: Memory, n: int) -> Memory:
    """Refuse a memory that `act` did not return for as many observations.

    Args:
        memory: what the caller gives.
        fresh: the memory at the start of an episode.
        n: number of observations.

    Raises:
        UserError: another structure, or leaves of other shapes.
    """
    try:
        fits = _kinds(memory) == _kinds(fresh)
    except (AttributeError, TypeError, ValueError):
        fits = False
    if not fits:
        raise UserError(
            f"the memory is not one that this policy returned for {n} observation(s): give the memory of the last "
            "policy.act, or None at the start of an episode"
        )
    return memory


def _kinds(tree: Tree) -> tuple[Any, list[Any]]:
    leaves, treedef = jax.tree.flatten(tree)
    return treedef, [(tuple(x.shape), np.dtype(x.dtype).kind in "OSU") for x in leaves]


def folder(path: str | os.PathLike[str]) -> Path:
    """A path as a `Path`.

    Raises:
        UserError: not a path.
    """
    try:
        found = Path(path)
    except TypeError:
        raise UserError(f"the folder of a policy is {_shown(path)}, expected a path") from None
    if not str(path) or "\0" in str(path):
        raise UserError(f"the folder of a policy is {_shown(path)}, expected a path")
    return found


def _shown(value: ArrayLike | os.PathLike[str] | SupportsIndex) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) < 60 else f"{text[:57]}..."
