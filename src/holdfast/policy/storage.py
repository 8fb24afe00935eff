"""Trees of arrays on disk: safetensors files by key path, checked when they are read. No pickle."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as parse
from safetensors.numpy import save as serialise

from ..core.errors import UserError
from ..core.files import read_checked, write_atomic
from ..core.tree import name_of

T = TypeVar("T")

KEY = "holdfast"  # the one metadata entry: several would be written in no fixed order


def save_tree(path: str | Path, tree: Any, metadata: Mapping[str, Any] | None = None, kept: str = "") -> str:
    """Write the leaves of `tree` under their key paths, with `metadata` (JSON) in the header.

    Returns:
        The sha256 of the file, for whoever points to it.

    Raises:
        UserError: the file cannot be written.
    """
    data = pack(tree, metadata)
    write_atomic(path, data, kept)
    return hashlib.sha256(data).hexdigest()


def load_tree(path: str | Path, like: T, sha256: str | None = None) -> T:
    """Read a tree of the structure, shapes and dtypes of `like` (arrays, shapes or plain numbers).

    Raises:
        UserError: the file is missing or damaged (checked against `sha256` where given), or it holds another tree:
            every missing, unexpected, mis-shaped or mis-typed name is listed.
    """
    return unpack(read_checked(path, sha256), like, str(path))[0]


def pack(tree: Any, metadata: Mapping[str, Any] | None = None) -> bytes:
    """A tree as the bytes of a safetensors file."""
    arrays = {name: np.asarray(leaf, order="C") for name, leaf in leaves_by_name(tree).items()}
    return serialise(arrays, {KEY: json.dumps(dict(metadata or {}), sort_keys=True, allow_nan=False)})


def unpack(data: bytes, like: T, where: str) -> tuple[T, dict[str, Any]]:
    """The tree and the metadata in the bytes of a safetensors file; `where` names them in errors."""
    metadata, arrays = metadata_of(data, where), arrays_of(data, where)
    return fill(like, arrays, where), metadata


def metadata_of(data: bytes, where: str) -> dict[str, Any]:
    """The metadata in the header of a safetensors file."""
    try:
        size = int.from_bytes(data[:8], "little")
        return json.loads(json.loads(data[8 : 8 + size])["__metadata__"][KEY])
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{where} is damaged or not one of holdfast's files: no readable header") from error


def arrays_of(data: bytes, where: str) -> dict[str, np.ndarray]:
    """The arrays in the bytes of a safetensors file, by name."""
    try:
        return parse(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise UserError(f"{where} is damaged: no valid safetensors ({error}); use another copy") from error


SHOWN = 5  # faults of a file that one line tells


def fill(like: T, arrays: Mapping[str, np.ndarray], where: str) -> T:
    """`like` with its leaves taken from `arrays` by name.

    NumPy leaves stay NumPy, plain numbers stay plain numbers, all others become device arrays.

    Raises:
        UserError: missing, unexpected, mis-shaped or mis-typed names, in one line.
    """
    wanted = leaves_by_name(like)
    faults = [f"missing {name}" for name in wanted if name not in arrays]
    faults += [f"unexpected {name}" for name in arrays if name not in wanted]
    for name in wanted.keys() & arrays.keys():
        found, leaf = arrays[name], wanted[name]
        shape, dtype = np.shape(leaf), _dtype(leaf)
        if found.shape != shape:
            faults.append(f"{name} has shape {found.shape}, expected {shape}")
        elif found.dtype != dtype:
            faults.append(f"{name} has type {found.dtype}, expected {dtype}")
    if faults:
        told = sorted(faults)[:SHOWN] + ([f"and {len(faults) - SHOWN} more"] if len(faults) > SHOWN else [])
        raise UserError(f"{where} does not hold what is expected: {'; '.join(told)}")
    treedef = jax.tree.structure(like)
    return jax.tree.unflatten(treedef, [_as(arrays[name], leaf) for name, leaf in wanted.items()])


def leaves_by_name(tree: Any) -> dict[str, Any]:
    """Leaves by key path, in the tree's order; two of the same name are a mistake of the program."""
    pairs = [(name_of(path) or "value", leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)]
    named = dict(pairs)
    if len(named) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"leaves of equal name: {sorted({n for n in names if names.count(n) > 1})}")
    return named


def _dtype(leaf: Any) -> np.dtype:
    return np.dtype(leaf.dtype) if hasattr(leaf, "dtype") else np.asarray(leaf).dtype


def _as(array: np.ndarray, leaf: Any) -> Any:
    if isinstance(leaf, (bool, int, float)):
        return type(leaf)(array)
    return array if isinstance(leaf, (np.ndarray, np.generic)) else jnp.asarray(array)
