"""The folder of a policy: `policy.json` describes it, `policy.safetensors` holds its arrays and the same facts."""

from __future__ import annotations

import contextlib
import importlib.metadata
import platform
import re
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import UserError
from ..core.files import read_checked, read_json, write_json
from .storage import arrays_of, metadata_of, save_tree

FORMAT = 1
JSON = "policy.json"
TENSORS = "policy.safetensors"
NEW_TENSORS = "policy.new.safetensors"  # exists only while an older policy is replaced


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
    return facts, arrays_of(data, str(path)), str(path)


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
    found = {"python": platform.python_version()}
    for name in ("holdfast", "jax", "numpy", "equinox"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "unknown"
    return found
