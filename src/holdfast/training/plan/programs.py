"""The programs of a run: one for each phase, with its sources and its limits, not compiled yet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ...core.contract import Algorithm, Phase
from ...core.errors import UserError
from ...core.spec import Cfg
from ...data.feed.window import NotInMemory, Size, Wanted, Window
from ...environments.jax.env import JaxEnv, find
from ...runs.replicas import Replica
from ...runs.settings import Settings
from ..carry import replicate, seed_keys
from ..collect_jax import fits
from ..compilation import STRIDE
from ..devices import Hardware, hardware_of
from ..loop import Program
from .schedule import growth_of, phases_of, require_single_rows, require_sources, require_updates, ring_rows
from .task import Task


class Programs(NamedTuple):
    """The programs of all phases, in order."""

    before: tuple[Program, ...]  # of the offline run that this run fine-tunes; only their states' shapes are used
    own: tuple[Program, ...]  # of this run


def programs_of(
    settings: Settings, algorithm: Algorithm, cfg: Cfg, replicas: Sequence[Replica], task: Task
) -> Programs:
    """Build the programs.

    Args:
        settings: settings of the run.
        algorithm: the algorithm.
        cfg: its config, with resolved schedules.
        replicas: seed and config of each replica.
        task: what is learned from.

    Raises:
        UserError: phases that cannot run on these data, for this number of steps, or with these settings.
    """
    phases = phases_of(algorithm, cfg, settings)
    earlier = len(algorithm.phases(cfg)) if settings.source else 0
    needed = {c for phase in phases for c in (phase.needs or algorithm.needs(cfg)).columns}
    if needed & {"mc_return", "sparse_return"} and "discount" in settings.sweep:
        raise UserError(
            "--sweep discount: Monte-Carlo returns are computed once for all replicas; start one run for each"
        )
    for phase in phases[earlier:]:
        require_updates(settings, phase)
    if settings.devices != 1 and any(phase.collect for phase in phases[earlier:]):
        raise UserError(f"--devices {settings.devices}: {algorithm.name} collects in an environment: leave it out")
    hardware = hardware_of(settings.devices, settings.precision, len(replicas))
    discount = getattr(cfg, "discount", None)
    wanted = Wanted(task.fitted, sorted(needed | task.always), discount)
    window = _window(settings, algorithm, cfg, task, wanted, hardware)
    columns = hardware.copied(task.columns(needed | task.always, discount)) if window is None else None
    ctx = task.context(columns if window is None else NotInMemory(algorithm.name))
    cfgs = replicate([replica.cfg for replica in replicas])
    keys = seed_keys([replica.seed for replica in replicas])
    rows = ring_rows(phases[earlier:], settings)
    growth = growth_of(settings, algorithm, cfg, task.dataset)
    programs: list[Program] = []
    rings: set[str] = set()
    for index, phase in enumerate(phases):
        sources = task.sources(columns, phase.split, settings.seed) if window is None else {"data": window.at(0)}
        rings |= phase.capacities.keys()
        count = 0
        if phase.collect:
            count = rows[phase.collect.to]
        require_sources(phase, {*sources, *rings})
        env = _compiled_env(settings, task, phase)
        filled = _filled(task, phase, cfg)
        given = (sources, count, env, filled, settings.random_shift, growth, window, hardware)
        programs.append(Program(algorithm, phase, index, cfgs, keys, ctx, *given))
    return Programs(tuple(programs[:earlier]), tuple(programs[earlier:]))


def _window(
    settings: Settings, algorithm: Algorithm, cfg: Cfg, task: Task, wanted: Wanted, hardware: Hardware
) -> Window | None:
    """The window over a log larger than memory; None: all rows are in memory."""
    if not settings.window:
        return None
    require_single_rows("--window", algorithm, cfg)
    if task.dataset is None:
        raise UserError("--window is for the log of one agent: leave it out, so that all rows are in memory")
    batch = algorithm.phases(cfg)[0].batch_size or cfg.batch_size
    size = Size(settings.window, batch, settings.window_draws, STRIDE)
    return Window(task.dataset, wanted, size, settings.seed, hardware.copied)


def _compiled_env(settings: Settings, task: Task, phase: Phase) -> JaxEnv | None:
    """The environment that is compiled with the updates; None if the phase collects in Gymnasium, or not at all."""
    if phase.collect is None:
        return None
    env = find(task.env)
    return env if not settings.workers and fits(env, task.spec, phase.collect) else None


def _filled(task: Task, phase: Phase, cfg: Cfg) -> np.ndarray | None:
    """Numbers of the logged rows that the replay buffer contains when the phase starts."""
    if phase.fill is None:
        return None
    if task.always:
        raise UserError(
            f"phase {phase.name} copies logged rows into a replay buffer, which stores no logged discount: remove the "
            "discount column from the data"
        )
    return None if task.dataset is None else np.asarray(phase.fill(cfg, task.dataset), np.int32)
