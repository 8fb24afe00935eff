"""The files of a score of support in the folder of a policy: `support.json` and `support.safetensors`."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import UserError
from ..core.files import read_checked, read_json, write_json
from ..core.schema import require_types
from ..core.spec import Spec
from .actor import Actor
from .storage import arrays_of, metadata_of, save_tree
from .support import FORMAT, MOST_ROWS, Fallback, Reference, Support, require_vectors

JSON = "support.json"
TENSORS = "support.safetensors"
FALLBACK = "fallback"  # folder of the policy that acts in place of this one
FACTS: dict[str, Any] = {
    "dataset": str,
    "fingerprint": str,
    "rows": int,
    "calibration_rows": int,
    "calibration_episodes": int,
    "checked_rows": int,
    "measured_false_alarms": float,
    "policy_flagged": float | None,
}
ARRAYS = ("states", "actions", "centre", "scale", "action_scale", "calibration")


def remove(folder: Path) -> None:
    """Remove the files of an older score, with its fallback.

    Raises:
        UserError: a file cannot be removed.
    """
    try:
        for name in (JSON, TENSORS):
            (folder / name).unlink(missing_ok=True)
        if (folder / FALLBACK).is_dir():
            shutil.rmtree(folder / FALLBACK)
    except OSError as error:
        raise UserError(f"cannot replace the support in {folder}: {error.strerror}; make it writable") from error


def write(folder: Path, support: Support) -> None:
    """Write `support.json` and `support.safetensors` into the folder of a policy.

    The caller saves the policy of the fallback first, in the folder `FALLBACK`.

    Raises:
        UserError: a file cannot be written.
    """
    facts = support.to_dict()
    sha256 = save_tree(folder / TENSORS, support.reference._asdict(), facts)
    write_json(folder / JSON, {**facts, "sha256": sha256})


def read(folder: Path, spec: Spec, load: Callable[[Path], Actor]) -> Support | None:
    """The support in the folder of a policy; None if it has none.

    Args:
        folder: the folder.
        spec: shapes of the policy.
        load: reads the policy of the fallback.

    Raises:
        UserError: a damaged file, or one that does not belong to the policy.
    """
    path = folder / JSON
    if not path.is_file():
        return None
    facts = read_json(path)
    where = str(path)
    if facts.get("format") != FORMAT:
        raise UserError(f"{where} has format {facts.get('format')}, expected {FORMAT}: use another holdfast")
    hints = {"discrete": bool, "false_alarms": float, "fallback": dict[str, Any] | None, "facts": dict[str, Any]}
    require_types(facts, {**hints, "sha256": str}, where, [*hints, "sha256"])
    data = read_checked(folder / TENSORS, facts.pop("sha256"))
    if metadata_of(data, str(folder / TENSORS)) != facts:
        raise UserError(f"{where} is damaged: it has changed since it was written; restore it from a copy")
    if not 0 < facts["false_alarms"] < 1:
        raise UserError(f"false_alarms in {where} is {facts['false_alarms']}, expected a number between 0 and 1")
    require_types(facts["facts"], FACTS, f"facts in {where}", tuple(FACTS))
    arrays = arrays_of(data, str(folder / TENSORS))
    reference = _checked(arrays, spec, facts["discrete"], str(folder / TENSORS))
    fallback = _fallback(facts["fallback"], spec, folder, load, where)
    return Support(reference, facts["discrete"], facts["false_alarms"], fallback, facts["facts"])


def _checked(arrays: Mapping[str, np.ndarray], spec: Spec, discrete: bool, where: str) -> Reference:
    """The arrays of a file as a reference.

    Raises:
        UserError: an array is missing, or its shape does not fit the policy.
    """
    missing = [name for name in ARRAYS if name not in arrays]
    if missing:
        raise UserError(f"{where} does not hold {', '.join(missing)}: restore it from a copy")
    require_vectors(spec, where)
    rows = len(arrays["states"]) if arrays["states"].ndim else 0
    k = int(np.prod(spec.obs_shape))
    wanted = {"states": (rows, k), "centre": (k,), "scale": (k,), "actions": (rows, *spec.action_shape)}
    wanted["action_scale"] = (0,) if spec.discrete else spec.action_shape
    wanted["calibration"] = (arrays["calibration"].size,)
    types = {name: np.int32 if name == "actions" and spec.discrete else np.float32 for name in ARRAYS}
    wrong = [name for name in ARRAYS if arrays[name].shape != wanted[name] or arrays[name].dtype != types[name]]
    if wrong or discrete != spec.discrete or not 0 < rows <= MOST_ROWS or not arrays["calibration"].size:
        raise UserError(f"{where} does not belong to this policy ({', '.join(wrong) or 'rows'}): fit the support again")
    return Reference(*(arrays[name] for name in ARRAYS))


def _fallback(
    values: Mapping[str, Any] | None, spec: Spec, folder: Path, load: Callable[[Path], Actor], where: str
) -> Fallback | None:
    if values is None:
        return None
    kind = values.get("kind")
    if kind == "policy":
        return Fallback("policy", policy=load(folder / FALLBACK))
    if kind == "nearest":
        return Fallback("nearest")
    if kind != "action":
        raise UserError(f"the fallback in {where} is {kind!r}, expected action, nearest or policy")
    try:
        action: np.ndarray = np.asarray(values.get("action"), np.int32 if spec.discrete else np.float32)
    except (TypeError, ValueError, OverflowError):
        action = np.zeros((0, 0))
    low, high = (0, spec.action - 1) if spec.discrete else (-1, 1)
    if action.shape != tuple(spec.action_shape) or not ((action >= low) & (action <= high)).all():
        raise UserError(f"the action of the fallback in {where} does not belong to this policy: fit the support again")
    return Fallback("action", action)
