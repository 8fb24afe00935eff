"""Training runs: start a new one, resume an interrupted one, or ensure that a finished one exists."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..core.errors import UserError
from ..core.files import read_json
from ..data.dataset import Dataset
from ..data.sources import load_dataset
from ..policy.policy import Policy
from ..runs.folder import RunFolder, free_folder
from ..runs.settings import Setting, Settings
from .hooks import Hook
from .plan.plan import plan
from .runner import Runner

# settings that say how a run is executed, described or found, and not what it computes
EXECUTION = (
    "allow", "block", "data_options", "in_memory", "loggers", "preset", "save_every", "source", "worker_timeout",
    "workers",
)  # fmt: skip


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
        preset: preset to start from. None: the algorithm's first preset.
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
    made = plan(settings, dataset)
    folder = RunFolder(out if out is not None else free_folder(Path("runs"), _stem(settings)))
    return Run(folder.path, Runner(made, folder, hooks).run())


def resume(
    run: str | Path, data: Dataset | None = None, hooks: Sequence[Hook] = (), algorithm: str | None = None
) -> Run:
    """Resume an interrupted run. The result has the same bits as that of a run without interruption.

    Args:
        run: folder of the run.
        data: the data set, if the run was started with one in memory.
        hooks: observers of the run.
        algorithm: the algorithm that the caller expects; None: any.

    Raises:
        UserError: not a run, another algorithm, data that have changed, or a damaged checkpoint.
        Diverged: a metric became NaN or infinite.
    """
    folder = RunFolder(run)
    facts = folder.read_config()
    settings = Settings.from_dict(facts, str(folder.config))
    if algorithm is not None and algorithm != settings.algorithm:
        raise UserError(f"{run} trains {settings.algorithm}, not {algorithm}: leave the name out, or start another run")
    if folder.result.is_file():
        return Run(folder.path, read_json(folder.result))
    if folder.checkpoints.latest() is not None:
        folder.checkpoints.read()  # report a damaged checkpoint before the data are loaded
    made = plan(settings, data if data is not None else in_memory(settings, run))
    if made.task.fingerprint != facts.get("dataset_fingerprint"):
        raise UserError(
            f"{settings.data} has changed since {run} was started (its fingerprint differs): restore the old data, or "
            "start a new run"
        )
    return Run(folder.path, Runner(made, folder, hooks).run(resume=True))


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
    differences = _differences(found, settings)
    if differences:
        raise UserError(
            f"{folder} contains a run with other settings ({', '.join(differences)}): name another folder with {flag}, "
            "or remove it"
        )
    return resume(folder, hooks=hooks)


def in_memory(settings: Settings, run: str | Path) -> Dataset | None:
    """Reload the data set of a run that was started with one in memory. Returns None if the run loads its own data.

    Raises:
        UserError: the data set cannot be loaded by its name.
    """
    if not settings.in_memory:
        return None
    try:
        return load_dataset(settings.subject)
    except UserError as error:
        raise UserError(
            f"{run} was started with a data set in memory ({settings.data}): resume or fine-tune it from Python, "
            "with data=..."
        ) from error


def located(data: str | Path) -> str:
    """A path made absolute, so that the run can be resumed from any folder. Names of data sets are not changed."""
    path = Path(data).expanduser()
    return str(path.resolve()) if path.exists() else str(data)


def _stem(settings: Settings) -> str:
    """Start of the name of a run's folder: iql-pendulum-mixed, iql-finetune-pendulum-mixed."""
    subject = Path(settings.subject)
    kind = f"{settings.algorithm}-finetune" if settings.source else settings.algorithm
    return f"{kind}-{subject.stem if subject.suffix else subject.name}"


def _differences(found: Settings, wanted: Settings) -> list[str]:
    """What differs in what two runs compute, one text for each setting."""
    pairs: list[tuple[str, Any, Any]] = []
    for field in dataclasses.fields(Settings):
        one = getattr(found, field.name)
        other = getattr(wanted, field.name)
        if field.name in ("config", "treatment"):
            pairs += [(name, one.get(name), other.get(name)) for name in other]
        elif field.name not in EXECUTION:
            pairs.append((field.name, one, other))
    return [f"{name} {one} instead of {other}" for name, one, other in pairs if one != other]
