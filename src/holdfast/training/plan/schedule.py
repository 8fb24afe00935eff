"""The phases of a run and their lengths, and the refusals that concern them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from ...core import config
from ...core.contract import PROPORTIONAL, Algorithm, Collect, Needs, Phase
from ...core.errors import UserError
from ...core.phases import stages
from ...core.spec import Cfg, Step
from ...data.dataset import Dataset
from ...data.feed import readers
from ...data.feed.columns import DERIVED
from ...runs.settings import Settings


def updates_by(collect: Collect, step: Step) -> Any:
    """Number of updates after `step` environment steps of a replica; `step` may be traced."""
    after = step - collect.warmup - collect.delay
    return after // (collect.steps * collect.envs) * collect.every * (after > 0)


def passed(before: int, step: int, every: int) -> bool:
    """Whether a multiple of `every` lies in (before, step]."""
    return step // every > before // every


def phases_of(algorithm: Algorithm, cfg: Cfg, settings: Settings) -> tuple[Phase, ...]:
    """The phases of a run, with the number of environments and the size of the replay buffer that the run asks for.

    Several environments make as many steps and updates in total as one would: the algorithm sets their ratio.
    """
    return tuple(_sized(phase, settings) for phase in stages(algorithm, cfg, settings.stage))


def _sized(phase: Phase, settings: Settings) -> Phase:
    if phase.models and settings.dynamics is not None:  # the run uses the model of another run
        return phase._replace(steps=0, refresh=None, until=None)
    collect = phase.collect
    if collect is None:
        return phase
    envs = settings.envs or collect.envs
    every = collect.every * envs // collect.envs
    rings = {**phase.rings, collect.to: settings.replay} if settings.replay else phase.rings
    return phase._replace(collect=collect._replace(envs=envs, every=every), rings=rings)


def resolved(algorithm: Algorithm, cfg: config.C, settings: Settings) -> config.C:
    """The config with its schedules over "run" as numbers of updates."""
    main = next((phase for phase in reversed(phases_of(algorithm, cfg, settings)) if phase.steps is None), None)
    collect = None if main is None else main.collect
    updates = settings.steps if collect is None else updates_by(collect, settings.steps)
    return config.over_the_run(cfg, max(1, updates))


def ring_rows(phases: Sequence[Phase], settings: Settings) -> Counter[str]:
    """Upper bound on the rows that the phases add to each replay buffer of a replica, by name."""
    rows: Counter[str] = Counter()
    for phase in phases:
        if phase.collect:
            rows[phase.collect.to] += settings.steps_of(phase) + phase.collect.envs
    return rows


def require_needs(phases: Sequence[Phase], own: Needs) -> None:
    """Refuse rows that the sampler cannot read.

    Args:
        phases: the phases of a run.
        own: what the algorithm's update reads in phases that do not say it themselves.

    Raises:
        UserError: an object that is not one of the `Needs`, or a length or a number of slices below 1.
    """
    for phase in phases:
        needs = phase.needs or own
        if type(needs) not in readers.READ:
            known = ", ".join(kind.__name__ for kind in readers.READ)
            raise UserError(
                f"phase {phase.name} needs {needs!r}, which the sampler cannot read: expected one of {known}"
            )
        wrong = [f"{name} {value}" for name, value in vars(needs).items() if type(value) is int and value < 1]
        if wrong:
            raise UserError(f"phase {phase.name} needs rows of {', '.join(wrong)}: expected at least 1")


def require_sources(phase: Phase, known: set[str]) -> None:
    """Refuse a phase that draws from a source that the run does not have.

    Raises:
        UserError: naming the phase and the source.
    """
    if isinstance(phase.mix, str):
        if phase.mix != PROPORTIONAL:
            raise UserError(
                f"phase {phase.name}: the mix is '{phase.mix}', expected shares by source or '{PROPORTIONAL}'"
            )
        return
    missing = [name for name in phase.mix if name not in known]
    if missing:
        raise UserError(f"phase {phase.name} draws from {', '.join(missing)}, which this run does not have")


def growth_of(settings: Settings, algorithm: Algorithm, cfg: Cfg, data: Dataset | None) -> tuple[float, int] | None:
    """How the log grows during training: rows for each update, and updates until all rows are there.

    Raises:
        UserError: the algorithm reads the whole log beforehand, or the first updates would have no rows.
    """
    if not settings.growing or data is None:
        return None
    phase, *more = algorithm.phases(cfg)
    derived = DERIVED.keys() & set((phase.needs or algorithm.needs(cfg)).columns)
    require_single_rows("--growing", algorithm, cfg, bool(more or derived))
    if data.n_steps - (settings.steps - 1) * settings.growing < 1:
        most = int((data.n_steps - 1) / settings.growing) + 1
        raise UserError(
            f"--growing {settings.growing:g} with {settings.steps} updates: {data.id} has only {data.n_steps} rows, so "
            f"the first updates would have none; expected at most {most} updates, or fewer rows for each update"
        )
    return settings.growing, settings.steps


def require_single_rows(flag: str, algorithm: Algorithm, cfg: Cfg, other: bool = False) -> None:
    """Refuse an algorithm that reads more of the log than the rows that its updates draw.

    Args:
        flag: the setting that needs it.
        algorithm: the algorithm.
        cfg: its config.
        other: another reason to refuse it.

    Raises:
        UserError: naming algorithms that can be used.
    """
    phases = algorithm.phases(cfg)
    whole = [phase for phase in phases if phase.refresh or phase.split or phase.collect or phase.fill is not None]
    mixed = [phase for phase in phases if phase.mix != {"data": 1.0}]
    samples = any(getattr(phase.needs or algorithm.needs(cfg), "bootstrap", False) for phase in phases)
    if whole or mixed or samples or algorithm.filter or other:
        raise UserError(
            f"{flag}: {algorithm.name} reads the log as a whole; use an algorithm that learns from single rows, "
            "e.g. bc, td3_bc, bcq or iql"
        )


def require_updates(settings: Settings, phase: Phase) -> None:
    """Refuse a run that ends before its first update: the shipped policy would be untrained.

    Raises:
        UserError: naming the steps that come before the first update.
    """
    collect = phase.collect
    if collect is None or phase.steps is not None or updates_by(collect, settings.steps):
        return
    parts = {"random steps": collect.warmup, "steps that fill the replay": collect.delay}
    before = " and ".join(f"{count} {what}" for what, count in parts.items() if count)
    raise UserError(
        f"--steps {settings.steps} ends before the first update of {settings.algorithm}, which comes after {before}: "
        "ask for more steps" + (", or a lower --warmup" if collect.warmup else "")
    )
