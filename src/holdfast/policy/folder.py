"""The folder of a policy: `policy.json` describes it, `policy.safetensors` holds its arrays and the same facts."""

from __future__ import annotations

import contextlib
import importlib.metadata
import math
import platform
import re
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..core.errors import UserError
from ..core.files import JSON as Json
from ..core.files import read_checked, read_json, write_json
from ..core.networks import is_own
from ..core.schema import fits, require_types, shown
from ..core.spec import LATER
from ..core.version import __version__
from ..parts.encoders import ENCODERS
from .storage import arrays_of, metadata_of, save_tree

FORMAT = 1
JSON = "policy.json"
TENSORS = "policy.safetensors"
NEW_TENSORS = "policy.new.safetensors"  # exists only while an older policy is replaced
TEAM = "team.json"  # of a folder with a policy folder for each agent


def write(folder: Path, facts: dict[str, Any], arrays: dict[str, Any]) -> None:
    """Write a policy. An older one in the folder is replaced atomically.

    Args:
        folder: created if it does not exist.
        facts: the description of the policy, JSON-ready.
        arrays: a tree of its arrays.

    Raises:
        UserError: a file cannot be written.
    """
    facts = {"format": FORMAT, **facts, "versions": versions()}
    tensors = folder / TENSORS
    aside = folder / NEW_TENSORS
    if aside.exists():  # an earlier save stopped before its last rename: policy.json may belong to this file
        with contextlib.suppress(UserError):
            read_checked(aside, read_json(folder / JSON).get("sha256", ""))
            aside.replace(tensors)
    target = aside if tensors.exists() else tensors
    sha256 = save_tree(target, arrays, facts)
    write_json(folder / JSON, {**facts, "sha256": sha256})
    if target != tensors:
        try:
            target.replace(tensors)
        except OSError as error:
            raise UserError(f"cannot write {tensors}: {error.strerror}; the policy is complete in {target}") from error


def read(folder: Path) -> tuple[dict[str, Any], dict[str, np.ndarray], str]:
    """Read and verify a policy.

    Returns:
        Its facts, its arrays by name, and the path of the file that holds the arrays.

    Raises:
        UserError: no policy in the folder, another format, or a file that has changed since it was written.
    """
    if not (folder / JSON).is_file():
        hint = f"expected {JSON} and {TENSORS}; name the folder policy/ of a run, or a folder in it"
        raise UserError(f"no policy in {folder}: {hint}")
    facts = read_json(folder / JSON)
    if facts.get("format") != FORMAT:
        raise UserError(f"{folder / JSON} has format {facts.get('format')}, expected {FORMAT}: use another holdfast")
    path = folder / TENSORS
    sha256 = str(facts.pop("sha256", ""))
    try:
        data = read_checked(path, sha256)
    except UserError:
        if not (folder / NEW_TENSORS).exists():
            raise
        path = folder / NEW_TENSORS
        data = read_checked(path, sha256)
    if metadata_of(data, str(path)) != facts:
        raise UserError(f"{folder / JSON} is damaged: it has changed since it was written; restore it from a copy")
    require_facts(facts, str(folder / JSON))
    return facts, arrays_of(data, str(path)), str(path)


INFO: dict[str, Any] = {
    "env_spec": str | dict[str, Any] | None,
    "env_id": str | None,
    "dataset": str | None,
    "dataset_fingerprint": str | None,
    "reference": tuple[float, float] | None,
    "seed": int,
    "sweep": dict[str, float],
    "step": int,
    "stage": Literal["offline", "online", "finetune"],
    "phase": int,
    "stats": dict[str, float],
    "inputs": dict[str, str] | None,
    "action_space": str | None,
    "observation_space": str | None,
    "table": dict[str, Any] | None,
    "algorithm_module": str | None,
    "target": dict[str, Any],
}
SPEC: dict[str, Any] = {
    "obs": list[int] | dict[str, Any],
    "action": int,
    "discrete": bool,
    "masked": bool,
    "horizon": int | None,
    "encoder": str | None,  # this and the next are not in the files of version 0.1.0
    "networks": dict[str, Any],
}
NETWORKS: dict[str, Any] = {
    "activation": str,
    "layer_norm": str,
    "actor_hidden": list[int],
    "critic_hidden": list[int],
    "value_hidden": list[int],
    "network": dict[str, str],
}
TREATMENT: dict[str, Any] = {
    "reward_scale": float,
    "reward_shift": float,
    "action_start": int,
    "action_count": int,
    "clip_actions": float | None,
    "normalized": bool,
    "keep_types": bool,
}
LARGEST = 2**24  # numbers of an observation or an action
MOST_LAYERS = 100  # entries of a setting that is a list


