"""Vaults of OG-MARL (Formanek and others 2023, arXiv:2302.00521), which Flashbax writes, read with tensorstore.

A vault is a folder `NAME.vlt` with a folder for each part; a part has `metadata.json` and arrays in tensorstore's form
(Zarr in OCDBT), [1, T, N, ...] with one axis of T steps and one of N agents: observations, actions, rewards, terminals,
truncations, and in `infos` the legal actions. Agents have no names there, so they are agent_0, agent_1, ...

An episode ends truly when all agents are terminal, and by a limit when one is truncated. The next observation of a step
is that of the next step, so the last step before a time limit is left out, as in D4RL's files.
"""

from __future__ import annotations

import ast
import importlib
import math
from pathlib import Path
from typing import Any

import numpy as np

from ...core.errors import UserError, one_line
from ...core.files import JSON, expanded, read_json
from ..sources.files import ALWAYS_UNPACKED, MOST_UNPACKED
from .dataset import TeamDataset

METADATA = "metadata.json"
NEEDED = ("observations", "actions", "rewards", "terminals")
OPTIONAL = ("truncations", "infos.legals")
FORMAT = 1  # whole part of the version of Flashbax's form


def is_vault(path: str | Path) -> bool:
    """Whether a folder is a vault, or a part of one."""
    return bool(_parts(expanded(str(path))))


def _parts(place: Path) -> list[Path]:
    """The folders of the parts of a vault; itself if it is one."""
    if _is_part(place):
        return [place]
    return sorted(inside for inside in place.glob("*") if _is_part(inside)) if place.suffix == ".vlt" else []


def _is_part(place: Path) -> bool:
    """Whether a folder has the metadata of a vault."""
    try:
        return (place / METADATA).is_file() and "structure_shape" in read_json(place / METADATA)
    except UserError:
        return False


def load_vault(path: str | Path) -> TeamDataset:
    """Read a vault as a joint log.

    Args:
        path: the folder of the vault if it has one part, or that of a part.

    Raises:
        UserError: not a vault, several parts, tensorstore is not installed, or arrays that are missing or damaged.
    """
    place = expanded(str(path))
    parts = _parts(place)
    if len(parts) != 1:
        names = ", ".join(part.name for part in parts) or "none"
        raise UserError(f"{path} is expected to be a vault with one part, it has {names}: name the folder of one part")
    (part,) = parts
    facts = read_json(part / METADATA)
    shapes = _flat(facts.get("structure_shape"))
    version = facts.get("version")
    if not isinstance(version, int | float) or int(version) != FORMAT:
        raise UserError(f"{part / METADATA} has version {version!r}, expected {FORMAT}: write the vault again")
    missing = [name for name in NEEDED if name not in shapes]
    if missing:
        have = ", ".join(sorted(shapes)) or "none"
        raise UserError(f"{part}: the vault has no {', '.join(missing)}; it has {have}")
    stored = [name for name in (*NEEDED, *OPTIONAL) if name in shapes]
    steps = int(_read(part, "vault_index", None)[0])
    arrays = {name: _read(part, f"{name}.", steps)[0] for name in stored}
    return _made(arrays, place)


def _flat(shapes: JSON, prefix: str = "") -> dict[str, tuple[int, ...]]:
    """The shapes of a tree of arrays by their names, joined with dots."""
    if isinstance(shapes, dict):
        found: dict[str, tuple[int, ...]] = {}
        for name, inside in shapes.items():
            found |= _flat(inside, f"{prefix}{name}.")
        return found
    try:
        return {prefix[:-1]: tuple(int(size) for size in ast.literal_eval(str(shapes)))}
    except (ValueError, SyntaxError, TypeError):
        return {}


def _read(part: Path, name: str, steps: int | None) -> np.ndarray:
    """An array of the vault, its first `steps` steps.

    Raises:
        UserError: tensorstore is not installed, or the array is missing, damaged, or too large for its folder.
    """
    try:
        tensorstore: Any = importlib.import_module("tensorstore")
    except ImportError:
        raise UserError(f"{part} needs the package tensorstore: pip install 'holdfast-rl[vault]'") from None
    store = {"driver": "ocdbt", "base": f"file://{part.resolve()}", "path": name}
    try:
        opened = tensorstore.open({"driver": "zarr", "kvstore": store}, read=True).result()
        if steps is not None:
            count = math.prod((opened.shape[0], steps, *opened.shape[2:])) * opened.dtype.numpy_dtype.itemsize
            size = sum(file.stat().st_size for file in part.rglob("*") if file.is_file())
            if count > max(ALWAYS_UNPACKED, MOST_UNPACKED * size):
                raise UserError(f"{part}: {name} declares {count:,} bytes, too many for a folder of {size:,} bytes")
            opened = opened[:, :steps]
        return np.asarray(opened.read().result())
    except UserError:
        raise
    except Exception as fault:  # tensorstore raises various errors
        reason = one_line(fault)[:200]
        raise UserError(f"{part}: {name.rstrip('.')} cannot be read ({reason}): fetch the vault again") from fault


def _made(arrays: dict[str, np.ndarray], place: Path) -> TeamDataset:
    """The log with these arrays, [T, N, ...]."""
    lead = arrays["observations"].shape[:2]
    for name, array in arrays.items():
        if array.shape[:2] != lead:
            raise UserError(f"{place}: {name} has shape {array.shape}, expected {lead} steps and agents first")
    agents = [f"agent_{i}" for i in range(lead[1])]
    ended = arrays["terminals"].astype(bool).all(1)
    cut = arrays["truncations"].astype(bool).any(1) & ~ended if "truncations" in arrays else np.zeros(lead[0], bool)
    each = {name: {agent: arrays[name][:, i] for i, agent in enumerate(agents)} for name in arrays}
    legal = each.get("infos.legals", {})
    return TeamDataset.from_arrays(
        each["observations"],
        each["actions"],
        each["rewards"],
        ended,
        cut,
        joint=True,
        id=place.stem,
        columns={agent: {"action_mask": mask.astype(bool)} for agent, mask in legal.items()},
    )
