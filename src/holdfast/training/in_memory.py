"""Training in memory, for studies that look at the states during training. `run.train` trains into a folder."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

from ..algorithms import registry
from ..core import config
from ..core.errors import UserError
from ..core.phases import stages
from ..data.dataset import Dataset
from ..runs.settings import Settings
from .carry import Carry
from .compilation import use_cache
from .driver import blocks, enter
from .plan.plan import Plan, plan


class Moment(NamedTuple):
    """A moment of the training; leaves of `state` and `cfgs` lead with the replicas [R]."""

    step: int  # updates in the main phase
    state: Any
    cfgs: Any
    plan: Plan  # algorithm, treatment, spec


def train_in_memory(settings: Settings, dataset: Dataset, every: int) -> Iterator[Moment]:
    """Train, and yield the state at the start of the main phase and after every `every` updates of it.

    The main phase is the one that takes the run's steps, or the last phase if each has its own number of steps. Later
    phases are left out. Nothing is written or evaluated. Do not keep a reference to a yielded state: the next block
    reuses its memory. Copy what you need.

    Raises:
        UserError: settings or data that do not fit, or an algorithm that collects in an environment.
        NotFinite: a metric became NaN or infinite.
    """
    algorithm = registry.get(settings.algorithm)
    cfg: Any = config.from_dict(algorithm.Config, settings.config)
    if any(phase.collect for phase in stages(algorithm, cfg, settings.stage)):
        raise UserError(f"{settings.algorithm} collects during training: it cannot be followed on data alone")
    made = plan(settings, dataset)
    use_cache()
    own = [i for i, phase in enumerate(made.phases) if phase.steps is None]
    programs = made.programs[: own[0] + 1] if own else made.programs
    carry: Carry | None = None
    for program in programs:
        main = program is programs[-1]
        steps = settings.steps_of(program.phase)
        clock = every if main else steps
        carry = enter(program, carry)
        if main:
            yield Moment(0, carry.state, program.cfgs, made)
        for block in blocks(program, carry, 0, steps, functools.partial(_next, clock)):
            carry = block.carry
            if main and (block.hi % every == 0 or block.hi == steps):
                yield Moment(block.hi, carry.state, program.cfgs, made)


def _next(every: int, step: int) -> int:
    """The next multiple of `every`."""
    return (step // every + 1) * every