def checked_info(info: Json, where: str) -> dict[str, Any]:
    """The facts `Policy.info` of a policy, after a check of their types.

    Raises:
        UserError: an entry has another type.
    """
    found = require_types(info, INFO, f"info in {where}")
    for name in ("step", "phase"):
        if found.get(name, 0) < 0:
            raise UserError(f"{name} in {where} is {found[name]}, expected a number from 0")
    return found


def team_facts(folder: Path) -> dict[str, Any]:
    """The facts in the `team.json` of a team: `agents`, their names, and `info`, see `checked_info`.

    Raises:
        UserError: another format, an entry of another type, or names that are not different names of folders.
    """
    file = folder / TEAM
    facts = read_json(file)
    if facts.get("format") != FORMAT:
        raise UserError(f"{file} has format {facts.get('format')}, expected {FORMAT}: use another holdfast")
    found = require_types(facts, {"agents": list[str], "info": dict}, str(file), ("agents", "info"))
    names = found["agents"]
    if len(set(names)) != len(names) or any(Path(name).name != name for name in names):
        raise UserError(f"agents in {file} are {names}, expected different names of folders in the same folder")
    return {"agents": names, "info": checked_info(found["info"], str(file))}


def require_facts(facts: Json, where: str) -> None:
    """Check the description of a policy before anything is made from it.

    Args:
        facts: what `policy.json` holds.
        where: name of the file, for error messages.

    Raises:
        UserError: an entry is missing, or has another type or size. The line names the entry.
    """
    hints = {"algorithm": str, "config": dict[str, Any], "spec": dict, "treatment": dict, "info": dict}
    found = require_types(facts, hints, where, hints)
    spec = require_types(found["spec"], SPEC, f"spec in {where}", [name for name in SPEC if name not in LATER])
    require_types(spec.get("networks", {}), NETWORKS, f"networks in {where}")
    require_types(found["treatment"], TREATMENT, f"treatment in {where}")
    checked_info(found["info"], where)
    obs = spec["obs"]
    if isinstance(obs, list):
        arrays: list[Any] = [{"shape": obs, "dtype": "float32"}]
    elif "shape" in obs and not isinstance(obs["shape"], dict):
        arrays = [obs]
    else:
        arrays = list(obs.values())
    for one in arrays:
        require_types(one, {"shape": list[int], "dtype": str}, f"spec of observations in {where}", ("shape", "dtype"))
    sizes = [spec["action"], *(k for one in arrays for k in one["shape"]), *(math.prod(a["shape"]) for a in arrays)]
    if not all(0 < size <= LARGEST for size in sizes):
        raise UserError(f"spec in {where} has sizes {sizes}, expected numbers from 1 to {LARGEST:,}")
    if spec.get("encoder") not in (None, *ENCODERS) and not is_own(spec.get("encoder")):
        raise UserError(
            f"encoder in {where} is {shown(spec['encoder'])}, expected {', '.join(ENCODERS)} or module:name"
        )
    for name, value in (*found["config"].items(), *spec.get("networks", {}).items()):
        if isinstance(value, list) and len(value) > MOST_LAYERS:
            raise UserError(f"{name} in {where} has {len(value)} entries, expected at most {MOST_LAYERS}")
        sizes = value if isinstance(value, list) else [value]
        if name.endswith("hidden") and not all(fits(n, int) and 0 < n < 2**20 for n in sizes):
            raise UserError(f"{name} in {where} is {shown(value)}, expected sizes of layers")


def policies_in(path: Path) -> list[Path]:
    """The folders of the policies in `path`, in natural order.

    Args:
        path: the folder of a policy, of a run, or the folder `policy/` of a run.

    Raises:
        UserError: there is no policy.
    """
    if not path.exists():
        raise UserError(f"{path} does not exist: name the folder of a run or of a policy")
    for folder in (path, path / "policy"):
        if (folder / JSON).is_file():
            return [folder]
        several = [file.parent for file in folder.glob(f"*/{JSON}")]
        if several:
            return sorted(several, key=lambda f: [int(x) if x.isdigit() else x for x in re.split(r"(\d+)", f.name)])
    raise UserError(f"no policy in {path}: expected policy.json in it, in policy/ or in policy/*/")


def versions() -> dict[str, str]:
    """The versions of the packages that a policy's numbers depend on."""
    found = {"python": platform.python_version(), "holdfast": __version__}
    for name in ("jax", "numpy", "equinox"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "unknown"
    return found
