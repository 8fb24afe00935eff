"""Where a run starts: a new folder, or the last checkpoint of its folder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..runs.folder import RunFolder
from ..runs.schema import checked_checkpoint, require_place, require_settings
from . import handover
from .carry import Carry, Position
from .plan.plan import Plan
from .prolong import shapes_of, widened
from .run_tables import RunTables


def begin(plan: Plan, folder: RunFolder, tables: RunTables) -> None:
    """Make the folder of a run, with what resuming needs in it.

    Raises:
        UserError: the disk is full or read-only, or the run that is fine-tuned cannot be read.
    """
    source = plan.settings.source
    state = None if source is None else handover.read(source, plan.source_state())
    folder.create()
    folder.clear()
    folder.write_config({**plan.settings.to_dict(), "dataset_fingerprint": plan.task.fingerprint})
    if source is not None:
        handover.keep(folder, source, state)
    tables.begin()


def first_state(plan: Plan, folder: RunFolder) -> Any:
    """The states that a fine-tuning run starts from; None: those of `init`."""
    source = plan.settings.source
    return None if source is None else handover.kept(folder, source, plan.source_state())


def last(plan: Plan, folder: RunFolder, tables: RunTables, shapes: Sequence[Carry]) -> Position | None:
    """The place of the last checkpoint, to which the tables go back; None if the run was killed before its first one.

    Args:
        plan: the plan of the run.
        folder: its folder.
        tables: its tables.
        shapes: the carry of each phase, as shapes.

    Raises:
        UserError: the checkpoint or a table does not belong to the run, or is damaged.
    """
    if folder.checkpoints.latest() is None:
        folder.clear()
        tables.begin()
        return None
    saved = folder.checkpoints.read()
    facts = checked_checkpoint(saved.metadata, saved.where)
    require_settings(facts, plan.settings, plan.task.fingerprint, folder.config)
    require_place(facts, [plan.settings.steps_of(phase) for phase in plan.phases], saved.where)
    phase = shapes[facts["phase"]]
    carry = saved.tree(shapes_of(plan, phase, facts.get("steps", plan.settings.steps)))
    carry = plan.programs[facts["phase"]].hardware.divided(widened(carry, phase))
    tables.go_back(facts)
    folder.clear()
    folder.checkpoints.prune()
    return Position.of(facts, carry)
