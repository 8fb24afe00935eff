"""Stores trees of arrays as safetensors files, by key path. Files are verified when they are read; no pickle."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import jax
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as parse
from safetensors.numpy import save as serialise

from ..core.errors import UserError
from ..core.files import object_in, read_checked, write_atomic
from ..core.tree import PyTree, name_of

T = TypeVar("T")
Leaf = np.ndarray | np.generic | jax.Array | jax.ShapeDtypeStruct | bool | int | float
Tree = PyTree | Mapping[str, Any] | Sequence[Any] | Leaf  # a state, a container of trees, or a leaf

KEY = "holdfast"  # the only metadata entry: safetensors writes several in no fixed order


def save_tree(path: str | Path, tree: Tree, metadata: Mapping[str, Any] | None = None, kept: str = "") -> str:
    """Write the leaves of a tree under their key paths.

    Args:
        path: the file.
        tree: a tree of arrays and plain numbers.
        metadata: written to the header as JSON.
        kept: what remains if the file cannot be written, for the error message.

    Returns:
        The sha256 of the file.

    Raises:
        UserError: the file cannot be written.
    """
    data = pack(tree, metadata)
    write_atomic(path, data, kept)
    return hashlib.sha256(data).hexdigest()


def load_tree(path: str | Path, like: T, sha256: str | None = None) -> T:
    """Read a tree of the structure, shapes and dtypes of `like` (arrays, shapes or plain numbers).

    Raises:
        UserError: the file is missing or damaged (compared with `sha256` if given), or it holds another tree: the line
            lists the names that are missing, unexpected, or of another shape or type.
    """
    return unpack(read_checked(path, sha256), like, str(path))[0]


def pack(tree: Tree, metadata: Mapping[str, Any] | None = None) -> bytes:
    """A tree as the bytes of a safetensors file, with `metadata` in its header."""
    arrays = {name: np.asarray(leaf, order="C") for name, leaf in leaves_by_name(tree).items()}
    return serialise(arrays, {KEY: json.dumps(dict(metadata or {}), sort_keys=True, allow_nan=False)})


def unpack(data: bytes, like: T, where: str) -> tuple[T, dict[str, Any]]:
    """The tree and the metadata in the bytes of a safetensors file. `where` names the file in errors."""
    metadata = metadata_of(data, where)
    return fill(like, arrays_of(data, where), where), metadata


def metadata_of(data: bytes, where: str) -> dict[str, Any]:
    """The metadata in the header of a safetensors file."""
    try:
        size = int.from_bytes(data[:8], "little")
        return object_in(object_in(data[8 : 8 + size], where)["__metadata__"][KEY], where)
    except (UserError, KeyError, TypeError) as error:
        raise UserError(f"{where} is damaged or was not written by holdfast: it has no readable header") from error


def arrays_of(data: bytes, where: str) -> dict[str, np.ndarray]:
    """The arrays in the bytes of a safetensors file, by name."""
    try:
        return parse(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise UserError(f"{where} is damaged: not a valid safetensors file ({error}); use another copy") from error


def under(prefix: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays whose names begin with `prefix`, under the rest of their names."""
    return {name.removeprefix(prefix): x for name, x in arrays.items() if name.startswith(prefix)}


SHOWN = 5  # faults in one error line


def fill(like: T, arrays: Mapping[str, np.ndarray], where: str) -> T:
    """A tree like `like`, with its leaves taken from `arrays` by name.

    NumPy leaves stay NumPy arrays, plain numbers stay plain numbers, all other leaves become device arrays.

    Raises:
        UserError: names that are missing, unexpected, or of another shape or type, in one line.
    """
    wanted = leaves_by_name(cast("Tree", like))
    faults = [f"missing {name}" for name in wanted if name not in arrays]
    faults += [f"unexpected {name}" for name in arrays if name not in wanted]
    for name in wanted.keys() & arrays.keys():
        found = arrays[name]
        shape = np.shape(wanted[name])
        dtype = _dtype(wanted[name])
        if found.shape != shape:
            faults.append(f"{name} has shape {found.shape}, expected {shape}")
        elif found.dtype != dtype:
            faults.append(f"{name} has type {found.dtype}, expected {dtype}")
    if faults:
        shown = sorted(faults)[:SHOWN] + ([f"and {len(faults) - SHOWN} more"] if len(faults) > SHOWN else [])
        raise UserError(f"{where} does not hold the expected arrays: {'; '.join(shown)}")
    treedef = jax.tree.structure(like)
    return jax.tree.unflatten(treedef, [_as(arrays[name], leaf) for name, leaf in wanted.items()])


def leaves_by_name(tree: Tree) -> dict[str, Any]:
    """Leaves by key path, in the order of the tree.

    Raises:
        ValueError: two leaves have the same name.
    """
    pairs = [(name_of(path) or "value", leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)]
    named = dict(pairs)
    if len(named) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"leaves of equal name: {sorted({n for n in names if names.count(n) > 1})}")
    return named


def _dtype(leaf: Leaf) -> np.dtype:
    return np.asarray(leaf).dtype if isinstance(leaf, (bool, int, float)) else np.dtype(leaf.dtype)


def _as(array: np.ndarray, leaf: Leaf) -> Leaf:
    if isinstance(leaf, (bool, int, float)):
        return type(leaf)(array)
    return array if isinstance(leaf, (np.ndarray, np.generic)) else jnp.asarray(array)
