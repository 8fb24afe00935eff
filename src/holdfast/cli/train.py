"""`holdfast train ALGO --data ID ...`: every setting of the run and of the algorithm is a flag."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.errors import UserError
from ..core.trust import environment_in
from . import usage

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from ..core.contract import Algorithm, Treatment
    from ..runs.settings import Settings


def main(argv: Sequence[str]) -> int:
    """Train, and print the result.

    Raises:
        UserError: a mistake in the flags, the data or the environment.
        Diverged: a metric became NaN or infinite.
    """
    if not argv or argv[0] in ("-h", "--help"):
        sys.stdout.write(overview())
        return 0
    name = None if argv[0].startswith("-") else argv[0]
    rest = list(argv if name is None else argv[1:])
    first, others = usage.peek("holdfast train", rest, "preset", "config", "resume", "steps", "devices")
    trust = "--trust" in others
    if first["resume"] is not None:
        more = {flag: first.pop(flag) for flag in ("steps", "devices")}
        left = [*others, *(f"--{flag} {value}" for flag, value in first.items() if value and flag != "resume")]
        return resume(name, str(first["resume"]), [other for other in left if other != "--trust"], more, trust)
    if name is None and first["config"] is None:
        raise UserError(f"name an algorithm before {argv[0]}: holdfast train ALGO --data ID; see holdfast algorithms")
    return fresh(name, rest, first["preset"], first["config"])


def fresh(name: str | None, argv: Sequence[str], preset: str | None, repeated: str | None) -> int:
    """Start a new run, or print its plan.

    Args:
        name: the algorithm; None: that of `repeated`.
        argv: the arguments after the name.
        preset: the preset among them.
        repeated: the config.json among them.
    """
    from ..algorithms import registry
    from ..runs.notes import notes_for
    from ..runs.settings import Settings

    given = None if repeated is None else Settings.read(Path(repeated))
    if given is not None:
        registry.of_file(given.algorithm, given.algorithm_module, str(repeated), trust=False)
    if given is not None and name not in (None, given.algorithm):
        raise UserError(f"{repeated} trains {given.algorithm}, not {name}: leave the name out, or start from a preset")
    if given is not None and given.source:
        raise UserError(
            f"{repeated} belongs to a fine-tuning run: repeat it with holdfast finetune {given.source['run']}"
        )
    if given is not None and usage.peek("holdfast train", argv, "env")[0]["env"] is None:
        environment_in(given.env, str(repeated))
    environment_in(None if given is None else given.data_options.get("env"), str(repeated))
    if given is not None:
        asked = usage.peek("holdfast train", argv, "network", "encoder")[0]
        network = {} if asked["network"] else given.network
        encoder = "auto" if asked["encoder"] else given.encoder
        given = dataclasses.replace(given, network=network, encoder=encoder).bind_networks({}, None, str(repeated))
    settings, place = parse(given.algorithm if given else str(name), argv, preset, given)
    if place.trust:
        raise UserError("--trust belongs to --resume: leave it out, an environment of --env is trusted")
    if place.dry_run:
        from ..training.plan.plan import plan

        made = plan(settings)
        notes = notes_for(settings, made.task.steps or None)
        sys.stdout.write("\n".join([made.describe(), *notes]) + "\n")
        return 0
    from ..training.hooks import Progress
    from ..training.launch import start

    show(start(settings, place.out, hooks=[Progress()]).path)
    return 0


def parse(name: str, argv: Sequence[str], preset: str | None, given: Settings | None) -> tuple[Settings, Any]:
    """Settings from flags, and the flags that are not settings.

    Args:
        name: the algorithm.
        argv: the arguments after the name.
        preset: the preset among them. Its values are the defaults of the flags.
        given: settings of a run to repeat. They are the defaults, except for those that `preset` decides.
    """
    from ..algorithms import registry
    from ..core import config
    from ..runs.presets import chosen, resolve
    from ..runs.settings import Settings, field_names
    from ..training.launch import located

    algorithm = registry.get(name)
    where = usage.peek(f"holdfast train {name}", argv, "data", "env")[0]
    started = chosen(algorithm, preset, where["data"], where["env"])
    cfg, treatment = resolve(algorithm, started, None, None)
    if given is not None and preset is None:
        cfg = config.from_dict(algorithm.Config, given.config)
        treatment = treatment._replace(**given.treatment)
    flags = all_flags(algorithm, cfg, treatment, given or Settings(name))
    args: Any = usage.parse(type(flags), f"holdfast train {name}", argv, flags)
    scaling = dataclasses.asdict(args.treatment)
    clip_actions = scaling.pop("clip_actions")
    values = args.run.values(field_names() - {"algorithm", "algorithm_module", "in_memory", "preset", "source"})
    sets = [located(name) for name in args.run.data]
    values["data"] = sets[0] if sets else None
    values["config"] = config.to_dict(args.algorithm)
    values["treatment"] = treatment._replace(**scaling)._asdict()
    options = {**flags.run.data_options, **args.data.values()}
    more = [*sets[1:], *(located(name) for name in args.data.also)]
    values["data_options"] = {**options, "also": more} if more else {k: v for k, v in options.items() if k != "also"}
    made = Settings.of(name, clip_actions=clip_actions, **values)
    # the config is complete, so the preset is only recorded: an older version may have had others
    recorded = started if given is None or preset is not None else given.preset
    return dataclasses.replace(made, preset=recorded), args.start


def all_flags(algorithm: Algorithm, cfg: DataclassInstance, treatment: Treatment, settings: Settings) -> Any:
    """All flags of a run, with their defaults.

    Args:
        algorithm: the algorithm.
        cfg: defaults of the flags of the algorithm.
        treatment: defaults of the flags of the treatment.
        settings: defaults of the flags of the run.
    """
    from ..runs.settings import own_settings
    from .options import DataFlags, RunFlags, StartFlags, joined, treatment_flags, without

    parts: dict[str, DataclassInstance] = {
        "run": without(own_settings(algorithm), RunFlags().at(settings)),
        "start": StartFlags(),
        "algorithm": cfg,
        "treatment": treatment_flags(treatment),
        "data": DataFlags(),
    }
    return joined(about(algorithm), parts)


def subcommands() -> dict[str, Any]:
    """The flags of each algorithm."""
    from ..algorithms import registry
    from ..runs.presets import resolve
    from ..runs.settings import Settings

    found = {name: registry.get(name) for name in registry.names()}
    return {name: all_flags(one, *resolve(one, None, None, None), Settings(name)) for name, one in found.items()}


def resume(
    name: str | None, run: str, others: Sequence[str], changes: Mapping[str, str | None], trust: bool = False
) -> int:
    """Resume a run, or prolong it.

    Args:
        name: the algorithm; None: that of the run.
        run: its folder.
        others: arguments that are refused.
        changes: the text of --steps and --devices; None: not given.
        trust: whether --trust is given.
    """
    if others:
        raise UserError(f"--resume takes all settings from the run: leave {' '.join(others)} out, or start a new run")
    from ..training import run as runs

    expected = {"steps": "the steps of the prolonged run in all", "devices": "a number of devices, or 0 for all"}
    numbers: dict[str, int | None] = {}
    for flag, text in changes.items():
        try:
            numbers[flag] = None if text is None else usage.whole_number(text)
        except ValueError as fault:
            raise UserError(f"--{flag}: {fault}, expected {expected[flag]}") from None
    given = numbers["steps"]
    show(runs.resume(run, algorithm=name, trust=trust, steps=given, devices=numbers["devices"]).path)
    return 0


def show(folder: Path) -> None:
    """Print the results of a finished run."""
    from rich.console import Console

    from ..report.table import results_table
    from ..runs.read import read_run

    Console().print(results_table(read_run(folder)))
    sys.stdout.write(f"policy in {folder / 'policy'}; holdfast report {folder} draws the curves\n")


def about(algorithm: Algorithm) -> str:
    """The description in `holdfast train ALGO --help`: what the algorithm is, its module's docstring, its presets."""
    from .. import algorithms
    from ..algorithms import registry

    own = registry.ROWS.get(algorithm.name)
    name = f"{algorithms.__name__}.{own.module}" if own else algorithm.init.__module__
    text = (sys.modules[name].__doc__ or "").strip()
    presets = f"Presets: published, {', '.join(algorithm.presets)}. Their sources: holdfast algorithms {algorithm.name}"
    return f"{registry.row(algorithm.name).title}.\n\n{text}\n\n{presets}"


def overview() -> str:
    """What `holdfast train --help` prints: the algorithms. The flags are in the help of each algorithm."""
    from ..algorithms import registry

    lines = [f"  {name:<14} {registry.row(name).title}" for name in registry.names()]
    return (
        "usage: holdfast train ALGO --data ID [--steps N] [--seeds K] ...   (holdfast train ALGO --help: all flags)\n"
        "       holdfast train ALGO --data ID --dry-run\n"
        "       holdfast train --resume RUN [--steps N] [--trust]   (N: the steps in all of a run that is prolonged)\n"
        "       holdfast train --config RUN/config.json\n\n" + "\n".join(lines) + "\n"
    )
