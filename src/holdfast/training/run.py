"""The functions for callers: train, resume and fine-tune. Each returns a `Run`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..algorithms import registry
from ..core.contract import Algorithm
from ..core.errors import UserError
from ..core.networks import Builder, given, given_by_role, is_own
from ..data.dataset import Dataset
from ..data.teams.dataset import TeamDataset
from ..environments.gym.given import GivenEnv
from ..environments.gym.naming import named, rebound
from ..runs.folder import RunFolder
from ..runs.settings import Setting, Settings
from . import launch
from .finetune import continued
from .hooks import Hook, Progress
from .results import Results, finished_result
from .resuming import in_memory

if TYPE_CHECKING:
    from ..environments.gym.naming import EnvLike


class Run(Results):
    """A finished run, with its policies, tables, curve and page."""

    @classmethod
    def load(cls, path: str | Path) -> Run:
        """A finished run from its folder.

        Raises:
            UserError: the folder is not that of a run, or the run is not finished.
        """
        return cls(Path(path), finished_result(path))

    def finetune(
        self,
        *,
        steps: int = Settings.steps,
        env: EnvLike | None = None,
        out: str | Path | None = None,
        config: Mapping[str, Any] | None = None,
        hooks: Sequence[Hook] = (),
        progress: bool = True,
        **settings: Setting,
    ) -> Run:
        """Continue the run in an environment, in a new run; the arguments are those of `holdfast.finetune`."""
        how = {"out": out, "config": config, "hooks": hooks, "progress": progress}
        return finetune(self, steps=steps, env=env, data=self.data, **how, **settings)  # type: ignore[arg-type]


def train(
    algorithm: str | Algorithm,
    data: str | Path | Dataset | TeamDataset | None = None,
    *,
    steps: int = Settings.steps,
    seeds: int = Settings.seeds,
    seed: int = Settings.seed,
    out: str | Path | None = None,
    preset: str | None = None,
    config: Mapping[str, Any] | None = None,
    treatment: Mapping[str, Any] | None = None,
    sweep: Mapping[str, Sequence[float]] | None = None,
    env: EnvLike | None = None,
    hooks: Sequence[Hook] = (),
    progress: bool = True,
    clip_actions: bool = False,
    network: Builder | str | Mapping[str, Builder | str] | None = None,
    encoder: Builder | str = Settings.encoder,
    **settings: Setting,
) -> Run:
    """Train an algorithm on logged data, or in an environment.

    Args:
        algorithm: registry name, see `holdfast algorithms`; or an algorithm of your own, which is then registered.
        data: a data set, the log of a team, or its name or path as `load_dataset` takes it. None: learn in the
            environment `env` alone.
        steps: updates of each replica; environment steps in a phase that collects data.
        seeds: number of seeds. All of them are trained in one program.
        seed: the first seed.
        out: folder of the run. None: a free folder in `runs/`.
        preset: preset to start from. None or `published`: the paper's settings for the data set or environment.
        config: settings of the algorithm that differ from the preset, by name.
        treatment: treatments of the data that differ from the preset, see `core.contract.Treatment`.
        sweep: values of float settings. Every combination is trained with every seed in the same program.
        env: environment of evaluations, or to learn in: an id, an environment, or a class or function that makes one.
            None: the one that the data came from.
        hooks: observers of the run, see `training.hooks`.
        progress: show the progress and the warnings of the run.
        clip_actions: clip logged actions that are outside the action space. Otherwise such data are refused.
        network: your own networks in place of the MLPs: a function `(key, inputs, outputs)` that builds an Equinox
            module of one row [inputs] to [outputs], for all roles, or one for each of actor, critic and value.
        encoder: name of the encoder of images; or a function `(key, shape)` that builds an Equinox module of one
            observation [*shape] to a vector.
        settings: any other field of `runs.settings.Settings`, for example `eval_every` or `workers`.

    Returns:
        The finished run.

    Raises:
        UserError: a mistake in the arguments or the data; nothing has been written.
        Diverged: a metric became NaN or infinite.
    """
    if data is not None and not isinstance(data, Dataset | TeamDataset | str | Path):
        raise UserError(
            f"data has type {type(data).__name__}, expected a Dataset or a name; Dataset.from_arrays makes one from "
            "arrays"
        )
    dataset = data if isinstance(data, Dataset | TeamDataset) else None
    name = dataset.id if dataset is not None else None if data is None else launch.located(data)  # type: ignore[arg-type]
    chosen = algorithm if isinstance(algorithm, str) else registry.register(algorithm)
    made = Settings.of(
        chosen,
        preset=preset,
        config=config,
        treatment=treatment,
        clip_actions=clip_actions,
        sweep=sweep,
        network=network,  # type: ignore[arg-type]
        encoder=encoder,  # type: ignore[arg-type]
        **{"data": name, "steps": steps, "seeds": seeds, "seed": seed, **settings},  # type: ignore[arg-type]
    )
    place = None if env is None else named(env)
    module = registry.module_of(chosen)
    made = dataclasses.replace(made, env=place, in_memory=dataset is not None, algorithm_module=module)
    return _run(launch.start(made, out, dataset, _watched(hooks, progress)), place, dataset, made.network, made.encoder)


def resume(
    run: str | Path,
    data: Dataset | TeamDataset | None = None,
    hooks: Sequence[Hook] = (),
    algorithm: str | Algorithm | None = None,
    trust: bool = False,
    steps: int | None = None,
    *,
    env: EnvLike | None = None,
    network: Builder | str | Mapping[str, Builder | str] | None = None,
    encoder: Builder | str | None = None,
    devices: int | None = None,
    progress: bool = True,
) -> Run:
    """Resume an interrupted run. The result has the same bits as that of a run without interruption.

    With `steps`, the run is prolonged, also if it is finished.

    Args:
        run: folder of the run.
        data: the data set, if the run was started with one in memory.
        hooks: observers of the run.
        algorithm: the algorithm that the caller expects, by name; or the algorithm of your own that the run trains.
            None: any.
        trust: do what `config.json` says even if it imports a module (an environment `module:Name-v0`, an algorithm or
            networks of your own), downloads the data or logs to a service (W&B, MLflow).
        steps: steps of the prolonged run in all, more than the run has. None: the steps that the run has.
        env: the environment, if the run was started with an object or a function.
        network: the functions of the run's own networks, as in `train`.
        encoder: the function of its own encoder, as in `train`.
        devices: devices that share the replicas from now on, see `Settings.devices`. None: as many as before.
        progress: show the progress and the warnings of the run.

    Raises:
        UserError: not a run, steps that it has already, another algorithm or environment, data that have changed, or a
            damaged checkpoint.
        Diverged: a metric became NaN or infinite.
    """
    expected = registry.register(algorithm) if isinstance(algorithm, Algorithm) else algorithm
    place = None if env is None else rebound(env, RunFolder(run).read_config().get("env"), str(run))
    own = given_by_role(network)
    seen = None if encoder is None else given(encoder, "encoder")
    watched = _watched(hooks, progress)
    finished = launch.resume(run, data, watched, expected, trust, steps, place, own, seen, devices)
    return _run(finished, place, data, own, seen)


def finetune(
    run: str | Path | Run,
    *,
    steps: int = Settings.steps,
    env: EnvLike | None = None,
    out: str | Path | None = None,
    config: Mapping[str, Any] | None = None,
    data: Dataset | TeamDataset | None = None,
    network: Builder | str | Mapping[str, Builder | str] | None = None,
    encoder: Builder | str | None = None,
    hooks: Sequence[Hook] = (),
    progress: bool = True,
    **settings: Setting,
) -> Run:
    """Continue an offline run in an environment. Every replica continues with its networks and optimiser states.

    Args:
        run: the offline run, or its folder. It is only read, and not needed any more once the new run has started.
        steps: environment steps of each replica.
        env: the environment: an id, an environment, or a class or function that makes one. None: the one that the data
            came from, or in which the offline run was evaluated.
        out: folder of the new run. None: a free folder in `runs/`.
        config: settings of the algorithm to change, by name. By default all learning rates are constant.
        data: the data set, if the offline run was started with one in memory.
        network: the functions of the offline run's own networks, as in `train`.
        encoder: the function of its own encoder, as in `train`.
        hooks: observers of the run.
        progress: show the progress and the warnings of the run.
        settings: any other field of `runs.settings.Settings` that a fine-tuning run can change, see
            `training.finetune.changeable`.

    Returns:
        The finished run. `result["finetune"]` reports what the hand-over did to the returns, see `training.handover`.

    Raises:
        UserError: not a run that can be fine-tuned, or a mistake in the settings.
        Diverged: a metric became NaN or infinite.
    """
    path = run.path if isinstance(run, Run) else Path(run)
    kept = run if isinstance(run, Run) else None
    again = env if env is not None or kept is None else kept.env
    data = data if data is not None or kept is None else kept.data
    place = None if again is None else named(again)
    own = given_by_role(network) if network is not None or kept is None else kept.network
    seen = kept.encoder if encoder is None and kept is not None else encoder
    seen = None if seen is None else given(seen, "encoder")
    watched = _watched(hooks, progress)
    made = continued(path, place, config, watched, {"steps": steps, **settings}, own, seen)
    finished = launch.start(made, out, data if data is not None else in_memory(made, path), watched)
    return _run(finished, place, data, made.network, made.encoder)


def _watched(hooks: Sequence[Hook], progress: bool) -> list[Hook]:
    return [*([Progress()] if progress else []), *hooks]


def _run(
    finished: launch.Finished,
    env: str | None,
    data: Dataset | TeamDataset | None,
    network: Mapping[str, str],
    encoder: str | None,
) -> Run:
    """The run, with those of the caller's objects that its files do not hold."""
    place = env if isinstance(env, GivenEnv) else None
    return Run(finished.path, finished.result, place, data, dict(network), encoder if is_own(encoder) else None)
