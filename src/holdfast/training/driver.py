"""Training in memory, for what has to look at states on the way: studies. Runs on disk are `run.train`'s."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from ..algorithms import registry
from ..core import config
from ..core.errors import Diverged, UserError
from ..data.dataset import Dataset
from ..runs.settings import Settings
from .runner import Runner


class Moment(NamedTuple):
    """Where the training stands; leaves of `state` and `cfgs` lead with the replicas [R]."""

    step: int  # updates in the main phase
    state: Any
    cfgs: Any
    runner: Runner  # algorithm, treatment, spec


def course(settings: Settings, dataset: Dataset, every: int) -> Iterator[Moment]:
    """Train as `settings` say, and show the state at the start of the main phase and after every `every` updates of it.

    The main phase is the one that takes the run's steps, else the last; what would follow it is left out. Nothing is
    written or evaluated. A shown state is not to be kept, since training goes on in its memory.

    Raises:
        UserError: settings or data that do not fit, or a method that collects in an environment.
        Diverged: a metric became NaN or infinite.
    """
    algorithm = registry.get(settings.algorithm)
    if any(phase.collect for phase in algorithm.phases(config.from_dict(algorithm.Config, settings.config))):
        raise UserError(f"{settings.algorithm} collects while it learns: it cannot be followed on data alone")
    runner, state = Runner(settings, dataset), None
    own = [i for i, program in enumerate(runner.programs) if program.phase.steps is None]
    programs = runner.programs[: own[0] + 1] if own else runner.programs
    for program in programs:
        main = program is programs[-1]
        steps = settings.steps if program.phase.steps is None else program.phase.steps
        program.shapes(state)
        carry, step = program.start(state), 0
        if main:
            yield Moment(0, carry.state, program.cfgs, runner)
        while step < steps and not np.asarray(carry.done).all():
            clocks = [c for c in (program.phase.every if program.phase.refresh else 0, every if main else 0) if c]
            following = min([*((step // clock + 1) * clock for clock in clocks), steps])
            carry, found = program.run(carry, step, following)
            if (found.first_bad >= 0).any():
                names = [program.metrics[m] for m in np.flatnonzero((found.first_bad >= 0).any(0))]
                raise Diverged(f"{', '.join(names)} of {settings.algorithm} became NaN or infinite")
            step = following
            if program.phase.refresh and step % program.phase.every == 0:
                carry, _ = program.refresh(carry, step)
            carry = program.stopped(carry)
            if main and (step % every == 0 or step == steps):
                yield Moment(step, carry.state, program.cfgs, runner)
        state = carry.state
