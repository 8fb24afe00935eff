"""What the JSON files of a run hold: `result.json`, and the metadata of a checkpoint."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

from ..core.errors import UserError
from ..core.files import JSON, read_json
from ..core.schema import require_types
from .groups import upgraded
from .settings import Settings

RESULT: dict[str, Any] = {
    "algorithm": str,
    "dataset": str | None,
    "dataset_fingerprint": str | None,
    "steps": int,
    "seeds": list[int],
    "replicas": list[str],
    "sweep": list[dict[str, float]],
    "environment": str | None,
    "returns": list[list[float | None]],
    "episode_seeds": list[list[int]],
    "by_setting": list[dict[str, Any]],
    "return_mean": float | None,
    "return_interval": list[float | None] | None,
    "return_iqm": dict[str, float | None] | None,
    "normalized_score": float | None,
    "normalized_scores": list[float | None] | None,
    "logged_return_mean": float | None,
    "updates_per_second": float | None,
    "compile_seconds": float,
    "wall_seconds": float,
    "flops_per_update": list[float | None],
    "versions": dict[str, str],
    "device": str,
    "config": dict[str, Any],
    "exact": str,
    "source": dict[str, Any] | None,
    "networks": dict[str, Any],
    "finetune": dict[str, Any] | None,
    "targets": list[dict[str, Any]],
    "stopped": dict[str, Any],
}
STOPPED: dict[str, Any] = {"rule": str, "step": int, "best_step": int, "best_value": float, "best_policies": str}
TARGET: dict[str, Any] = {"target": float, "returns": list[list[float]]}
FINETUNE: dict[str, Any] = {
    "return_before": float,
    "return_lowest": float,
    "return_end": float,
    "regret": float,
    "lowest_step": int,
    "intervals": dict[str, tuple[float, float]],
}
BY_SETTING: dict[str, Any] = {
    "label": str,
    "values": dict[str, float],
    "replicas": list[str],
    "return_mean": float | None,
    "return_interval": list[float | None],
    "return_iqm": dict[str, float | None],
    "normalized_score": float | None,
    "best": bool,
}
CHECKPOINT: dict[str, Any] = {
    "phase": int,
    "local": int,
    "total": int,
    "rounds": dict[str, Any] | None,
    "metrics_rows": int,
    "evaluation_rows": int,
    "timing_rows": int,
    "metrics_sha256": str,
    "evaluation_sha256": str,
    "timing_sha256": str,
    "estimate_rows": int,
    "estimate_sha256": str,
    "evaluated": list[str | int],
    "updates": int,
    "seconds": float,
    "wall_seconds": float,
    "settings": str,
}
# entries that older versions do not write
LATER = ("settings", "metrics_sha256", "evaluation_sha256", "timing_sha256", "estimate_rows", "estimate_sha256")
# settings that a person may change in config.json before a resume: they say where the data are and how a run is
# executed. `steps` and `eval_every` belong to them because a run can be prolonged.
FREE = (
    "algorithm_module", "allow", "data", "data_options", "devices", "eval_every", "in_memory", "loggers", "overlap",
    "preset", "save_every", "steps", "worker_timeout", "workers",
)  # fmt: skip


def read_result(path: Path) -> dict[str, Any]:
    """Read a `result.json`.

    Raises:
        UserError: it cannot be read, or an entry is missing or of another type.
    """
    found = read_json(path)
    require_types(found, RESULT, str(path), ("steps", "replicas", "compile_seconds", "wall_seconds"))
    if not found["replicas"]:
        raise UserError(f"replicas in {path} is empty, expected at least one name: restore it from a copy")
    for name in found["replicas"]:
        require_name(name, str(path))
    for i, target in enumerate(found.get("targets", [])):
        require_types(target, TARGET, f"targets[{i}] of {path}", tuple(TARGET))
    if "stopped" in found:
        require_types(found["stopped"], STOPPED, f"stopped of {path}", tuple(STOPPED))
    if found.get("finetune") is not None:
        needed = [name for name in FINETUNE if name != "intervals"]
        require_types(found["finetune"], FINETUNE, f"finetune of {path}", needed)
    for entry in found.get("by_setting", []):
        require_types(entry, BY_SETTING, f"by_setting of {path}", [*BY_SETTING])
    return upgraded(found)


def require_name(name: str, where: str) -> None:
    """Refuse the name of a replica that is not the name of a folder.

    Raises:
        UserError: naming the file.
    """
    if name in ("", ".", "..") or any(c in name for c in "/\\\0"):
        raise UserError(f"{where} names the replica {name!r}, expected the name of a folder: restore it from a copy")


def settings_hash(settings: Settings, fingerprint: str | None) -> str:
    """A hash of the settings that decide what a run computes, for its checkpoints.

    Args:
        settings: settings of the run. Those in `FREE`, and those that have their default, are left out.
        fingerprint: that of the data.
    """
    defaults = Settings(settings.algorithm).to_dict()
    values = {
        name: value
        for name, value in settings.to_dict().items()
        if name not in FREE and (name in ("config", "treatment") or value != defaults[name])
    }
    text = json.dumps({**values, "dataset_fingerprint": fingerprint}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def checked_checkpoint(metadata: JSON, where: str) -> dict[str, Any]:
    """The metadata of a checkpoint, after a check of their types and ranges.

    Args:
        metadata: what the file holds.
        where: name of the file, for error messages.

    Raises:
        UserError: an entry is missing, or has another type or an impossible value.
    """
    names = [name for name in CHECKPOINT if name not in LATER]
    found = require_types(metadata, CHECKPOINT, where, names)
    for name in names:
        value = found[name]
        if isinstance(value, int | float) and not 0 <= value < math.inf:
            raise UserError(f"{name} in {where} is {value}, expected a number from 0: use an older checkpoint")
    if found["local"] > found["total"]:
        raise UserError(f"local in {where} is {found['local']}, expected at most total, {found['total']}")
    return found


def require_settings(metadata: dict[str, Any], settings: Settings, fingerprint: str | None, config: Path) -> None:
    """Refuse a `config.json` that has been edited since the checkpoint was saved. Older checkpoints say nothing.

    Raises:
        UserError: the settings differ from those of the checkpoint.
    """
    saved = metadata.get("settings")
    if saved is not None and saved != settings_hash(settings, fingerprint):
        raise UserError(
            f"{config} has changed since its checkpoint was saved: restore it, or start a new run with --config"
        )


def require_place(found: dict[str, Any], steps: list[int], where: str) -> None:
    """Refuse counters that lie beyond the run.

    Args:
        found: the metadata of a checkpoint.
        steps: steps of each phase of the run.
        where: name of the checkpoint, for error messages.

    Raises:
        UserError: a phase that the run does not have, or more steps than it has.
    """
    if found["phase"] >= len(steps):
        raise UserError(f"phase in {where} is {found['phase']}, and the run has {len(steps)} phases")
    before = sum(steps[: found["phase"]])
    if found["local"] > steps[found["phase"]] or found["total"] > before + found["local"]:
        raise UserError(
            f"{where} counts {found['local']} steps of its phase and {found['total']} of the run, more than the run has"
        )


def optional_result(path: Path) -> dict[str, Any] | None:
    """The `result.json` of a run; None if the run is not finished."""
    return read_result(path) if path.is_file() else None
