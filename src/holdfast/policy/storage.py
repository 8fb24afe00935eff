"""Trees of arrays on disk: safetensors by key path, checked when read, and the checkpoints of a run. No pickle."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as parse
from safetensors.numpy import save as serialise

from ..core.errors import UserError
from ..core.tree import name_of
from .files import ASIDE, read_checked, read_json, write_atomic, write_json

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


class Saved(NamedTuple):
    """One checkpoint, verified and in memory."""

    step: int
    metadata: dict[str, Any]
    data: bytes
    where: str

    def tree(self, like: T) -> T:
        """Its tree, in the structure of `like`."""
        return unpack(self.data, like, self.where)[0]


class Checkpoints:
    """The newest `keep` checkpoints of a run in one folder.

    Each is a safetensors file and a small JSON file that points to it with its checksum, written after it: a checkpoint
    exists once its pointer does, so an interrupted save loses nothing and leaves only files that the next one clears.
    """

    def __init__(self, folder: str | Path, keep: int = 2) -> None:
        self.folder, self.keep = Path(folder), keep

    def steps(self) -> list[int]:
        """Steps that have a checkpoint, oldest first."""
        found = (re.fullmatch(r"step-(\d+)\.json", path.name) for path in self.folder.glob("step-*.json"))
        return sorted(int(match[1]) for match in found if match)

    def latest(self) -> int | None:
        """The newest step, or None where there is none."""
        return max(self.steps(), default=None)

    def save(self, step: int, tree: Any, metadata: Mapping[str, Any] | None = None) -> Path:
        """Save `tree` as the checkpoint of `step`, then drop the ones beyond `keep`.

        Returns:
            The path of the pointer.

        Raises:
            UserError: the disk refuses; the checkpoints there before are all still good.
        """
        self._clear()
        last = self.latest()
        kept = "no checkpoint was there before" if last is None else f"the checkpoint of step {last} is kept"
        data = pack(tree, metadata)
        sha256 = hashlib.sha256(data).hexdigest()
        # named by content, so that saving a step again never writes over the file that the old pointer means
        file = self.folder / f"step-{step:09d}-{sha256[:12]}.safetensors"
        try:
            write_atomic(file, data, kept)
            write_json(self._pointer(step), {"format": 1, "step": step, "file": file.name, "sha256": sha256}, kept)
        except UserError:
            self._clear()
            raise
        self.prune()
        return self._pointer(step)

    def prune(self) -> None:
        """Drop the checkpoints beyond `keep`: a process killed right after a save may have left one more."""
        for old in self.steps()[: -self.keep]:
            with contextlib.suppress(OSError):
                self._pointer(old).unlink()
        self._clear()

    def read(self, step: int | None = None) -> Saved:
        """The checkpoint of `step` (None: the newest), verified, its metadata read.

        Raises:
            UserError: there is none, or it is damaged; the other ones on disk are named.
        """
        steps = self.steps()
        if not steps:
            raise UserError(f"no checkpoint in {self.folder}: train first, or name another run")
        step = steps[-1] if step is None else step
        if step not in steps:
            raise UserError(f"no checkpoint of step {step} in {self.folder}; there are: {', '.join(map(str, steps))}")
        try:
            pointer = read_json(self._pointer(step))
            file, sha256 = self.folder / Path(pointer["file"]).name, str(pointer["sha256"])
            data = read_checked(file, sha256)
        except KeyError as error:
            raise UserError(f"{self._pointer(step)} is damaged: it has no {error}{self._others(step)}") from error
        except UserError as error:
            raise UserError(f"{error}{self._others(step)}") from error
        return Saved(step, metadata_of(data, str(file)), data, str(file))

    def load(self, like: T, step: int | None = None) -> tuple[T, dict[str, Any]]:
        """The tree and the metadata of the checkpoint of `step` (None: the newest)."""
        saved = self.read(step)
        return saved.tree(like), saved.metadata

    def _pointer(self, step: int) -> Path:
        return self.folder / f"step-{step:09d}.json"

    def _others(self, step: int) -> str:
        older = [s for s in self.steps() if s < step]
        return f" (to go on from the checkpoint of step {older[-1]}, delete {self._pointer(step)})" if older else ""

    def _clear(self) -> None:
        """Remove what no pointer means: leftovers of interrupted saves and files of dropped checkpoints."""
        used = set()
        for step in self.steps():
            try:
                used.add(str(read_json(self._pointer(step)).get("file")))
            except UserError:
                return  # a damaged pointer: keep everything, someone may want to look
        for path in [*self.folder.glob(f"{ASIDE}*"), *self.folder.glob("step-*.safetensors")]:
            if path.name not in used:
                with contextlib.suppress(OSError):
                    path.unlink()


def _dtype(leaf: Any) -> np.dtype:
    return np.dtype(leaf.dtype) if hasattr(leaf, "dtype") else np.asarray(leaf).dtype


def _as(array: np.ndarray, leaf: Any) -> Any:
    if isinstance(leaf, (bool, int, float)):
        return type(leaf)(array)
    return array if isinstance(leaf, (np.ndarray, np.generic)) else jnp.asarray(array)
