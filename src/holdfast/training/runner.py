"""A run into a folder: its phases one after the other, with checkpoints from which it resumes to the same bits."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core.errors import Stopped, UserError
from ..core.files import write_json
from ..evaluation.evaluate import Evaluation
from ..runs.folder import RunFolder
from ..runs.notes import notes_for
from ..runs.schema import settings_hash
from . import driver, handover, hooks, messages, starting, stopping
from .carry import Position
from .collect import play_of, restored
from .compilation import use_cache
from .evaluations import Evaluations
from .loop import Program
from .plan.plan import Plan
from .plan.schedule import passed
from .play import Offline, Play
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
        self.pace = stopping.Pace()
        self.evaluations = Evaluations(self.shipping, self.pace, self._evaluated)
        self.play: Play = Offline(plan.programs[0])
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
            Stopped: a signal came; a checkpoint has been written, if there was anything to save.
        """
        use_cache()
        with stopping.watching(), stopping.shielded(), contextlib.closing(self.shipping):
            with stopping.shielded(False):
                self.shipping.open()
            if not resume:
                starting.begin(self.plan, self.folder, self.tables)
            at = self._resume() if resume else None
            self._start(0 if at is None else at.total)
            result = None
            try:
                with self.evaluations.collected():
                    ended = self._train(at)
                result = self._finish(ended)
            except KeyboardInterrupt as stop:
                raise messages.stopped(stop, self.folder) from stop
            finally:
                self._notify("end", result)
            stopping.require_no_stop()  # a signal that came while the result was written
        return result

    def _start(self, step: int) -> None:
        plan = self.plan
        self._notify("start", hooks.Start(self.folder, plan.settings, plan.replicas, plan.steps, step))
        for text in notes_for(plan.settings, plan.task.steps or None) if not step else ():
            self._notify("note", text)
        for text in messages.warnings(plan):
            self._notify("warn", text)

    def _train(self, at: Position | None) -> Position:
        """Run all phases that are left; None: from the beginning."""
        if at is None:
            with stopping.shielded(False):
                self._compile_ahead()
                at = Position(0, 0, 0, self.plan.programs[0].start(starting.first_state(self.plan, self.folder)))
        at = self._phase(at)
        for index in range(at.phase + 1, len(self.plan.programs)):
            if self.shipping.early.reached():
                break
            with stopping.shielded(False):
                carry = driver.enter(self.plan.programs[index], at.carry)
            at = self._phase(Position(index, 0, at.total, carry))
        return at

    def _compile_ahead(self) -> None:
        """Begin to compile the updates of the first phase, while its first states are made."""
        program, phase = self.plan.programs[0], self.plan.programs[0].phase
        steps = self.plan.settings.steps_of(phase)
        if steps and phase.collect is None and program.window is None:
            program.compile_ahead(self.shapes[0], driver.block_end(phase, 0, self.plan.due(phase, 0, 0), steps))

    def _phase(self, at: Position) -> Position:
        program = self.plan.programs[at.phase]
        carry = at.carry
        driver.require_rows(program, carry)
        if at.due or (self.plan.settings.source and not at.total):
            self.evaluations.now(program, at)
        base = at.total - at.local
        steps = self.plan.settings.steps_of(program.phase)
        due = functools.partial(self.plan.due, program.phase, base)
        self.play = play_of(self.plan, program, self.pace)
        with contextlib.closing(self.play):
            with stopping.shielded(False):
                if at.log is None:
                    self.play.start(carry)
                else:
                    carry = restored(self.play, at.log, carry, f"step {self.reached} in {self.folder.path}")
            if self.play.exact is False:
                self._notify("warn", f"{self.plan.task.env}: the same seed and actions do not give the same episode: a "
                             "resumed run will differ from an uninterrupted one")  # fmt: skip
            ended = self.shipping.early.reached() is not None
            if at.local < steps and not ended and not bool(np.asarray(carry.done).all()):
                end = driver.block_end(program.phase, at.local, due(at.local), steps)
                with stopping.shielded(False):
                    self.play.compile(carry, end - at.local)
                self._notify("compiled", program.phase.name, program.compiling.seconds)
            at = at._replace(carry=carry, log=None, due=False)
            stream = driver.blocks(program, carry, at.local, steps, due, self.play, at.partial)
            for block in () if ended else messages.explained(stream, self.plan, self.folder, base):
                at = Position(at.phase, block.hi, base + block.hi, block.carry, None, block.partial)
                if block.partial is None:
                    self._after(program, block, at)
                if self.pace.pause():
                    if self._collected(at):
                        self._save(at)
                    stopping.require_no_stop()
                if block.partial is None and self.shipping.early.reached():
                    break
            self._collected(at, ended=True)
            self._save(at)
        self.shipping.ship_dynamics(program, at.carry)
        return at

    def _after(self, program: Program, block: driver.Block, at: Position) -> None:
        """Write the rows of a block, and evaluate and save when it is time."""
        settings = self.plan.settings
        before = at.total - (block.hi - block.lo)
        if at.total > before:
            updates = block.updates * len(self.plan.replicas)
            self.tables.block(at.total, block.phase.name, block.metrics, updates, block.seconds)
            self._notify("block", hooks.Block(block.phase.name, at.total, block.metrics, block.seconds, updates))
        if block.failure:
            self._collected(at, ended=True)
            raise self._saved(block.failure, at)
        saves = passed(before, at.total, self.plan.save_interval)
        if block.phase.plays and passed(before, at.total, settings.evaluation_interval):
            self._evaluate(program, at, saves)
        if self._collected(at) and saves:
            self._save(at)

    def _evaluate(self, program: Program, at: Position, saves: bool) -> None:
        """Evaluate the policies, or let them play while the run trains. The checkpoint then says that this is due."""
        self._collected(at, ended=True)
        more = at.local < self.plan.settings.steps_of(program.phase)
        # replay buffers are large, so no further checkpoint is saved for an evaluation
        if self.evaluations.overlap and more and (saves or not at.carry.rings):
            self._save(at._replace(due=True))
            self.evaluations.begin(program, at)
            return
        try:
            self.evaluations.now(program, at)
        except Stopped:
            self._save(at._replace(due=True))
            raise
        except UserError as fault:
            raise self._saved(fault, at) from fault

    def _collected(self, at: Position, ended: bool = False) -> bool:
        """See `Evaluations.collect`. If the environment has failed, everything up to here is saved."""
        try:
            return self.evaluations.collect(ended)
        except UserError as fault:
            raise self._saved(fault, at) from fault

    def _finish(self, at: Position) -> dict[str, Any]:
        program = self.plan.programs[at.phase]
        evaluates = self.plan.evaluator is not None
        step = at.total
        if evaluates and (self.shipping.last is None or not self.tables.has_evaluation(step, program.phase.name)):
            try:
                self.evaluations.now(program, at)
            except UserError as fault:
                self.shipping.ship(program, at.carry, step)
                raise type(fault)(f"{fault}; the policy of step {step} is in {self.folder.path / 'policy'}") from fault
        else:
            self.shipping.ship(program, at.carry, step)
        result = result_of(self.plan, self.tables, step, self.shipping.last, self.play.exact)
        targets = self.shipping.asked(program, at.carry, step)
        if targets:
            result["targets"] = targets
        result |= self.shipping.early.result()
        if self.plan.settings.source:
            handover.add_summaries(result, self.folder.evaluations)
        write_json(self.folder.result, result)
        return result

    def _resume(self) -> Position | None:
        at = starting.last(self.plan, self.folder, self.tables, self.shapes)
        self.reached = at.total if at and at.partial is None and not at.due else -1
        return at

    def _save(self, at: Position) -> None:
        if self.folder.checkpoints.latest() == at.total and at.total == self.reached and at.total:
            return
        self.reached = at.total if at.partial is None and not at.due else -1
        facts = {**at.facts(), "rounds": self.play.log(), "steps": self.plan.settings.steps}
        facts["settings"] = settings_hash(self.plan.settings, self.plan.task.fingerprint)
        facts |= self.tables.counts()
        with self.pace.saving():
            self.folder.checkpoints.save(at.total, at.carry, facts)

    def _saved(self, failure: UserError, at: Position) -> UserError:
        """The failure, after saving everything up to it."""
        self._save(at)
        return messages.saved(failure, self.plan, self.folder, at.total)

    def _evaluated(self, step: int, found: Evaluation) -> None:
        self._notify("evaluated", hooks.Evaluated(step, found))

    def _notify(self, event: str, *what: Any) -> None:
        for watcher in self.watchers:
            with contextlib.suppress(*([OSError] if stopping.requested() else [])):  # a closed terminal
                getattr(watcher, event)(*what)
