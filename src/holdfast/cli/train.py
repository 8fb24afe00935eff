"""`holdfast train ALGO --data ID ...`: every setting of the algorithm is a flag."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro

from ..core.errors import UserError, unknown
from . import usage


@dataclasses.dataclass(frozen=True)
class Options:
    """What to train on, for how long, and what to leave behind."""

    data: str | None = None
    """Data set: a Minari id or folder, a D4RL file (.hdf5), an NPZ file, or a bundled/ name."""
    steps: int = 100_000
    """Updates of each replica; environment steps where it learns in one."""
    seeds: int = 1
    """How many seeds, trained in one program."""
    seed: int = 0
    """The first seed."""
    out: Path | None = None
    """The run's folder, new or empty; a free one under runs/ where not given."""
    preset: str | None = None
    """Published settings to start from; the algorithm's first where not given."""
    config: Path | None = None
    """A run's config.json to repeat; other flags change it."""
    sweep: tyro.conf.UseAppendAction[Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME=A,B")]] = ()
    """Values of a float setting, all trained in one program with every seed; may be given again."""
    env: str | None = None
    """Environment to evaluate in, the data set's own where not given; without --data, the one to learn in."""
    no_eval: bool = False
    """Do not evaluate."""
    eval_episodes: int = 10
    """Episodes of an evaluation, for each replica."""
    eval_every: int = 0
    """Updates between evaluations; 0: a tenth of the run."""
    save_every: int = 0
    """Updates between checkpoints; 0: every block."""
    keep_policies: bool = False
    """Keep the policies of every evaluation, for logs of several levels (holdfast data collect)."""
    growing: float = 0.0
    """Rows of the log that arrive with each update, as if it were being written; 0: all are there at once."""
    block: int = 1000
    """Updates between rows of metrics."""
    workers: int = 0
    """Processes that step environments, in collection and in evaluation each; one that dies or hangs is replaced."""
    worker_timeout: float = 60.0
    """Seconds that a step may take in one of them."""
    envs: int = 0
    """Environments that each replica collects in at once; 0: as the algorithm has it, mostly one."""
    replay: int = 0
    """Newest collected rows that are kept; 0: as the algorithm has it, mostly 1 000 000."""
    log: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Where else to log: tensorboard, wandb or mlflow; may be given again."""
    allow: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """A kind of fatal fault in the data to take on, see `holdfast data check`; may be given again."""
    download: bool = False
    """Fetch a Minari data set that is not on this machine."""
    action_bounds: tuple[float, float] | None = None
    """Bounds of the actions in a flat file that names none."""
    max_episode_steps: int | None = None
    """Time limit that cuts the episodes of a flat file without timeouts."""
    cut_jumps: bool = False
    """End the episodes of a flat file where its next observations do not continue."""
    form: str | None = None
    """Form of an NPZ file that could be either: d4rl or ogbench."""


@dataclasses.dataclass(frozen=True)
class DataFlags:
    """How the data are treated; the preset's values are the defaults."""

    normalize_obs: float | None = None
    """Epsilon of (obs - mean) / (std + epsilon); None: observations as they are."""
    return_scale: float | None = None
    """Scale rewards by this over the spread of the episodes' returns; None: do not."""
    reward_scale: float = 1.0
    """Factor of the rewards, after the shift."""
    reward_shift: float = 0.0
    """Added to the rewards."""
    clip_actions: bool = False
    """Clip logged actions that lie outside the action space (refused otherwise)."""


DATA_OPTIONS = ("download", "action_bounds", "max_episode_steps", "cut_jumps", "form")


def main(argv: Sequence[str]) -> int:
    """Train, and print the result.

    Raises:
        UserError: a mistake in the flags, the data or the environment.
        Diverged: a metric became NaN or infinite.
    """
    name, rest = (argv[0], list(argv[1:])) if argv and not argv[0].startswith("-") else (None, list(argv))
    resumed = option(rest, "--resume")
    if resumed is not None:
        return resume(name, resumed, rest)
    repeated = option(rest, "--config")
    if name is None and repeated is None:
        if not argv or argv[0] in ("-h", "--help"):
            sys.stdout.write(overview())
            return 0
        raise UserError(f"name an algorithm before {argv[0]}: holdfast train ALGO --data ID; see holdfast algorithms")
    return fresh(name, rest, repeated)


def fresh(name: str | None, argv: list[str], repeated: str | None) -> int:
    """Start a new run."""
    from ..algorithms import registry
    from ..core import config

    given: dict[str, Any] = read(Path(repeated)) if repeated is not None else {}
    if name is not None and given and name != given["algorithm"]:
        raise UserError(
            f"{repeated} trains {given['algorithm']}, not {name}: leave the name out, or start from a preset"
        )
    if given.get("source"):
        raise UserError(
            f"{repeated} is of a fine-tuning run: repeat it with holdfast finetune {given['source']['run']}"
        )
    algorithm = registry.get(name or given["algorithm"])
    preset = option(argv, "--preset")
    if preset is not None and preset not in algorithm.presets:
        raise unknown(f"preset of {algorithm.name}", preset, algorithm.presets)
    base = algorithm.presets[preset or next(iter(algorithm.presets))]
    cfg, treatment = base.config, base.treatment
    options = Options()
    if given:
        if preset is None:
            cfg = config.from_dict(algorithm.Config, given["config"])
            treatment = treatment._replace(**given["treatment"])
        options = of_settings(given)
    flags = DataFlags(*treatment[:4])
    made = dataclasses.make_dataclass("Args", [("run", Options), ("method", algorithm.Config), ("data", DataFlags)])
    made.__doc__ = (
        f"{registry.ROWS[algorithm.name].title}.\n\n{(sys.modules[algorithm.init.__module__].__doc__ or '').strip()}"
    )
    args: Any = usage.parse(
        made,
        f"holdfast train {algorithm.name}",
        argv,
        default=made(options, cfg, flags),
        config=(tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff),
    )
    others = {k: v for k, v in given.get("data_options", {}).items() if k not in DATA_OPTIONS}
    return run(algorithm, args, treatment, others)


def run(algorithm: Any, args: Any, treatment: Any, others: dict[str, Any]) -> int:
    """Train by parsed arguments; `others` are options of the data that have no flag."""
    from ..core import config
    from ..runs.settings import Settings, parse_sweep
    from ..training.hooks import Progress
    from ..training.run import located, start

    options, flags = args.run, args.data
    faults = algorithm.check(args.method)
    if faults:
        raise UserError(f"{algorithm.name}: {'; '.join(faults)}")
    treated = treatment._replace(
        normalize_obs=flags.normalize_obs,
        return_scale=flags.return_scale,
        reward_scale=flags.reward_scale,
        reward_shift=flags.reward_shift,
    )
    if flags.clip_actions and treated.clip_actions is None:
        treated = treated._replace(clip_actions=0.0)
    given = {name: getattr(options, name) for name in DATA_OPTIONS}
    settings = Settings(
        algorithm=algorithm.name,
        data=None if options.data is None else located(options.data),
        steps=options.steps,
        config=config.to_dict(args.method),
        treatment=treated._asdict(),
        preset=options.preset,
        seeds=options.seeds,
        seed=options.seed,
        sweep=parse_sweep(options.sweep),
        data_options={**others, **{name: value for name, value in given.items() if value not in (None, False)}},
        allow=[*options.allow, *(["action_bounds"] if flags.clip_actions else [])],
        env=options.env,
        evaluate=not options.no_eval,
        eval_episodes=options.eval_episodes,
        eval_every=options.eval_every,
        save_every=options.save_every,
        keep_policies=options.keep_policies,
        growing=options.growing,
        block=options.block,
        workers=options.workers,
        worker_timeout=options.worker_timeout,
        envs=options.envs,
        replay=options.replay,
        loggers=list(options.log),
    )
    finished = start(settings, options.out, hooks=[Progress()])
    show(finished.path)
    return 0


def resume(name: str | None, folder: str, rest: list[str]) -> int:
    """Go on with a run; nothing else is to be named."""
    left = without(rest, "--resume")
    if left:
        raise UserError(f"--resume takes every setting from the run: leave {' '.join(left)} out, or start a new run")
    from ..training.hooks import Progress
    from ..training.run import resume as go_on

    finished = go_on(folder, hooks=[Progress()], algorithm=name)
    show(finished.path)
    return 0


def show(folder: Path) -> None:
    """Print what a finished run came to."""
    from rich.console import Console

    from ..report.table import results_table
    from ..runs.read import read_run

    Console().print(results_table(read_run(folder)))
    sys.stdout.write(f"policy in {folder / 'policy'}; holdfast report {folder} draws the curves\n")


def of_settings(given: dict[str, Any]) -> Options:
    """The options that a config.json stands for."""
    same = (
        "data", "steps", "seeds", "seed", "preset", "env", "eval_episodes", "eval_every", "save_every", "block",
        "workers", "worker_timeout", "envs", "replay", "keep_policies", "growing",
    )  # fmt: skip
    values: dict[str, Any] = {name: given[name] for name in same}
    for name in given["data_options"].keys() & set(DATA_OPTIONS):
        value = given["data_options"][name]
        values[name] = tuple(value) if isinstance(value, list) else value
    return Options(
        **values,
        sweep=tuple(f"{k}={','.join(map(repr, v))}" for k, v in given["sweep"].items()),
        no_eval=not given["evaluate"],
        log=tuple(given["loggers"]),
        allow=tuple(given["allow"]),
    )


def read(path: Path) -> dict[str, Any]:
    """Settings from a run's config.json, checked.

    Raises:
        UserError: no such file, or not a config.
    """
    from ..runs.settings import Settings

    try:
        values = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path}: {error}; expected the config.json of a run") from error
    if not isinstance(values, dict):
        raise UserError(f"{path} is no config: expected the config.json of a run")
    return Settings.from_dict(values, str(path)).to_dict()


def option(argv: Sequence[str], flag: str) -> str | None:
    """The value of a flag, wherever it stands."""
    for i, argument in enumerate(argv):
        if argument.startswith(f"{flag}="):
            return argument.partition("=")[2]
        if argument == flag:
            if i + 1 == len(argv):
                raise UserError(f"{flag} needs a value")
            return argv[i + 1]
    return None


def without(argv: Sequence[str], flag: str) -> list[str]:
    """The arguments but for a flag and its value."""
    left, skip = [], False
    for argument in argv:
        if not skip and argument != flag and not argument.startswith(f"{flag}="):
            left.append(argument)
        skip = argument == flag and not skip
    return left


def overview() -> str:
    """What `holdfast train --help` prints: the names; the flags stand under each."""
    from ..algorithms.registry import ROWS

    lines = [f"  {name:<14} {row.title}" for name, row in sorted(ROWS.items())]
    usage_ = (
        "usage: holdfast train ALGO --data ID [--steps N] [--seeds K] ...   (holdfast train ALGO --help: all flags)\n"
    )
    return (
        usage_
        + "       holdfast train --resume RUN\n       holdfast train --config RUN/config.json\n\n"
        + "\n".join(lines)
        + "\n"
    )
