"""One run from settings to result: prepare all that can fail, then phases of blocks, then the shipped policies."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from ..algorithms import registry
from ..core import config
from ..core.contract import Algorithm, Phase
from ..core.errors import Diverged, UserError
from ..core.files import write_json
from ..data.dataset import Dataset
from ..environments.gym.collector import Collector, EnvironmentFailed
from ..environments.gym.env_pool import Shape
from ..environments.gym.matching import require_match
from ..environments.gym.workers import Workers
from ..evaluation.evaluate import Evaluation, Evaluator
from ..policy.acting import Replicas
from ..policy.policy import Policy
from ..runs import settings as settings_of
from ..runs.folder import RunFolder
from ..runs.settings import Settings
from . import handover
from .collect_gym import COLLECTED, Rounds, resolved
from .collect_jax import CompiledRounds
from .hooks import Block, Evaluated, Hook, Start
from .loop import Carry, Found, Program
from .plan.programs import evaluator_of, programs_of
from .plan.schedule import require_rows
from .plan.task import problem_of
from .run_tables import Ledger, result_of
from .trackers import logger


class Position(NamedTuple):
    """Where a run stands: the phase, updates in it and in all, and what the next block takes."""

    phase: int
    local: int
    total: int
    state: Any
    carry: Carry | None
    log: Any = None
    rings: Any = None


class Runner:
    """A prepared run. Everything a person can have got wrong is found here, before anything is compiled or written."""

    def __init__(self, settings: Settings, dataset: Dataset | None = None, hooks: Sequence[Hook] = ()) -> None:
        """
        Args:
            settings: what to do.
            dataset: the data, where it is in memory; else it is loaded by `settings.data`.
            hooks: watchers, beside the loggers that the settings name.

        Raises:
            UserError: settings, data, algorithm or environment that do not fit, in one line.
        """
        faults = settings.faults()
        if faults:
            raise UserError("; ".join(faults))
        self.settings = settings
        self.algorithm: Algorithm = registry.get(settings.algorithm)
        self.cfg: Any = config.from_dict(self.algorithm.Config, settings.config)
        self.cfg = resolved(self.algorithm, self.cfg, settings)
        seeds = range(settings.seed, settings.seed + settings.seeds)
        self.replicas = settings_of.replicas(self.algorithm, self.cfg, settings.sweep, seeds)
        self.hooks = [*hooks, *(logger(name) for name in settings.loggers)]
        self.rounds: Rounds | CompiledRounds | None = None
        self.problem = problem_of(settings, self.algorithm, self.cfg, dataset)
        self.evaluator = evaluator_of(settings, self.problem, len(self.replicas))
        self.before, self.programs = programs_of(settings, self.algorithm, self.cfg, self.replicas, self.problem)
        if self.evaluator is None and any(program.phase.collect for program in self.programs):
            env = self.problem.make()()
            require_match(env, self.problem.spec, self.problem.fitted)
            env.close()

    def run(self, folder: RunFolder, resume: bool = False) -> dict[str, Any]:
        """Train to the last step and ship the policies.

        Args:
            folder: a new folder, or one with checkpoints of this very run.
            resume: go on from its last checkpoint.

        Returns:
            What `result.json` holds.

        Raises:
            UserError: a disk that refuses, an environment that fails; the last checkpoint is kept.
            Diverged: a metric became NaN or infinite; likewise.
        """
        began = time.perf_counter()
        self.folder, shapes = folder, self._shapes()
        every = [n for p in self.programs for n in (*p.metrics, *p.fresh, *(COLLECTED if p.phase.collect else ()))]
        self.ledger = Ledger(folder, self.settings, self.replicas, list(dict.fromkeys(every)), began)
        self.last: Evaluation | None = None
        at = self._resume(shapes) if resume else self._begin()
        total = sum(self.settings.steps_of(program.phase) for program in self.programs)
        self._tell("start", Start(folder, self.settings, self.replicas, total, at.total))
        for fault in self.problem.warnings:
            self._tell("warn", f"{self.problem.name}: {fault}")
        if self.evaluator is None and self.settings.evaluate:
            self._tell("warn", "no environment is known for these data: nothing is evaluated (name one with --env)")
        result = None
        try:
            carry = self._train(at)
            result = self._finish(carry)
        finally:
            self._tell("end", result)
            for held in (self.evaluator, self.rounds):
                if held:
                    held.close()
        return result

    def _train(self, at: Position) -> Carry:
        for index, program in enumerate(self.programs):
            if index < at.phase:
                continue
            carry = at.carry if index == at.phase and at.carry is not None else program.start(at.state, at.rings)
            require_rows(program, carry)
            if self.settings.source and not at.total and self.evaluator:
                self._evaluate(self.evaluator, program.phase, carry, 0)
            self.rounds, carry = self._rounds(program, carry, at.log)
            local = at.local if index == at.phase else 0
            base = at.total - local
            steps = self.settings.steps_of(program.phase)
            if local < steps and not bool(np.asarray(carry.done).all()):
                if self.rounds is None:
                    program.compile(carry, self._next(program.phase, base, local) - local)
                self._tell("compiled", program.phase.name, program.compile_seconds)
            while local < steps and not bool(np.asarray(carry.done).all()):
                hi = self._next(program.phase, base, local)
                if self.rounds is None:
                    program.compile(carry, hi - local)  # where this block is of another kind
                carry, local = self._block(program, carry, base, local, hi)
            at = Position(index, local, base + local, carry.state, carry)
            self._save(at)
            at = Position(index + 1, 0, base + local, carry.state, None, rings=carry.rings)
            if self.rounds:
                self.rounds.close()
        return carry

    def _block(self, program: Program, carry: Carry, base: int, lo: int, hi: int) -> tuple[Carry, int]:
        phase, began, made, failure = program.phase, time.perf_counter(), hi - lo, None
        ended: dict[str, np.ndarray] = {}
        if self.rounds is None:
            carry, found = program.run(carry, lo, hi)
        else:
            try:
                carry, found, ended, made, hi, failure = self.rounds.run(carry, lo, hi)
            except EnvironmentFailed as fault:  # in a compiled block, whose updates have learned from it
                raise EnvironmentFailed(f"{fault}; {self._kept()}") from fault
            if hi == lo and failure:
                raise self._saved(failure, self._position(program, carry, base, lo))
        seconds = time.perf_counter() - began
        self._require_finite(program.metrics, found, base)
        metrics = dict(zip(program.metrics, found.mean.T, strict=True)) | ended
        if phase.refresh is not None and hi % phase.every == 0:
            carry, found = program.refresh(carry, hi)
            self._require_finite(program.fresh, found, base)
            metrics |= dict(zip(program.fresh, found.mean.T, strict=True))
        carry = program.stopped(carry)
        step, updates = base + hi, made * len(self.replicas)
        self.ledger.block(step, phase.name, metrics, updates, seconds)
        self._tell("block", Block(phase.name, step, metrics, seconds, updates))
        before, at = base + lo, self._position(program, carry, base, hi)
        if failure:
            raise self._saved(failure, at)
        if self.evaluator and phase.plays and self._due(before, step, self.settings.evaluation_interval):
            try:
                self._evaluate(self.evaluator, phase, carry, step)
            except UserError as fault:
                raise self._saved(fault, at) from fault
        if self._due(before, step, self._save_interval):
            self._save(at)
        return carry, hi

    def _evaluate(self, evaluator: Evaluator, phase: Phase, carry: Carry, step: int) -> None:
        team = Replicas(
            self.algorithm, self.programs[0].cfgs, carry.state, self.problem.spec, self.problem.fitted, step
        )
        # each seed of the run meets episodes of its own, those that it would meet alone: shared ones would make the
        # policies agree by their luck, and the interval over them too narrow
        found = evaluator(team, seed=[replica.seed * 1_000_003 + step for replica in self.replicas])
        self.ledger.evaluation(step, phase.name, found)
        self.last = found
        self._ship(phase, carry, step)
        if self.settings.keep_policies:
            self._ship(phase, carry, step, kept=True)
        self._tell("evaluated", Evaluated(step, found))

    def _ship(self, phase: Phase, carry: Carry, step: int, kept: bool = False) -> None:
        index = next(p.index for p in self.programs if p.phase is phase)
        folders = self.folder.policy_folders([r.name for r in self.replicas], step if kept else None)
        for i, (replica, path) in enumerate(zip(self.replicas, folders, strict=True)):
            state = jax.tree.map(lambda x, i=i: x[i], carry.state)
            info = {
                "env_spec": self.problem.env,
                "env_id": self.problem.name if self.problem.dataset is None else self.problem.dataset.env_id,
                "dataset": self.settings.data,
                "dataset_fingerprint": self.problem.fingerprint,
                "reference": list(self.problem.reference) if self.problem.reference else None,
                "seed": replica.seed,
                "sweep": replica.values,
                "step": step,
                "stage": self.settings.stage,
                "phase": index,
                "stats": self.problem.stats,
            }
            Policy(self.algorithm, replica.cfg, state, self.problem.spec, self.problem.fitted, info).save(path)

    def _finish(self, carry: Carry) -> dict[str, Any]:
        phase, step = self.programs[-1].phase, self.reached
        if self.evaluator and (self.last is None or not self.ledger.has_evaluation(step, phase.name)):
            try:
                self._evaluate(self.evaluator, phase, carry, step)
            except UserError as fault:
                self._ship(phase, carry, step)
                raise type(fault)(f"{fault}; the policy of step {step} is in {self.folder.path / 'policy'}") from fault
        else:
            self._ship(phase, carry, step)
        settings = self.settings
        result = result_of(settings, self.problem, self.programs, self.ledger, step, self.last)
        if self.rounds:
            result["exact"] = "exact" if self.rounds.exact else "exact except the environment"
        if settings.source:
            result["source"] = settings.source
            result["finetune"] = handover.summary(self.folder.evaluations) if self.evaluator else None
        write_json(self.folder.result, result)
        return result

    def _begin(self) -> Position:
        source = self.settings.source
        state = None if source is None else handover.read(source, self._source_state())
        self.folder.create()
        self.folder.clear()
        self.folder.write_config({**self.settings.to_dict(), "dataset_fingerprint": self.problem.fingerprint})
        if source is not None:
            handover.keep(self.folder, source, state)
        return self._from_nothing()

    def _from_nothing(self) -> Position:
        self.ledger.begin()
        self.reached = 0
        if self.settings.source is None:
            return Position(0, 0, 0, None, None)
        return Position(0, 0, 0, handover.kept(self.folder, self.settings.source, self._source_state()), None)

    def _source_state(self) -> Any:
        """The states that the fine-tuned run ended with, as shapes."""
        state = None
        for program in self.before:
            state = program.state_shape(state)
        return state

    def _resume(self, shapes: list[Carry]) -> Position:
        self.folder.clear()
        if self.folder.checkpoints.latest() is None:  # killed before its first checkpoint
            return self._from_nothing()
        saved = self.folder.checkpoints.read()
        self.folder.checkpoints.prune()
        facts = saved.metadata
        carry = saved.tree(shapes[facts["phase"]])
        self.ledger.go_back(facts)
        self.reached = facts["total"]
        return Position(facts["phase"], facts["local"], facts["total"], carry.state, carry, facts["rounds"])

    def _save(self, at: Position) -> None:
        if self.folder.checkpoints.latest() == at.total and at.total == self.reached and at.total:
            return
        self.reached = at.total
        where = {"phase": at.phase, "local": at.local, "total": at.total}
        facts = {**where, **self.ledger.counts(), "rounds": self.rounds.log() if self.rounds else None}
        self.folder.checkpoints.save(at.total, at.carry, facts)

    def _saved(self, failure: UserError, at: Position) -> UserError:
        """The same failure, after saving what was collected and learned before it."""
        self._save(at)
        name = self.problem.env if self.problem.env and not self.problem.env.lstrip().startswith("{") else ""
        name = "" if name in str(failure) else f"{name}: "
        return type(failure)(
            f"{name}{failure}; everything up to step {at.total} is saved in {self.folder.path}, and "
            f"holdfast train --resume {self.folder.path} goes on from there"
        )

    def _position(self, program: Program, carry: Carry, base: int, local: int) -> Position:
        return Position(program.index - len(self.before), local, base + local, carry.state, carry)

    def _shapes(self) -> list[Carry]:
        found: list[Carry] = []
        for program in self.programs:
            earlier = (found[-1].state, found[-1].rings) if found else (self._source_state(), None)
            found.append(program.shapes(*earlier))
        return found

    def _rounds(self, program: Program, carry: Carry, log: Any) -> tuple[Rounds | CompiledRounds | None, Carry]:
        collect = program.phase.collect
        if collect is None:
            return None, carry
        if program.env is not None:
            compiled = CompiledRounds(program, program.env, self.problem.fitted, str(self.problem.env))
            compiled.start(carry)
            return compiled, carry
        seeds, spec = [r.seed for r in self.replicas], self.problem.spec
        count, slots = len(seeds) * collect.envs, None
        if self.settings.workers:
            shape, timeout = Shape(spec.discrete, spec.action), self.settings.worker_timeout
            slots = Workers(str(self.problem.env), count, shape, self.settings.workers, timeout)
        collector = Collector(self.problem.make(), seeds, collect.envs, spec, slots)
        self.rounds = rounds = Rounds(
            program, collector, self.problem.fitted, spec
        )  # known at once: closed if this fails
        if log is None:
            rounds.start(carry)
        else:
            carry = rounds.restore(log, carry)
        if not rounds.exact:
            self._tell("warn", f"{self.problem.env}: the same seed and actions do not give the same episode: a resumed "
                       "run will not be the same as one never stopped")  # fmt: skip
        return rounds, carry

    @property
    def _save_interval(self) -> int:
        """Steps between checkpoints; a run that collects saves its replay too, so less often."""
        settings = self.settings
        collects = any(program.phase.collect for program in self.programs)
        return settings.save_every or (max(settings.block, settings.steps // 20) if collects else settings.block)

    def _next(self, phase: Phase, base: int, local: int) -> int:
        """The next step of the phase at which a block has to end."""
        step = base + local
        clocks = [self.settings.block, self._save_interval]
        clocks += [self.settings.evaluation_interval] if self.evaluator else []
        ends = [(step // every + 1) * every for every in clocks]
        ends += [base + (local // phase.every + 1) * phase.every] if phase.refresh else []
        n = phase.collect.envs if phase.collect else 1  # a step of every environment is the least
        return min(-(-(min(ends) - base) // n) * n, self.settings.steps_of(phase))

    def _due(self, before: int, step: int, every: int) -> bool:
        return step // every > before // every

    def _require_finite(self, names: Sequence[str], found: Found, base: int) -> None:
        bad = np.argwhere(found.first_bad >= 0)
        if not len(bad):
            return
        row, column = min(bad, key=lambda at: found.first_bad[tuple(at)])
        update = base + int(found.first_bad[row, column])
        raise Diverged(
            f"{names[column]} of {self.replicas[row].name} is NaN or infinite at update {update} "
            f"of {self.settings.algorithm}: training stopped, {self._kept()}; "
            "try a lower learning rate, or look at the data with `holdfast data check`"
        )

    def _kept(self) -> str:
        last = self.folder.checkpoints.latest()
        kept = f"the checkpoint of step {last} is kept" if last is not None else "no checkpoint was written yet"
        return f"{kept} in {self.folder.path}"

    def _tell(self, event: str, *what: Any) -> None:
        for hook in self.hooks:
            getattr(hook, event)(*what)
