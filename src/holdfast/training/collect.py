"""How a phase of a run collects: in Gymnasium, in an environment compiled with the updates, or not at all."""

from __future__ import annotations

from typing import Any

from ..core.errors import UserError, one_line
from ..environments.gym.collector import Collector
from ..environments.gym.env_pool import Shape
from ..environments.gym.workers import Workers
from .carry import Carry
from .collect_gym import GymCollection
from .collect_jax import JaxCollection
from .loop import Program
from .plan.plan import Plan
from .play import Offline, Play
from .stopping import Pace


def play_of(plan: Plan, program: Program, pace: Pace | None = None) -> Play:
    """What advances a phase of the plan. The caller closes it.

    Raises:
        UserError: the environments cannot be made.
    """
    collect = program.phase.collect
    task = plan.task
    if collect is None:
        return Offline(program, pace)
    if program.env is not None:
        return JaxCollection(program, program.env, task.fitted, str(task.env), pace)
    seeds = [replica.seed for replica in plan.replicas]
    settings = plan.settings
    pool = None
    if settings.workers:
        shape = Shape(task.spec.discrete, task.spec.action)
        count = len(seeds) * collect.envs
        pool = Workers(str(task.env), count, shape, settings.workers, settings.worker_timeout)
    collector = Collector(task.make(), seeds, collect.envs, task.spec, pool)
    return GymCollection(program, collector, task.fitted, task.spec, pace)


def restored(play: Play, log: dict[str, Any], carry: Carry, where: str) -> Carry:
    """The carry, after the environments have been brought to where a checkpoint left them.

    Args:
        play: how the phase collects.
        log: what the checkpoint stored of the environments.
        carry: the carry of the checkpoint.
        where: the checkpoint, for error messages.

    Raises:
        UserError: the log cannot be read.
    """
    try:
        return play.restore(log, carry)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise UserError(
            f"rounds in the checkpoint of {where} cannot be read ({one_line(error)[:100]}): use an older checkpoint"
        ) from error
