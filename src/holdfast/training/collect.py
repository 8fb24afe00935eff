"""How a phase of a run collects: in Gymnasium, in an environment compiled with the updates, or not at all."""

from __future__ import annotations

from ..environments.gym.collector import Collector
from ..environments.gym.env_pool import Shape
from ..environments.gym.workers import Workers
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
