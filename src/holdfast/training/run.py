"""`train` and `resume`: what the command line and Python call."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..algorithms import registry
from ..core import config as config_of
from ..core.contract import Algorithm
from ..core.errors import UserError, unknown
from ..data.dataset import Dataset
from ..data.sources import load_dataset
from ..policy.policy import Policy
from ..runs.folder import RunFolder, free_folder
from ..runs.settings import Settings, parse_sweep, resolve
from .hooks import Hook
from .plan.plan import plan
from .runner import Runner


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
            `keep_policies`, `growing`, `data_options`; see `training.settings.Settings`.

    Returns:
        The finished run.

    Raises:
        UserError: a mistake in any of these, before anything is written.
        Diverged: a metric became NaN or infinite.
    """
    known = {f.name for f in dataclasses.fields(Settings)}
    for name in settings:
        if name not in known:
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


def finetune(
    run: str | Path | Run,
    *,
    steps: int = 100_000,
    env: str | None = None,
    out: str | Path | None = None,
    config: Mapping[str, Any] | None = None,
    data: Dataset | None = None,
    hooks: Sequence[Hook] = (),
    **settings: Any,
) -> Run:
    """Take up an offline run where it ended and go on in an environment, every replica with its optimisers' states.

    Args:
        run: the offline run, or its folder; it is only read, and not needed once this run has begun.
        steps: environment steps of each replica.
        env: the environment; None: the one that the run's data came from, or that it was evaluated in.
        out: the new run's folder; a free one under `runs/` where None.
        config: single settings of the algorithm to change, by name; rates that fell offline are constant without them.
        data: the data set, where the run was started on one in memory.
        hooks: watchers, see `training.hooks`.
        settings: `evaluate`, `eval_episodes`, `eval_every`, `save_every`, `block`, `keep_policies`, `loggers`.

    Returns:
        The finished run; `result["finetune"]` says what the switch did to the returns, see `training.switch`.

    Raises:
        UserError: no run there, one whose algorithm cannot be fine-tuned, or a mistake in the settings.
        Diverged: a metric became NaN or infinite.
    """
    path = run.path if isinstance(run, Run) else Path(run)
    source, folder = finetunable(path), RunFolder(path)
    reached = folder.checkpoints.latest()
    known = {f.name for f in dataclasses.fields(Settings)} - {"algorithm", "source", "config", "data"}
    for name in settings:
        if name not in known:
            raise unknown("argument of finetune", name, known)
    found = registry.get(source.algorithm)
    cfg: Any = config_of.from_dict(found.Config, {**constant_rates(found, source.config), **(config or {})})
    faults = found.check(cfg)
    if faults:
        raise UserError(f"{found.name}: {'; '.join(faults)}")
    fresh: dict[str, Any] = {"evaluate": True, "eval_every": 0, "save_every": 0, "block": Settings.block, "loggers": []}
    fresh |= {"keep_policies": False, "growing": 0.0, "envs": 0, "replay": 0}
    made = dataclasses.replace(
        source,
        steps=steps,
        env=env or source.env,
        config=config_of.to_dict(cfg),
        source={"run": str(path.resolve()), "step": reached},
        **{**fresh, **settings},
    )
    if not folder.result.exists():
        for hook in hooks:
            hook.warn(
                f"{path} was stopped before its end: this takes up its checkpoint of step {reached}; to end it first: "
                f"holdfast train --resume {path}"
            )
    return start(made, out, data if data is not None else in_memory(made, path), hooks, f"{made.algorithm}-finetune")


