"""Resuming a run, or prolonging it: everything is checked before training continues."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..core.errors import UserError
from ..data.dataset import Dataset
from ..data.sources import load_dataset
from ..data.teams.dataset import TeamDataset
from ..runs.folder import RunFolder
from ..runs.schema import checked_checkpoint, read_result, require_settings
from ..runs.settings import Settings
from .hooks import Hook
from .plan.plan import plan
from .prolong import changed_schedules, prolonged
from .runner import Runner


def resumed(
    folder: RunFolder,
    before: Settings,
    facts: dict[str, Any],
    data: Dataset | TeamDataset | None,
    hooks: Sequence[Hook],
    steps: int | None,
    devices: int | None = None,
) -> dict[str, Any]:
    """Resume or prolong a run whose folder is locked.

    Args:
        folder: the locked folder of the run.
        before: the settings of the run.
        facts: the contents of its config.json.
        data: the data set, if the run was started with one in memory.
        hooks: observers of the run.
        steps: steps of the prolonged run in all; None: the steps that the run has.
        devices: devices that share the replicas from now on; None: as many as before.

    Returns:
        The contents of `result.json`.

    Raises:
        UserError: the run cannot be resumed or prolonged.
        Diverged: a metric became NaN or infinite.
    """
    run = folder.path
    if folder.result.is_file() and steps is None:  # the process that held the lock before has finished the run
        return read_result(folder.result)
    settings = before if steps is None else prolonged(before, steps, folder)
    settings = settings if devices is None else dataclasses.replace(settings, devices=devices)
    if folder.checkpoints.latest() is not None:
        saved = folder.checkpoints.read()  # report a damaged or another checkpoint before the data are loaded
        found = checked_checkpoint(saved.metadata, saved.where)
        require_settings(found, before, facts.get("dataset_fingerprint"), folder.config)
    made = plan(settings, data if data is not None else in_memory(settings, run))
    if made.task.fingerprint != facts.get("dataset_fingerprint"):
        raise UserError(
            f"{settings.data} has changed since {run} was started (its fingerprint differs): restore the old data, or "
            "start a new run"
        )
    runner = Runner(made, folder, hooks)
    if settings != before:
        changed = {name: getattr(settings, name) for name in ("steps", "eval_every", "devices")}
        folder.prolong({**facts, **changed})
        warning = changed_schedules(before, settings)
        for hook in hooks if warning else ():
            hook.warn(str(warning))
    return runner.run(resume=True)


def in_memory(settings: Settings, run: str | Path) -> Dataset | TeamDataset | None:
    """Reload the data set of a run that was started with one in memory. Returns None if the run loads its own data.

    Raises:
        UserError: the data set cannot be loaded by its name.
    """
    if not settings.in_memory:
        return None
    try:
        return load_dataset(settings.subject)
    except UserError as error:
        raise UserError(
            f"{run} was started with a data set in memory ({settings.data}): resume or fine-tune it from Python, "
            "with data=..."
        ) from error
