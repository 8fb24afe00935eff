"""`train` and `resume`: what the command line and Python call."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..algorithms import registry
from ..core import config as config_of
from ..core.errors import UserError
from ..data.dataset import Dataset
from ..data.sources import load_dataset
from ..policy.policy import Policy
from .folder import RunFolder, free_folder
from .hooks import Hook
from .runner import Runner
from .settings import Settings, parse_sweep, resolve


@dataclasses.dataclass(frozen=True)
class Run:
    """A finished run: its folder and what `result.json` holds."""

    path: Path
    result: dict[str, Any]

    def policies(self) -> list[Policy]:
        """The shipped policy of each replica."""
        return [Policy.load(folder) for folder in RunFolder(self.path).policy_folders(self.result["replicas"])]

    def policy(self, replica: int = 0) -> Policy:
        """The shipped policy of one replica."""
        return Policy.load(RunFolder(self.path).policy_folders(self.result["replicas"])[replica])


def train(
    algorithm: str,
    data: str | Path | Dataset | None = None,
    *,
    steps: int = 100_000,
    seeds: int = 1,
    seed: int = 0,
    out: str | Path | None = None,
    preset: str | None = None,
    config: Mapping[str, Any] | None = None,
    treatment: Mapping[str, Any] | None = None,
    sweep: Mapping[str, Sequence[float]] | None = None,
    hooks: Sequence[Hook] = (),
    clip_actions: bool = False,
    **settings: Any,
) -> Run:
    """Train an algorithm on logged data, or in an environment.

    Args:
        algorithm: registry name, see `holdfast algorithms`.
        data: what `load_dataset` takes, or a data set in memory; None to learn in the environment `env` alone.
        steps: updates of each replica; environment steps where it learns in one.
        seeds: how many replicas, trained in one program.
        seed: the first seed.
        out: the run's folder; a free one under `runs/` where None.
        preset: published settings to start from; None: the algorithm's first.
        config: single settings of the algorithm, by name.
        treatment: single treatments of the data, see `core.contract.Treatment`.
        sweep: values of float settings; every combination is trained with every seed in the same program.
        hooks: watchers, see `training.hooks`.
        clip_actions: clip logged actions that lie outside the action space, which is refused otherwise.
        settings: `env`, `evaluate`, `eval_episodes`, `eval_every`, `save_every`, `block`, `loggers`, `allow`,
            `data_options`; see `training.settings.Settings`.

    Returns:
        The finished run.

    Raises:
        UserError: a mistake in any of these, before anything is written.
        Diverged: a metric became NaN or infinite.
    """
    known = {f.name for f in dataclasses.fields(Settings)}
    for name in settings:
        if name not in known:
            from ..core.errors import unknown

            raise unknown("argument of train", name, known)
    if clip_actions:
        settings["allow"] = [*settings.get("allow", []), "action_bounds"]
    found = registry.get(algorithm)
    cfg, treated = resolve(found, preset, config, treatment)
    if clip_actions and treated.clip_actions is None:
        treated = treated._replace(clip_actions=0.0)
    made = Settings(
        algorithm=algorithm,
        data=data.id if isinstance(data, Dataset) else None if data is None else located(data),
        steps=steps,
        config=config_of.to_dict(cfg),
        treatment=treated._asdict(),
        preset=preset,
        seeds=seeds,
        seed=seed,
        sweep={name: [float(v) for v in values] for name, values in (sweep or {}).items()},
        in_memory=isinstance(data, Dataset),
        **settings,
    )
    return start(made, out, data if isinstance(data, Dataset) else None, hooks)


def start(
    settings: Settings, out: str | Path | None, dataset: Dataset | None = None, hooks: Sequence[Hook] = ()
) -> Run:
    """Start a new run of complete settings."""
    runner = Runner(settings, dataset, hooks)
    name = Path(settings.subject).stem if Path(settings.subject).suffix else Path(settings.subject).name
    folder = RunFolder(out) if out is not None else RunFolder(free_folder(Path("runs"), f"{settings.algorithm}-{name}"))
    return Run(folder.path, runner.run(folder))


def resume(
    run: str | Path, data: Dataset | None = None, hooks: Sequence[Hook] = (), algorithm: str | None = None
) -> Run:
    """Go on with a run that was stopped: the same bits as if it never had been.

    Args:
        run: its folder.
        data: the data set, where the run was started on one in memory.
        hooks: watchers.
        algorithm: what the caller believes is trained there; checked where given.

    Raises:
        UserError: no run there, another algorithm, data that have changed, or a damaged checkpoint.
    """
    folder = RunFolder(run)
    facts = folder.read_config()
    settings = Settings.from_dict(facts, str(folder.config))
    if algorithm is not None and algorithm != settings.algorithm:
        raise UserError(f"{run} trains {settings.algorithm}, not {algorithm}: leave the name out, or start another run")
    if folder.result.is_file():
        from ..policy.files import read_json

        return Run(folder.path, read_json(folder.result))
    if folder.checkpoints.latest() is not None:
        folder.checkpoints.read()  # a damaged one is told before anything is loaded
    if data is None and settings.in_memory:
        try:
            data = load_dataset(settings.subject)
        except UserError as error:
            raise UserError(
                f"{run} was started on a data set in memory ({settings.data}): resume it from Python, "
                f"with holdfast.resume(run, data=...)"
            ) from error
    runner = Runner(settings, data, hooks)
    if runner.problem.fingerprint != facts.get("dataset_fingerprint"):
        raise UserError(
            f"{settings.data} has changed since {run} was started (its fingerprint is another): bring the old data "
            "back, or start a new run"
        )
    return Run(folder.path, runner.run(folder, resume=True))


def located(data: str | Path) -> str:
    """A path made absolute, so that a run can be resumed from anywhere; names stay as they are."""
    path = Path(data).expanduser()
    return str(path.resolve()) if path.exists() else str(data)


__all__ = ["Run", "parse_sweep", "resume", "start", "train"]
