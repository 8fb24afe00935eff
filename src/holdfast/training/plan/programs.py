"""What a run is made of before its first step: the programs of its phases, and what evaluates its policies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...core import config
from ...core.contract import Algorithm, Context
from ...core.errors import UserError
from ...environments.gym.matching import require_match
from ...environments.jax.env import find
from ...evaluation.evaluate import Evaluator
from ...runs.settings import Replica, Settings
from ..collect_gym import phases_of
from ..collect_jax import fits
from ..compilation import use_cache
from ..loop import Program, replicate, seed_keys
from .schedule import growth_of, require_sources, require_updates
from .task import Problem


def programs_of(
    settings: Settings, algorithm: Algorithm, cfg: Any, replicas: Sequence[Replica], problem: Problem
) -> tuple[list[Program], list[Program]]:
    """The programs of the phases, those of an offline run that is taken up and those of this run.

    Raises:
        UserError: phases that cannot be run on these data, for so many steps, or with these settings.
    """
    phases, earlier = phases_of(algorithm, cfg, settings), 0
    if settings.source:
        earlier = len(algorithm.phases(cfg))
    needed = {c for phase in phases for c in (phase.needs or algorithm.needs(cfg)).columns}
    if needed & {"mc_return", "sparse_return"} and "discount" in settings.sweep:
        raise UserError(
            "--sweep discount: Monte-Carlo returns are computed once for all replicas; start one run for each"
        )
    use_cache()
    columns = problem.columns(needed | problem.always, getattr(cfg, "discount", None))
    ctx = Context(problem.spec, columns, problem.stats)
    cfgs = replicate([config.as_arrays(r.cfg) for r in replicas])
    keys = seed_keys([r.seed for r in replicas])
    rows: Counter[str] = Counter()
    for phase in phases[earlier:]:
        require_updates(settings, phase)
        if phase.collect:
            rows[phase.collect.to] += settings.steps_of(phase) + phase.collect.envs
    programs: list[Program] = []
    filled: set[str] = set()
    growth = growth_of(settings, algorithm, cfg, problem.dataset)
    for index, phase in enumerate(phases):
        sources = problem.sources(columns, phase.split, settings.seed)
        filled |= {phase.collect.to} if phase.collect else set()
        require_sources(phase, {*sources, *filled})
        data = problem.dataset
        if phase.fill is not None and problem.always:
            raise UserError(
                f"phase {phase.name} puts logged rows into a replay, which holds no logged discount: leave it out"
            )
        loaded = None if phase.fill is None or data is None else np.asarray(phase.fill(cfg, data), np.int32)
        count, env = 0, None
        if phase.collect:
            count, env = rows[phase.collect.to], find(problem.env)
            env = env if not settings.workers and fits(env, problem.spec, phase.collect) else None
        programs.append(Program(algorithm, phase, index, cfgs, keys, ctx, sources, count, env, loaded, growth))
    return programs[:earlier], programs[earlier:]


def evaluator_of(settings: Settings, problem: Problem, replicas: int) -> Evaluator | None:
    """What plays the policies' episodes; None where nothing is to be evaluated, or no environment is known.

    Raises:
        UserError: an environment that cannot be made, or does not match the data.
    """
    if not settings.evaluate or problem.env is None:
        return None
    evaluator = Evaluator(
        problem.env,
        replicas,
        settings.eval_episodes,
        reference=problem.reference,
        info={"dataset": problem.name},
        workers=settings.workers,
        timeout=settings.worker_timeout,
    )
    require_match(evaluator.rollout.env, problem.spec, problem.fitted)
    return evaluator
