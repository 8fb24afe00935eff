"""The settings of a fine-tuning run, which continues an offline run in an environment."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..algorithms import registry
from ..core import config as configs
from ..core.contract import Algorithm
from ..core.errors import UserError, require_known
from ..core.trust import environment_in
from ..runs.folder import RunFolder
from ..runs.schema import checked_checkpoint
from ..runs.settings import Setting, Settings, field_names
from .hooks import Hook

# what a fine-tuning run takes from the offline run, and cannot change
TAKEN = (
    "activation", "actor_hidden", "algorithm", "algorithm_module", "allow", "critic_hidden", "data", "data_options",
    "encoder", "in_memory", "layer_norm", "network", "paired", "preset", "seed", "seeds", "sweep", "treatment",
    "value_hidden",
)  # fmt: skip
# what it takes from the offline run, unless another value is given
INHERITED = ("env", "eval_episodes", "inputs", "random_shift", "worker_timeout", "workers")
# what is only for offline runs, or is set here
EXCLUDED = ("config", "growing", "source", "window", "window_draws")


def continued(
    path: Path,
    env: str | None,
    config: Mapping[str, Any] | None,
    hooks: Sequence[Hook],
    settings: Mapping[str, Setting],
    network: Mapping[str, str] | None = None,
    encoder: str | None = None,
) -> Settings:
    """Settings of a fine-tuning run. A warning is reported if the offline run was interrupted.

    Args:
        path: folder of the offline run.
        env: the environment that the caller names; None: that of the offline run.
        config: settings of the algorithm to change, by name.
        hooks: observers of the new run.
        settings: other settings of the new run.
        network: the builders of the offline run's own networks by role, given again.
        encoder: the builder of its own encoder, given again.

    Raises:
        UserError: not a run that can be fine-tuned, or a mistake in the settings.
    """
    require_known(settings, "argument of finetune", {*changeable(), "out", "config", "hooks", "progress"})
    values: dict[str, Any] = {**({"env": env} if env is not None else {}), **settings}
    made = dataclasses.replace(finetuning(path, config), **values)
    folder = RunFolder(path)
    made = made.bind_networks(network or {}, encoder, str(folder.config))
    if env is None:
        environment_in(made.env, str(folder.config))
    environment_in(made.data_options.get("env"), str(folder.config))
    options = {name: value for name, value in made.data_options.items() if name != "download"}
    if not folder.result.exists():
        for hook in hooks:
            hook.warn(
                f"{path} was interrupted before its end: this run continues from its checkpoint of step "
                f"{made.source and made.source['step']}; to finish it first: holdfast train --resume {path}"
            )
    return dataclasses.replace(made, data_options=options)


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
    registry.of_file(settings.algorithm, settings.algorithm_module, str(folder.config), trust=False)
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
        able = [one.name for one in registry.every() if one.finetune is not None]
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
