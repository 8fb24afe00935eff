"""Starts a run, resumes one, or ensures that a finished one exists. `training.run` has the functions for callers."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..algorithms import registry
from ..core.errors import UserError
from ..core.files import expanded
from ..data.dataset import Dataset
from ..data.teams.dataset import TeamDataset
from ..runs.differences import differences
from ..runs.folder import RunFolder
from ..runs.schema import read_result
from ..runs.settings import Settings
from .hooks import Hook
from .plan.plan import plan
from .resuming import in_memory, resumed
from .runner import Runner
from .trackers import LOCAL


class Finished(NamedTuple):
    """A finished run."""

    path: Path  # its folder
    result: dict[str, Any]  # the contents of its `result.json`


def start(
    settings: Settings,
    out: str | Path | None,
    dataset: Dataset | TeamDataset | None = None,
    hooks: Sequence[Hook] = (),
) -> Finished:
    """Start a new run.

    Args:
        settings: complete settings.
        out: folder of the run. None: a free folder in `runs/`, named after the algorithm and the data.
        dataset: the data set, if it is in memory. None: it is loaded by `settings.data`.
        hooks: observers of the run.

    Raises:
        UserError: a mistake in the settings or the data; nothing has been written.
        Diverged: a metric became NaN or infinite.
    """
    if out is not None and not str(out):
        raise UserError("--out is empty: name a folder, or leave it out")
    made = plan(settings, dataset)
    folder = RunFolder.free(Path("runs"), _stem(settings)) if out is None else RunFolder(out)
    with contextlib.closing(folder):
        folder.create()
        return Finished(folder.path, Runner(made, folder, hooks).run())


def resume(
    run: str | Path,
    data: Dataset | TeamDataset | None = None,
    hooks: Sequence[Hook] = (),
    algorithm: str | None = None,
    trust: bool = False,
    steps: int | None = None,
    env: str | None = None,
    network: Mapping[str, str] | None = None,
    encoder: str | None = None,
    devices: int | None = None,
) -> Finished:
    """Resume or prolong a run; the arguments are those of `training.run.resume`.

    `env` is the environment of the run, given again by the caller; so are `network` and `encoder`.
    """
    folder = RunFolder(run)
    facts = folder.read_config()
    settings = Settings.from_dict(facts, str(folder.config))
    if algorithm is not None and algorithm != settings.algorithm:
        raise UserError(f"{run} trains {settings.algorithm}, not {algorithm}: leave the name out, or start another run")
    registry.of_file(settings.algorithm, settings.algorithm_module, str(folder.config), trust)
    if not trust:
        settings = _without_trust(dataclasses.replace(settings, env=None) if env else settings, folder, hooks)
    if env is not None:
        settings = dataclasses.replace(settings, env=env)
    if folder.result.is_file() and steps in (None, settings.steps):
        return Finished(folder.path, read_result(folder.result))
    settings = settings.bind_networks(network or {}, encoder, str(folder.config), trust)
    with contextlib.closing(folder):
        folder.lock()
        return Finished(folder.path, resumed(folder, settings, facts, data, hooks, steps, devices))


def _without_trust(settings: Settings, folder: RunFolder, hooks: Sequence[Hook]) -> Settings:
    """The settings of a run that somebody else may have written: nothing is imported, downloaded or sent.

    Raises:
        UserError: the environment's id names a module.
    """
    remedy = "add --trust (trust=True in Python)"
    settings.require_no_module(str(folder.config), remedy)
    services = [name for name in settings.loggers if name not in LOCAL]
    for hook in hooks if services else ():
        hook.note(f"{', '.join(services)}: not logged to, because a file says so only; to log there, {remedy}")
    options = {name: value for name, value in settings.data_options.items() if name != "download"}
    loggers = [name for name in settings.loggers if name in LOCAL]
    return dataclasses.replace(settings, data_options=options, loggers=loggers)


def ensure_finished(
    settings: Settings, folder: str | Path, flag: str, hooks: Sequence[Hook] = (), trust: bool = True
) -> Finished:
    """Ensure that `folder` contains a finished run: start it if there is none, resume it if it was interrupted.

    Args:
        settings: complete settings of the run.
        folder: folder of the run.
        flag: the flag that names another folder, for the error message.
        hooks: observers of the run.
        trust: as for `training.run.resume`; True: the caller has made `settings`, with the environment in them.

    Raises:
        UserError: the folder contains a run with other settings, or anything that `start` refuses.
        Diverged: a metric became NaN or infinite.
    """
    there = RunFolder(folder)
    if not there.config.exists():
        return start(settings, folder, in_memory(settings, folder), hooks)
    found = Settings.from_dict(there.read_config(), str(there.config))
    changed = differences(found, settings)
    if changed:
        raise UserError(
            f"{folder} contains a run with other settings ({', '.join(changed)}): name another folder with {flag}, "
            "or remove it"
        )
    return resume(folder, hooks=hooks, trust=trust)


def located(data: str | Path) -> str:
    """A path made absolute, so that the run can be resumed from any folder. Names of data sets are not changed."""
    path = expanded(data)
    return str(path.resolve()) if path.exists() else str(data)


def _stem(settings: Settings) -> str:
    """Start of the name of a run's folder: iql-pendulum-mixed, iql-finetune-pendulum-mixed."""
    subject = Path(settings.subject)
    kind = f"{settings.algorithm}-finetune" if settings.source else settings.algorithm
    return f"{kind}-{subject.stem if subject.suffix else subject.name}"