def constant_rates(algorithm: Algorithm, config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of an offline run as fine-tuning takes them up: every learning rate is constant."""
    return {**config, **dict.fromkeys(config_of.fields_of(algorithm.Config, config_of.Schedule), "constant")}


def finetunable(run: str | Path) -> Settings:
    """The settings of an offline run that can be fine-tuned.

    Raises:
        UserError: it cannot, and why.
    """
    folder = RunFolder(run)
    settings = Settings.from_dict(folder.read_config(), str(folder.config))
    if settings.source is not None:
        raise UserError(
            f"{run} is a fine-tuning run already: go on with holdfast train --resume {run}, or fine-tune the offline "
            f"run that it took up, {settings.source['run']}"
        )
    if settings.data is None:
        raise UserError(f"{run} learned in {settings.env} from the start: fine-tuning takes up a run from logged data")
    algorithm = registry.get(settings.algorithm)
    if any(phase.collect for phase in algorithm.phases(config_of.from_dict(algorithm.Config, settings.config))):
        raise UserError(f"{run} has learned online already: {settings.algorithm} collects beside its log")
    if algorithm.finetune is None:
        able = [name for name in registry.names() if registry.get(name).finetune is not None]
        what = f"{settings.algorithm} has no online phase to fine-tune {run} with"
        raise UserError(f"{what}; algorithms that have one: {', '.join(able)}")
    if folder.checkpoints.latest() is None:
        raise UserError(f"{run} has no checkpoint yet: go on with holdfast train --resume {run}")
    cfg: Any = config_of.from_dict(algorithm.Config, settings.config)
    last, reached = len(algorithm.phases(cfg)) - 1, folder.checkpoints.read().metadata["phase"]
    if reached < last:
        raise UserError(
            f"{run} stopped in phase {reached + 1} of {last + 1}, before there was a policy to fine-tune: go on with "
            f"holdfast train --resume {run}"
        )
    return settings


def start(
    settings: Settings,
    out: str | Path | None,
    dataset: Dataset | None = None,
    hooks: Sequence[Hook] = (),
    stem: str | None = None,
) -> Run:
    """Start a new run of complete settings; `stem` begins its folder's name where none is given."""
    made = plan(settings, dataset)
    name = Path(settings.subject).stem if Path(settings.subject).suffix else Path(settings.subject).name
    folder = (
        RunFolder(out)
        if out is not None
        else RunFolder(free_folder(Path("runs"), f"{stem or settings.algorithm}-{name}"))
    )
    return Run(folder.path, Runner(made, folder, hooks).run())


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
        from ..core.files import read_json

        return Run(folder.path, read_json(folder.result))
    if folder.checkpoints.latest() is not None:
        folder.checkpoints.read()  # a damaged one is told before anything is loaded
    data = data if data is not None else in_memory(settings, run)
    made = plan(settings, data)
    if made.task.fingerprint != facts.get("dataset_fingerprint"):
        raise UserError(
            f"{settings.data} has changed since {run} was started (its fingerprint is another): bring the old data "
            "back, or start a new run"
        )
    return Run(folder.path, Runner(made, folder, hooks).run(resume=True))


def stand(
    folder: str | Path, wanted: Mapping[str, Any], begin: Callable[[], Any], flag: str, hooks: Sequence[Hook] = ()
) -> None:
    """See to it that a run stands finished in `folder`: begun where there is none, gone on with where it was stopped.

    Args:
        folder: of the run.
        wanted: entries of its `config.json`, of which `config` are the algorithm's settings.
        begin: makes the run.
        flag: what names another folder, for the error.
        hooks: watchers of a run that goes on.

    Raises:
        UserError: a run of other settings stands there.
    """
    if not RunFolder(folder).config.exists():
        begin()
        return
    there = RunFolder(folder).read_config()
    flat = [(k, there.get(k), v) for k, v in wanted.items() if k != "config"]
    flat += [(k, there.get("config", {}).get(k), v) for k, v in wanted.get("config", {}).items()]
    other = [f"{name} {was} instead of {asked}" for name, was, asked in flat if was != asked]
    if other:
        raise UserError(
            f"{folder} holds a run of other settings ({', '.join(other)}): name another folder with {flag}, "
            "or remove it"
        )
    resume(folder, hooks=hooks)


def in_memory(settings: Settings, run: str | Path) -> Dataset | None:
    """The data set of a run that was started on one in memory, where its name can be loaded; else nothing.

    Raises:
        UserError: it was in memory, and its name is none to load.
    """
    if not settings.in_memory:
        return None
    try:
        return load_dataset(settings.subject)
    except UserError as error:
        raise UserError(
            f"{run} was started on a data set in memory ({settings.data}): resume or fine-tune it from Python, "
            "with data=..."
        ) from error


def located(data: str | Path) -> str:
    """A path made absolute, so that a run can be resumed from anywhere; names stay as they are."""
    path = Path(data).expanduser()
    return str(path.resolve()) if path.exists() else str(data)


__all__ = ["Run", "finetunable", "finetune", "parse_sweep", "resume", "stand", "start", "train"]
