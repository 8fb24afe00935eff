"""What a run is refused for before anything is compiled: phases that cannot draw, logs that cannot grow."""

from __future__ import annotations

from typing import Any

from ...core.contract import PROPORTIONAL, Algorithm, Phase
from ...core.errors import UserError
from ...data.dataset import Dataset
from ...data.feed import sampler
from ...data.feed.columns import DERIVED
from ...runs.settings import Settings
from ..collect_gym import updates_by
from ..loop import Carry, Program


def require_sources(phase: Phase, known: set[str]) -> None:
    """Refuse a phase that draws from what the run does not have, or reads what no sampler gives."""
    if phase.needs is not None and phase.needs.kind not in ("transitions", "nstep"):
        raise UserError(f"phase {phase.name} needs {phase.needs.kind}, expected transitions or nstep")
    if isinstance(phase.mix, str):
        if phase.mix != PROPORTIONAL:
            raise UserError(
                f"phase {phase.name}: the mix is '{phase.mix}', expected shares by source or '{PROPORTIONAL}'"
            )
        return
    missing = [name for name in phase.mix if name not in known]
    if missing:
        raise UserError(f"phase {phase.name} draws from {', '.join(missing)}, which this run does not have")


def growth_of(settings: Settings, algorithm: Algorithm, cfg: Any, data: Dataset | None) -> tuple[float, int] | None:
    """How the log grows while it is learned from: rows an update, and updates until all of it is there.

    Raises:
        UserError: a method that looks at the whole log beforehand, or a log that the updates outrun.
    """
    if not settings.growing or data is None:
        return None
    phase, *more = algorithm.phases(cfg)
    derived = DERIVED.keys() & set((phase.needs or algorithm.needs(cfg)).columns)
    if more or phase.refresh or phase.split or derived or algorithm.filter or phase.mix != {"data": 1.0}:
        raise UserError(
            f"--growing: {settings.algorithm} looks at the log as a whole; bc, td3_bc, bcq, iql and the like learn "
            "from its rows alone"
        )
    if data.n_steps - (settings.steps - 1) * settings.growing < 1:
        most = int((data.n_steps - 1) / settings.growing) + 1
        raise UserError(
            f"--growing {settings.growing:g} with {settings.steps} updates: {data.id} has {data.n_steps} rows, so that "
            f"none would be there at first; expected at most {most} updates, or fewer rows an update"
        )
    return settings.growing, settings.steps


def require_rows(program: Program, carry: Carry) -> None:
    """Refuse a phase that draws from a ring which nothing fills: drawn rows would be zeros."""
    collect = program.phase.collect
    for name in sampler.drawn(program.phase.mix, {**program.sources, **carry.rings}):
        if name in carry.rings and (collect is None or collect.to != name) and not carry.rings[name].size.all():
            raise UserError(f"phase {program.phase.name} draws from '{name}', which no phase has filled")


def require_updates(settings: Settings, phase: Phase) -> None:
    """Refuse a run that ends before its first update: what it shipped would not have learned."""
    collect = phase.collect
    if collect is None or phase.steps is not None or updates_by(collect, settings.steps):
        return
    parts = {"random steps": collect.warmup, "steps that fill the replay": collect.delay}
    before = " and ".join(f"{count} {what}" for what, count in parts.items() if count)
    raise UserError(
        f"--steps {settings.steps} ends before the first update of {settings.algorithm}, which comes after {before}: "
        "ask for more steps" + (", or a lower --warmup" if collect.warmup else "")
    )
