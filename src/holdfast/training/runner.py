"""A run into a folder: its phases one after the other, with checkpoints from which it resumes to the same bits."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..core.errors import Diverged, UserError, one_line
from ..core.files import write_json
from ..environments.gym.collector import EnvironmentFailed
from ..runs.folder import RunFolder
from ..runs.schema import checked_checkpoint, require_place, require_settings, settings_hash
from ..runs.settings import note_for
from . import driver, handover, hooks
from .carry import Carry, Position
from .collect import play_of
from .compilation import use_cache
from .loop import Program
from .plan.plan import Plan
from .run_tables import RunTables, result_of
from .shipping import Shipping
from .trackers import tracker


class Runner:
    """Runs a plan. It writes the tables, the checkpoints, the policies and the result."""

    def __init__(self, plan: Plan, folder: RunFolder, watchers: Sequence[hooks.Hook] = ()) -> None:
        """
        Args:
            plan: what to do.
            folder: a new folder, or the folder of the run that is resumed.
            watchers: hooks, in addition to the trackers that the settings name.
        """
        began = time.perf_counter()
        self.plan = plan
        self.folder = folder
        self.watchers = [*watchers, *(tracker(name) for name in plan.settings.loggers)]
        self.shapes = plan.shapes()
        self.tables = RunTables(folder, plan.settings, plan.replicas, plan.metric_names(), began)
        self.shipping = Shipping(plan, folder, self.tables)
        self.play: driver.Play = driver.Offline(plan.programs[0])
        self.reached = 0  # step of the newest checkpoint

    def run(self, resume: bool = False) -> dict[str, Any]:
        """Train to the last step and ship the policies.

        Args:
            resume: continue from the last checkpoint of the folder.

        Returns:
            The contents of `result.json`.

        Raises:
            UserError: the disk is full or read-only, or an environment fails; the last checkpoint is kept.
            Diverged: a metric became NaN or infinite; the last checkpoint is kept.
        """
        use_cache()
        with contextlib.closing(self.shipping):
            self.shipping.open()
            if not resume:
                self._begin()
            at = self._resume() if resume else None
            self._start(0 if at is None else at.total)
            result = None
            try:
                result = self._finish(self._train(at))
            finally:
                self._notify("end", result)
        return result

    def _start(self, step: int) -> None:
        plan = self.plan
        self._notify("start", hooks.Start(self.folder, plan.settings, plan.replicas, plan.steps, step))
        note = note_for(plan.settings, plan.task.dataset.n_steps if plan.task.dataset and not step else None)
        if note is not None:
            self._notify("note", note)
        for fault in plan.task.warnings:
            self._notify("warn", f"{plan.task.name}: {fault}")
        if plan.evaluator is None and plan.settings.evaluate:
            self._notify("warn", "no environment is known for these data: nothing is evaluated (name one with --env)")

    def _train(self, at: Position | None) -> Position:
        """Run all phases that are left; None: from the beginning."""
        if at is None:
            at = Position(0, 0, 0, self.plan.programs[0].start(self._first_state()))
        at = self._phase(at)
        for index in range(at.phase + 1, len(self.plan.programs)):
            carry = driver.enter(self.plan.programs[index], at.carry)
            at = self._phase(Position(index, 0, at.total, carry))
        return at

    def _phase(self, at: Position) -> Position:
        program = self.plan.programs[at.phase]
        carry = at.carry
        driver.require_rows(program, carry)
        if self.plan.settings.source and not at.total:
            self._evaluate(program, carry, 0)
        base = at.total - at.local
        steps = self.plan.settings.steps_of(program.phase)
        due = functools.partial(self.plan.due, program.phase, base)
        self.play = play_of(self.plan, program)
        with contextlib.closing(self.play):
            if at.log is None:
                self.play.start(carry)
            else:
                carry = self._restored(at.log, carry)
            if self.play.exact is False:
                self._notify("warn", f"{self.plan.task.env}: the same seed and actions do not give the same episode: a "
                             "resumed run will differ from an uninterrupted one")  # fmt: skip
            if at.local < steps and not bool(np.asarray(carry.done).all()):
                end = driver.block_end(program.phase, at.local, due(at.local), steps)
                self.play.compile(carry, end - at.local)
                self._notify("compiled", program.phase.name, program.compile_seconds)
            at = at._replace(carry=carry, log=None)
            stream = driver.blocks(program, carry, at.local, steps, due, self.play)
            for block in self._explained(stream, base):
                at = Position(at.phase, block.hi, base + block.hi, block.carry)
                self._after(program, block, at)
            self._save(at)
        return at

    def _restored(self, log: dict[str, Any], carry: Carry) -> Carry:
        """The carry, after the environments have been brought to where a checkpoint left them."""
        try:
            return self.play.restore(log, carry)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise UserError(
                f"rounds in the checkpoint of step {self.reached} in {self.folder.path} cannot be read "
                f"({one_line(error)[:100]}): use an older checkpoint"
            ) from error

    def _explained(self, stream: Iterator[driver.Block], base: int) -> Iterator[driver.Block]:
        """The blocks of a phase; a failure that stops them says where the last checkpoint is."""
        try:
            yield from stream
        except EnvironmentFailed as fault:  # of a compiled block, whose updates have learned from the bad rows
            raise EnvironmentFailed(f"{fault}; {self._kept()}") from fault
        except driver.NotFinite as fault:
            raise Diverged(
                f"{fault.metric} of {self.plan.replicas[fault.replica].name} is NaN or infinite at update "
                f"{base + fault.update} of {self.plan.settings.algorithm}: training stopped, {self._kept()}; "
                "try a lower learning rate, or look at the data with `holdfast data check`"
            ) from fault

    def _after(self, program: Program, block: driver.Block, at: Position) -> None:
        """Write the rows of a block, and evaluate and save when it is time."""
        settings = self.plan.settings
        before = at.total - (block.hi - block.lo)
        if at.total > before:
            updates = block.updates * len(self.plan.replicas)
            self.tables.block(at.total, block.phase.name, block.metrics, updates, block.seconds)
            self._notify("block", hooks.Block(block.phase.name, at.total, block.metrics, block.seconds, updates))
        if block.failure:
            raise self._saved(block.failure, at)
        if block.phase.plays and _passed(before, at.total, settings.evaluation_interval):
            try:
                self._evaluate(program, block.carry, at.total)
            except UserError as fault:
                raise self._saved(fault, at) from fault
        if _passed(before, at.total, self.plan.save_interval):
            self._save(at)

    def _evaluate(self, program: Program, carry: Carry, step: int) -> None:
        found = self.shipping.evaluate(program, carry, step)
        if found is not None:
            self._notify("evaluated", hooks.Evaluated(step, found))

    def _finish(self, at: Position) -> dict[str, Any]:
        program = self.plan.programs[-1]
        evaluates = self.plan.evaluator is not None
        step = at.total
        if evaluates and (self.shipping.last is None or not self.tables.has_evaluation(step, program.phase.name)):
            try:
                self._evaluate(program, at.carry, step)
            except UserError as fault:
                self.shipping.ship(program, at.carry, step)
                raise type(fault)(f"{fault}; the policy of step {step} is in {self.folder.path / 'policy'}") from fault
        else:
            self.shipping.ship(program, at.carry, step)
        result = result_of(self.plan, self.tables, step, self.shipping.last)
        if self.play.exact is not None:
            result["exact"] = "exact" if self.play.exact else "exact except the environment"
        if self.plan.settings.source:
            result["source"] = self.plan.settings.source
            result["finetune"] = handover.summary(self.folder.evaluations) if evaluates else None
        write_json(self.folder.result, result)
        return result

    def _begin(self) -> None:
        """Make the folder, with what resuming needs in it."""
        source = self.plan.settings.source
        state = None if source is None else handover.read(source, self.plan.source_state())
        self.folder.create()
        self.folder.clear()
        config = {**self.plan.settings.to_dict(), "dataset_fingerprint": self.plan.task.fingerprint}
        self.folder.write_config(config)
        if source is not None:
            handover.keep(self.folder, source, state)
        self.tables.begin()

    def _first_state(self) -> Any:
        """The states that a fine-tuning run starts from; None: those of `init`."""
        source = self.plan.settings.source
        return None if source is None else handover.kept(self.folder, source, self.plan.source_state())

    def _resume(self) -> Position | None:
        """The place of the last checkpoint; None if the run was killed before its first one."""
        if self.folder.checkpoints.latest() is None:
            self.folder.clear()
            self.tables.begin()
            return None
        saved = self.folder.checkpoints.read()
        facts = checked_checkpoint(saved.metadata, saved.where)
        require_settings(facts, self.plan.settings, self.plan.task.fingerprint, self.folder.config)
        require_place(facts, [self.plan.settings.steps_of(phase) for phase in self.plan.phases], saved.where)
        carry = saved.tree(self.shapes[facts["phase"]])
        self.tables.go_back(facts)
        self.folder.clear()
        self.folder.checkpoints.prune()
        self.reached = facts["total"]
        return Position(facts["phase"], facts["local"], facts["total"], carry, facts["rounds"])

    def _save(self, at: Position) -> None:
        if self.folder.checkpoints.latest() == at.total and at.total == self.reached and at.total:
            return
        self.reached = at.total
        facts: dict[str, Any] = {"phase": at.phase, "local": at.local, "total": at.total, "rounds": self.play.log()}
        facts["settings"] = settings_hash(self.plan.settings, self.plan.task.fingerprint)
        facts |= self.tables.counts()
        self.folder.checkpoints.save(at.total, at.carry, facts)

    def _saved(self, failure: UserError, at: Position) -> UserError:
        """The failure, after saving everything up to it."""
        self._save(at)
        env = self.plan.task.env or ""
        name = "" if env.lstrip().startswith("{") or env in str(failure) else f"{env}: "
        return type(failure)(
            f"{name}{failure}; everything up to step {at.total} is saved in {self.folder.path}, and "
            f"holdfast train --resume {self.folder.path} resumes from there"
        )

    def _kept(self) -> str:
        last = self.folder.checkpoints.latest()
        return f"{'no checkpoint' if last is None else f'the checkpoint of step {last}'} is kept in {self.folder.path}"

    def _notify(self, event: str, *what: Any) -> None:
        for watcher in self.watchers:
            getattr(watcher, event)(*what)


def _passed(before: int, step: int, every: int) -> bool:
    """Whether a multiple of `every` lies in (before, step]."""
    return step // every > before // every
