"""A policy's folder: `policy.json` says what it is, `policy.safetensors` holds its arrays and the same facts."""

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
JSON, TENSORS, ASIDE = "policy.json", "policy.safetensors", "policy.new.safetensors"


def write(folder: Path, facts: dict[str, Any], arrays: dict[str, Any]) -> None:
    """Write a policy; an older one in the folder is replaced at once or not at all.

    Args:
        folder: made where missing.
        facts: JSON-ready.
        arrays: by name.

    Raises:
        UserError: the disk refuses.
    """
    facts = {"format": FORMAT, **facts, "versions": versions()}
    tensors, aside = folder / TENSORS, folder / ASIDE
    if aside.exists():  # an earlier save stopped before its last rename: policy.json may mean this file
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
    """The facts and arrays of a policy, verified, and the file that holds the arrays.

    Raises:
        UserError: no policy there, another format, or a file that has changed since it was written.
    """
    if not (folder / JSON).is_file():
        hint = f"expected {JSON} and {TENSORS}; name the folder policy/ of a run, or one in it"
        raise UserError(f"no policy in {folder}: {hint}")
    facts = read_json(folder / JSON)
    if facts.get("format") != FORMAT:
        raise UserError(f"{folder / JSON} has format {facts.get('format')}, expected {FORMAT}: use another holdfast")
    path, sha256 = folder / TENSORS, str(facts.pop("sha256", ""))
    try:
        data = read_checked(path, sha256)
    except UserError:
        if not (folder / ASIDE).exists():
            raise
        path = folder / ASIDE
        data = read_checked(path, sha256)
    if metadata_of(data, str(path)) != facts:
        raise UserError(f"{folder / JSON} is damaged: it has changed since it was written; restore it from a copy")
    return facts, arrays_of(data, str(path)), str(path)


def policies_in(path: Path) -> list[Path]:
    """The policies' folders in a run's folder, in a run's `policy/`, or `path` itself; in natural order.

    Raises:
        UserError: there is none.
    """
    if not path.exists():
        raise UserError(f"{path} does not exist: name a run's folder or a policy's")
    for folder in (path, path / "policy"):
        if (folder / "policy.json").is_file():
            return [folder]
        several = [file.parent for file in folder.glob("*/policy.json")]
        if several:
            return sorted(several, key=lambda f: [int(x) if x.isdigit() else x for x in re.split(r"(\d+)", f.name)])
    raise UserError(f"no policy in {path}: expected policy.json in it, in policy/ or in policy/*/")


def versions() -> dict[str, str]:
    """Versions of what a policy's numbers depend on."""
    found = {"python": platform.python_version()}
    for name in ("holdfast", "jax", "numpy", "equinox"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "unknown"
    return found
