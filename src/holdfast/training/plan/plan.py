"""The plan of a run: everything that can be refused is refused here, before anything is compiled or written."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from ...algorithms import registry
from ...core import config
from ...core.contract import Algorithm, Phase, Treatment
from ...core.errors import UserError
from ...core.spec import Cfg, State
from ...data.feed import row_sources
from ...evaluation.evaluate import Evaluator
from ...runs.replicas import Replica
from ...runs.replicas import replicas as combined
from ...runs.settings import Settings
from ..carry import Carry
from ..exploring import COLLECTED
from ..loop import Program
from ..trackers import tracker
from .described import bytes_of, schedule, size, treatment
from .networks import require_networks
from .programs import programs_of
from .refusals import require_nonnegative, require_rule, require_targets
from .schedule import phases_of, require_needs, resolved
from .task import Task
from .team import method_and_task
from .team_data import Logged


@dataclasses.dataclass(frozen=True)
class Plan:
    """A run that is ready to start. Make one with `plan`."""

    settings: Settings
    algorithm: Algorithm
    cfg: Cfg  # the algorithm's config, its schedules over "run" as numbers of updates
    replicas: list[Replica]
    task: Task
    before: tuple[Program, ...]  # phases of the offline run that this run fine-tunes
    programs: tuple[Program, ...]  # phases of this run
    evaluator: Callable[..., Evaluator] | None  # opens the evaluation environments; None: nothing is evaluated

    @property
    def phases(self) -> tuple[Phase, ...]:
        """The phases of this run."""
        return tuple(program.phase for program in self.programs)

    @property
    def steps(self) -> int:
        """Steps of a replica in all phases of this run, if none stops early."""
        return sum(self.settings.steps_of(phase) for phase in self.phases)

    @property
    def save_interval(self) -> int:
        """Steps between checkpoints. A run with replay buffers also saves these, so it saves less often."""
        settings = self.settings
        buffers = any(phase.capacities for phase in self.phases)
        return settings.save_every or (max(settings.block, settings.steps // 20) if buffers else settings.block)

    def due(self, phase: Phase, base: int, local: int) -> int:
        """The step of a phase at which a block that starts at `local` has to end.

        Args:
            phase: the phase.
            base: steps of this run before the phase.
            local: steps of the phase so far.
        """
        clocks = [self.settings.block, self.save_interval]
        clocks += [self.settings.evaluation_interval] if self.evaluator or self.settings.stop_when else []
        step = base + local
        return min((step // every + 1) * every for every in clocks) - base

    def source_state(self) -> Any:
        """The states that the fine-tuned run ended with, as shapes; None for a run that starts from scratch."""
        state = None
        for program in self.before:
            state = program.state_shape(state)
        return state

    def shapes(self) -> list[Carry]:
        """The carry of each phase, as shapes. Traces the updates once, which also finds the names of their metrics."""
        found: list[Carry] = []
        state = self.source_state()
        rings = None
        for program in self.programs:
            found.append(program.shapes(state, rings))
            state = found[-1].state
            rings = found[-1].rings
        return found

    def metric_names(self) -> list[str]:
        """Names of all metrics of all phases, in order. Call `shapes` first."""
        names: list[str] = []
        for program in self.programs:
            names += [*program.metrics, *program.fresh, *(COLLECTED if program.phase.collect else ())]
        return list(dict.fromkeys(names))

    def describe(self) -> str:
        """The plan as plain text, for `holdfast train --dry-run`."""
        lines = [f"{label:<12}{text}" for label, text in self._described()]
        return "\n".join(lines)

    def _described(self) -> Iterator[tuple[str, str]]:
        settings = self.settings
        yield "algorithm", f"{self.algorithm.name}, preset {settings.preset}"
        schedules = config.fields_of(self.cfg, config.Schedule)
        values = config.to_dict(self.cfg)
        yield "config", ", ".join(f"{name} {value}" for name, value in values.items() if name not in schedules)
        if schedules:
            yield "schedules", ", ".join(f"{name} {schedule(values[name])}" for name in schedules)
        if self.task.steps:
            yield (
                "data",
                f"{self.task.name}: {self.task.steps:,} rows in {self.task.episodes:,} episodes{self.task.agents}",
            )
            yield "treatment", treatment(Treatment(**settings.treatment))
        if self.task.env is not None:
            yield "environment", self.task.env if not self.task.env.lstrip().startswith("{") else "as in the data set"
        names = ", ".join(replica.name for replica in self.replicas[:6])
        more = len(self.replicas) - 6
        yield "replicas", f"{len(self.replicas)} in one program: {names}{f' and {more} more' if more > 0 else ''}"
        if settings.source:
            yield "continues", f"{settings.source['run']} from its step {settings.source['step']}"
        shapes = self.shapes()
        for number, (program, carry) in enumerate(zip(self.programs, shapes, strict=True), 1):
            yield f"phase {number}", _phase(settings, program)
            yield "", f"state of {_parameters(carry.state):,} numbers for each replica"
            if carry.rings:
                yield "", f"replay buffers of {size(bytes_of(carry.rings))}"
        window = self.programs[0].window
        held = [own.data for own in (self.programs[0].ctx, *self.programs[0].ctx.members) if own.data is not None]
        if window is not None:
            yield "memory", f"{size(bytes_of(self.programs[0].sources))} of data on the device: {window.describe()}"
        elif held:
            yield "memory", f"{size(bytes_of(held))} of data on the device"
        yield "checkpoints", f"every {self.save_interval:,} steps; metrics every {settings.block:,} steps"
        yield "evaluation", self._evaluation()

    def _evaluation(self) -> str:
        settings = self.settings
        if self.evaluator is None:
            return "none" if not settings.evaluate else "none: no environment is known (name one with --env)"
        return f"{settings.eval_episodes} episodes for each replica, every {settings.evaluation_interval:,} steps"


def plan(settings: Settings, dataset: Logged | None = None) -> Plan:
    """Check and prepare a run. Compiles nothing, writes nothing, and leaves no environment open.

    Args:
        settings: settings of the run.
        dataset: the data if they are in memory; else `settings.data` is loaded.

    Raises:
        UserError: settings, data, algorithm or environment that do not fit together, in one line.
    """
    faults = settings.faults()
    if faults:
        raise UserError("; ".join(faults))
    for name in settings.loggers:
        tracker(name).require_ready()  # before the run has a folder
    algorithm: Algorithm = registry.get(settings.algorithm)
    given: Any = config.from_dict(algorithm.Config, settings.config)
    cfg = resolved(algorithm, given, settings)
    require_needs(phases_of(algorithm, cfg, settings), algorithm.needs(cfg))
    seeds = range(settings.seed, settings.seed + settings.seeds)
    replicas = combined(algorithm, cfg, settings.sweep, seeds, settings.paired)
    algorithm, task = method_and_task(settings, algorithm, cfg, dataset)
    require_targets(algorithm, cfg, task.name, task.fitted, task.stats)
    require_nonnegative(cfg, task.name, task.stats)
    require_networks(algorithm, cfg, task)
    evaluates = settings.evaluate and task.eval_env is not None
    require_rule(settings, algorithm, task.spec, task.name, evaluates)
    if evaluates:
        task.require_environment(settings.workers, settings.worker_timeout, evaluation=True)
    programs = programs_of(settings, algorithm, cfg, replicas, task)
    if (not evaluates or task.env != task.eval_env) and any(program.phase.collect for program in programs.own):
        task.require_environment(settings.workers, settings.worker_timeout)
    evaluator = _evaluator(settings, task, len(replicas)) if evaluates else None
    made = Plan(settings, algorithm, cfg, replicas, task.without_rows(), programs.before, programs.own, evaluator)
    if task.spec.networks.network:
        made.shapes()  # an update may need what a user's module does not have, such as hidden layers for dropout
    return made


def _evaluator(settings: Settings, task: Task, replicas: int) -> Callable[..., Evaluator]:
    return functools.partial(
        Evaluator,
        task.eval_env or "",
        replicas,
        settings.eval_episodes,
        reference=task.reference,
        info={"dataset": task.name},
        workers=settings.workers,
        timeout=settings.worker_timeout,
    )


def _phase(settings: Settings, program: Program) -> str:
    phase = program.phase
    unit = "environment steps" if phase.collect else "updates"
    parts = [f"{phase.name}: {settings.steps_of(phase):,} {unit}", f"batches of {program.batch_size}"]
    sources = {name: row_sources.size(source) for name, source in program.sources.items()}
    known = [f"{name} ({sources[name]:,} rows)" for name in sources]
    if isinstance(phase.mix, str):
        parts.append(f"drawn in proportion from {' and '.join([*known, *phase.capacities])}")
    else:
        shares = [
            f"{share:.0%} {name}{f' ({sources[name]:,} rows)' if name in sources else ''}"
            for name, share in phase.mix.items()
        ]
        parts.append(f"drawn from {' and '.join(shares)}")
    if phase.collect:
        collect = phase.collect
        where = "compiled with the updates" if program.env is not None else "in Gymnasium"
        parts.append(
            f"collects {where} in {collect.envs} environment(s), {collect.every} update(s) for each "
            f"{collect.steps * collect.envs} step(s), after {collect.warmup:,} random steps, into '{collect.to}' of at "
            f"most {phase.capacities[collect.to]:,} rows"
        )
    if phase.refresh is not None:
        parts.append(f"refresh every {phase.every:,} {unit}")
    return ", ".join(parts)


def _parameters(state: State) -> int:
    """Numbers in the state of one replica; leaves lead with the replicas."""
    return sum(int(np.prod(x.shape[1:])) for x in jax.tree.leaves(state))
