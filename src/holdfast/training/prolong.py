"""Prolonging a run: more steps after its last one, from its last checkpoint."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from ..algorithms import registry
from ..core import config as configs
from ..core.errors import UserError
from ..data.feed.buffer import Ring
from ..runs.folder import RunFolder
from ..runs.settings import Settings
from .carry import Carry
from .plan.plan import Plan
from .plan.schedule import phases_of, ring_rows


def prolonged(settings: Settings, steps: int, run: RunFolder) -> Settings:
    """The settings of a run with more steps. The interval between evaluations stays.

    Args:
        settings: settings of the run.
        steps: steps of the prolonged run in all, as in `train`.
        run: folder of the run.

    Raises:
        UserError: fewer steps than the run has, or a run that cannot be prolonged.
    """
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < settings.steps:
        raise UserError(
            f"--steps {steps}: {run.path} has {settings.steps} steps; give the steps of the prolonged run in all, "
            f"more than {settings.steps}"
        )
    if steps == settings.steps:
        return settings
    if settings.growing:
        raise UserError(f"{run.path} has a growing log, which is complete at its last step: start a new run instead")
    algorithm = registry.get(settings.algorithm)
    cfg: Any = configs.from_dict(algorithm.Config, settings.config)
    phases = phases_of(algorithm, cfg, settings)
    earlier = len(algorithm.phases(cfg)) if settings.source else 0
    main = [index for index, phase in enumerate(phases[earlier:]) if phase.steps is None]
    if not main:
        raise UserError(f"{run.path} cannot be prolonged: {settings.algorithm} sets the steps of all its phases itself")
    if run.checkpoints.latest() is not None:
        facts = run.checkpoints.read().metadata
        index = facts["phase"]
        if index > main[-1]:
            later = phases[earlier + index].name
            raise UserError(f"{run.path} cannot be prolonged: it is in its later phase {later} already")
        collect = phases[earlier + index].collect
        if collect is not None and facts["local"] % collect.envs:
            raise UserError(
                f"{run.path} cannot be prolonged: its {facts['local']} steps are not a multiple of its "
                f"{collect.envs} environments"
            )
    return dataclasses.replace(settings, steps=steps, eval_every=settings.evaluation_interval)


def changed_schedules(before: Settings, after: Settings) -> str | None:
    """A warning about settings that follow the length of a run; None if there are none, or the length is the same."""
    algorithm = registry.get(before.algorithm)
    names = [
        *configs.fields_of(algorithm.Config, configs.Schedule),
        *configs.fields_of(algorithm.Config, configs.Horizon),
    ]
    names = [name for name in names if before.config.get(name) == "run"]
    if not names or before.steps == after.steps:
        return None
    verbs = ("follows", "jumps") if len(names) == 1 else ("follow", "jump")
    return (
        f"{', '.join(names)} {verbs[0]} the length of the run, now {after.steps:,} instead of {before.steps:,} steps, "
        f"and {verbs[1]} where the run continues: a new run of {after.steps:,} steps gives other results"
    )


def shapes_of(plan: Plan, shapes: Carry, steps: int) -> Carry:
    """The shapes of a carry that a run of `steps` steps has saved: its replay buffers may be smaller.

    Args:
        plan: the plan of the prolonged run.
        shapes: the shapes of the carry in the prolonged run.
        steps: steps of the run that saved.
    """
    if steps == plan.settings.steps:
        return shapes
    rows = ring_rows(plan.phases, dataclasses.replace(plan.settings, steps=steps))
    rings = dict(shapes.rings)
    for program in reversed(plan.programs):  # the first phase that names a buffer makes it
        collect = program.phase.collect
        if collect is not None and collect.to in rings:
            filled = program.rings.filled
            most = rows[collect.to] + (0 if filled is None else len(filled))
            rings[collect.to] = _resized(rings[collect.to], min(program.phase.capacities[collect.to], most))
    return shapes._replace(rings=rings)


def widened(carry: Carry, shapes: Carry) -> Carry:
    """The carry with replay buffers of the capacities in `shapes`. A buffer that grows has never been full."""

    def grown(x: jax.Array, like: jax.ShapeDtypeStruct) -> jax.Array:
        more = [(0, wanted - had) for had, wanted in zip(x.shape, like.shape, strict=True)]
        return jnp.pad(x, more) if any(after for _, after in more) else x

    return carry._replace(rings=jax.tree.map(grown, carry.rings, shapes.rings))


def _resized(ring: Ring, capacity: int) -> Ring:
    def shape(x: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((x.shape[0], capacity, *x.shape[2:]), x.dtype)

    return Ring(jax.tree.map(shape, ring.rows), ring.size, ring.cursor, ring.stride)
