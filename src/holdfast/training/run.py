"""Training runs: start a new one, resume an interrupted one, or ensure that a finished one exists."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..core.errors import UserError
from ..core.files import expanded
from ..data.dataset import Dataset
from ..policy.policy import Policy
from ..runs.differences import differences
from ..runs.folder import RunFolder
from ..runs.schema import read_result
from ..runs.settings import Setting, Settings
from .hooks import Hook
from .plan.plan import plan
from .resuming import in_memory, resumed
from .runner import Runner
from .trackers import LOCAL


@dataclasses.dataclass(frozen=True)
class Run:
    """A finished run: its folder and the values of its `result.json`."""

    path: Path
    result: dict[str, Any]

    def policies(self) -> list[Policy]:
        """The final policy of each replica."""
        return [Policy.load(folder) for folder in RunFolder(self.path).policy_folders(self.result["replicas"])]

    def policy(self, replica: int = 0) -> Policy:
        """The final policy of one replica."""
        return Policy.load(RunFolder(self.path).policy_folders(self.result["replicas"])[replica])


def train(
    algorithm: str,
    data: str | Path | Dataset | None = None,
    *,
    steps: int = Settings.steps,
    seeds: int = Settings.seeds,
    seed: int = Settings.seed,
    out: str | Path | None = None,
    preset: str | None = None,
    config: Mapping[str, Any] | None = None,
    treatment: Mapping[str, Any] | None = None,
    sweep: Mapping[str, Sequence[float]] | None = None,
    hooks: Sequence[Hook] = (),
    clip_actions: bool = False,
    **settings: Setting,
) -> Run:
    """Train an algorithm on logged data, or in an environment.

    Args:
        algorithm: registry name, see `holdfast algorithms`.
        data: a data set, or its name or path as `load_dataset` takes it. None: learn in the environment `env` alone.
        steps: updates of each replica; environment steps in a phase that collects data.
        seeds: number of seeds. All of them are trained in one program.
        seed: the first seed.
        out: folder of the run. None: a free folder in `runs/`.
        preset: preset to start from. None or `published`: the paper's settings for the data set or environment.
        config: settings of the algorithm that differ from the preset, by name.
        treatment: treatments of the data that differ from the preset, see `core.contract.Treatment`.
        sweep: values of float settings. Every combination is trained with every seed in the same program.
        hooks: observers of the run, see `training.hooks`.
        clip_actions: clip logged actions that are outside the action space. Otherwise such data are refused.
        settings: any other field of `runs.settings.Settings`, for example `env`, `eval_every` or `workers`.

    Returns:
        The finished run.

    Raises:
        UserError: a mistake in the arguments or the data; nothing has been written.
        Diverged: a metric became NaN or infinite.
    """
    if data is not None and not isinstance(data, Dataset | str | Path):
        raise UserError(
            f"data is a {type(data).__name__}, expected a Dataset or a name; Dataset.from_arrays makes one from arrays"
        )
    dataset = data if isinstance(data, Dataset) else None
    name = data.id if isinstance(data, Dataset) else None if data is None else located(data)
    made = Settings.of(
        algorithm,
        preset=preset,
        config=config,
        treatment=treatment,
        clip_actions=clip_actions,
        sweep=sweep,
        **{"data": name, "steps": steps, "seeds": seeds, "seed": seed, **settings},  # type: ignore[arg-type]
    )
    return start(dataclasses.replace(made, in_memory=dataset is not None), out, dataset, hooks)


def start(
    settings: Settings,
    out: str | Path | None,
    dataset: Dataset | None = None,
    hooks: Sequence[Hook] = (),
) -> Run:
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
        return Run(folder.path, Runner(made, folder, hooks).run())


def resume(
    run: str | Path,
    data: Dataset | None = None,
    hooks: Sequence[Hook] = (),
    algorithm: str | None = None,
    trust: bool = False,
    steps: int | None = None,
) -> Run:
    """Resume an interrupted run. The result has the same bits as that of a run without interruption.

    With `steps`, the run is prolonged, also if it is finished.

    Args:
        run: folder of the run.
        data: the data set, if the run was started with one in memory.
        hooks: observers of the run.
        algorithm: the algorithm that the caller expects; None: any.
        trust: do what `config.json` says even if it imports a module (an environment `module:Name-v0`), downloads the
            data or logs to a service (W&B, MLflow).
        steps: steps of the prolonged run in all, more than the run has. None: the steps that the run has.

    Raises:
        UserError: not a run, steps that it has already, another algorithm, data that have changed, or a damaged
            checkpoint.
        Diverged: a metric became NaN or infinite.
    """
    folder = RunFolder(run)
    facts = folder.read_config()
    settings = Settings.from_dict(facts, str(folder.config))
    if algorithm is not None and algorithm != settings.algorithm:
        raise UserError(f"{run} trains {settings.algorithm}, not {algorithm}: leave the name out, or start another run")
    if not trust:
        settings = _without_trust(settings, folder, hooks)
    if folder.result.is_file() and steps in (None, settings.steps):
        return Run(folder.path, read_result(folder.result))
    with contextlib.closing(folder):
        folder.lock()
        return Run(folder.path, resumed(folder, settings, facts, data, hooks, steps))


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


def ensure_finished(settings: Settings, folder: str | Path, flag: str, hooks: Sequence[Hook] = ()) -> Run:
    """Ensure that `folder` contains a finished run: start it if there is none, resume it if it was interrupted.

    Args:
        settings: complete settings of the run.
        folder: folder of the run.
        flag: the flag that names another folder, for the error message.
        hooks: observers of the run.

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
    return resume(folder, hooks=hooks, trust=True)  # the environment is the one in `settings`


def located(data: str | Path) -> str:
    """A path made absolute, so that the run can be resumed from any folder. Names of data sets are not changed."""
    path = expanded(data)
    return str(path.resolve()) if path.exists() else str(data)


def _stem(settings: Settings) -> str:
    """Start of the name of a run's folder: iql-pendulum-mixed, iql-finetune-pendulum-mixed."""
    subject = Path(settings.subject)
    kind = f"{settings.algorithm}-finetune" if settings.source else settings.algorithm
    return f"{kind}-{subject.stem if subject.suffix else subject.name}"
