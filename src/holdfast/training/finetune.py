"""Fine-tuning: continue an offline run in an environment, in a new run of its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..algorithms import registry
from ..core import config as configs
from ..core.contract import Algorithm
from ..core.errors import UserError
from ..core.trust import environment_in
from ..data.dataset import Dataset
from ..runs.folder import RunFolder
from ..runs.schema import checked_checkpoint
from ..runs.settings import Setting, Settings, field_names, require_known
from .hooks import Hook
from .resuming import in_memory
from .run import Run, start

# what a fine-tuning run takes from the offline run, and cannot change
TAKEN = (
    "algorithm", "allow", "data", "data_options", "encoder", "in_memory", "preset", "seed", "seeds", "sweep",
    "treatment",
)  # fmt: skip
# what it takes from the offline run, unless another value is given
INHERITED = ("env", "eval_episodes", "inputs", "random_shift", "worker_timeout", "workers")
# what is only for offline runs, or is set here
EXCLUDED = ("config", "growing", "source")


def finetune(
    run: str | Path | Run,
    *,
    steps: int = Settings.steps,
    env: str | None = None,
    out: str | Path | None = None,
    config: Mapping[str, Any] | None = None,
    data: Dataset | None = None,
    hooks: Sequence[Hook] = (),
    **settings: Setting,
) -> Run:
    """Continue an offline run in an environment. Every replica continues with its networks and optimiser states.

    Args:
        run: the offline run, or its folder. It is only read, and not needed any more once the new run has started.
        steps: environment steps of each replica.
        env: the environment. None: the one that the data came from, or in which the offline run was evaluated.
        out: folder of the new run. None: a free folder in `runs/`.
        config: settings of the algorithm to change, by name. By default all learning rates are constant.
        data: the data set, if the offline run was started with one in memory.
        hooks: observers of the run.
        settings: any other field of `runs.settings.Settings` that a fine-tuning run can change, see `changeable`.

    Returns:
        The finished run. `result["finetune"]` reports what the hand-over did to the returns, see `training.handover`.

    Raises:
        UserError: not a run that can be fine-tuned, or a mistake in the settings.
        Diverged: a metric became NaN or infinite.
    """
    path = run.path if isinstance(run, Run) else Path(run)
    require_known(settings, "argument of finetune", {*changeable(), "out", "config", "hooks"})
    values: dict[str, Any] = {"steps": steps, **({"env": env} if env is not None else {}), **settings}
    made = dataclasses.replace(finetuning(path, config), **values)
    if env is None:
        environment_in(made.env, str(RunFolder(path).config))
    environment_in(made.data_options.get("env"), str(RunFolder(path).config))
    options = {name: value for name, value in made.data_options.items() if name != "download"}
    made = dataclasses.replace(made, data_options=options)
    folder = RunFolder(path)
    if not folder.result.exists():
        for hook in hooks:
            hook.warn(
                f"{path} was interrupted before its end: this run continues from its checkpoint of step "
                f"{made.source and made.source['step']}; to finish it first: holdfast train --resume {path}"
            )
    return start(made, out, data if data is not None else in_memory(made, path), hooks)


def changeable() -> list[str]:
    """The settings that a fine-tuning run can change."""
    return sorted(field_names() - {*TAKEN, *EXCLUDED})


def finetuning(run: str | Path, config: Mapping[str, Any] | None = None) -> Settings:
    """Settings of a fine-tuning run of an offline run.

    Args:
        run: folder of the offline run.
        config: settings of the algorithm to change, by name.

    Raises:
        UserError: a run that cannot be fine-tuned, or values that the algorithm refuses.
    """
    source = finetunable(run)
    algorithm = registry.get(source.algorithm)
    values = {**constant_rates(algorithm, source.config), **(config or {})}
    cfg: Any = configs.from_dict(algorithm.Config, values)
    faults = algorithm.check(cfg)
    if faults:
        raise UserError(f"{algorithm.name}: {'; '.join(faults)}")
    taken: dict[str, Any] = {name: getattr(source, name) for name in (*TAKEN, *INHERITED)}
    step = RunFolder(run).checkpoints.latest()
    return Settings(**taken, config=configs.to_dict(cfg), source={"run": str(Path(run).resolve()), "step": step})


def constant_rates(algorithm: Algorithm, config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of an offline run, with every learning rate constant."""
    return {**config, **dict.fromkeys(configs.fields_of(algorithm.Config, configs.Schedule), "constant")}


def finetunable(run: str | Path) -> Settings:
    """The settings of an offline run that can be fine-tuned.

    Raises:
        UserError: the run cannot be fine-tuned; the message says why.
    """
    folder = RunFolder(run)
    settings = Settings.from_dict(folder.read_config(), str(folder.config))
    hint = f"resume it with holdfast train --resume {run}"
    if settings.source is not None:
        raise UserError(
            f"{run} is a fine-tuning run already: {hint}, or fine-tune its offline run {settings.source['run']}"
        )
    if settings.data is None:
        raise UserError(f"{run} learned in {settings.env} from the start: only a run on logged data can be fine-tuned")
    algorithm = registry.get(settings.algorithm)
    cfg: Any = configs.from_dict(algorithm.Config, settings.config)
    phases = algorithm.phases(cfg)
    if any(phase.collect for phase in phases):
        raise UserError(f"{run} has learned online already: {settings.algorithm} collects data during training")
    if algorithm.finetune is None:
        able = [name for name in registry.names() if registry.get(name).finetune is not None]
        raise UserError(
            f"{settings.algorithm} has no online phase to fine-tune {run} with; algorithms that have one: "
            f"{', '.join(able)}"
        )
    if folder.checkpoints.latest() is None:
        raise UserError(f"{run} has no checkpoint yet: {hint}")
    saved = folder.checkpoints.read()
    reached = checked_checkpoint(saved.metadata, saved.where)["phase"]
    if reached < len(phases) - 1:
        raise UserError(
            f"{run} was interrupted in phase {reached + 1} of {len(phases)} and has no policy to fine-tune yet: {hint}"
        )
    return settings
