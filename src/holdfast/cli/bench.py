"""`holdfast bench paper --suite NAME`: the table of a paper, with published settings."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import arg

from ..core.errors import UserError, unknown
from ..tuning.engines import EngineOptions
from ..tuning.paper import ALGORITHMS
from . import usage

KINDS = {"paper": "a table of algorithms, data sets and seeds, with published settings"}


@dataclasses.dataclass(frozen=True)
class TableFlags:
    """What the table contains."""

    suite: Literal["mujoco-v5", "adroit", "antmaze", "kitchen", "bundled", "local"] = "mujoco-v5"
    """The data sets: those of a benchmark on Minari's server, the bundled ones, or all Minari sets of this machine."""
    data: Annotated[tuple[str, ...], arg(metavar="NAME [NAME ...]")] = ()
    """Data sets instead of those of a suite."""
    algorithms: tuple[str, ...] = ALGORITHMS
    """Algorithms. Each has its published settings for each data set."""
    steps: int = 1_000_000
    """Updates of each seed."""
    seeds: int = 5
    """Number of seeds."""
    seed: int = 0
    """The first seed."""
    episodes: int = 10
    """Episodes of each policy in the last evaluation."""
    workers: int = 0
    """Processes that step environments. 0: no processes."""
    save_every: int | None = None
    """Steps between checkpoints. None: as for `holdfast train`."""
    download: bool = False
    """Download the data sets that are not on this machine."""
    clip_actions: bool = False
    """Clip logged actions that are outside the action space. Without it such data are refused."""


@dataclasses.dataclass(frozen=True)
class PlaceFlags:
    """The folder of the table."""

    out: Path | None = None
    """Folder of the table, new or empty. None: a free folder in runs/. For a cluster: on storage that all share."""
    resume: Path | None = None
    """Folder of an interrupted table to resume. The only other flags are those of the engine, and --trust."""


@dataclasses.dataclass(frozen=True)
class Args:
    """Make the table of a suite: every algorithm on every data set, with published settings."""

    table: TableFlags = dataclasses.field(default_factory=TableFlags)
    engine: EngineOptions = dataclasses.field(default_factory=EngineOptions)
    place: PlaceFlags = dataclasses.field(default_factory=PlaceFlags)


def main(argv: Sequence[str]) -> int:
    """Make a table, and print it.

    Raises:
        UserError: a mistake in the flags, the data or the environment.
        Stopped: a signal came; the table can be resumed.
    """
    if not argv or argv[0] in ("-h", "--help"):
        lines = [f"  {name:<8} {text}" for name, text in KINDS.items()]
        sys.stdout.write("usage: holdfast bench KIND ...   (holdfast bench KIND --help)\n\n" + "\n".join(lines) + "\n")
        return 0
    if argv[0] not in KINDS:
        raise unknown("benchmark", argv[0], KINDS)
    return paper(argv[1:])


def subcommands() -> dict[str, Any]:
    """The flags of each benchmark."""
    return {"paper": Args()}


def paper(argv: Sequence[str]) -> int:
    """`holdfast bench paper`."""
    from ..tuning import paper as papers
    from ..tuning.tune import resume_tune, tune
    from .tune import ResumeArgs

    first, others = usage.peek("holdfast bench paper", argv, "resume")
    if first["resume"] is not None:
        again = usage.parse(ResumeArgs, "holdfast bench paper --resume", others)
        found = resume_tune(first["resume"], trust=again.trust, **vars(again.engine))
        if any(trial.values for trial in found.trials):
            raise UserError(f"{first['resume']} is a search over settings: resume it with holdfast tune")
    else:
        args = usage.parse(Args, "holdfast bench paper", argv)
        flags = args.table
        options: Any = {"data_options": {"download": True}} if flags.download else {}
        found = tune(
            flags.algorithms,
            flags.data or papers.suite_of(flags.suite).sets,
            skip_unfit=True,
            out=args.place.out,
            **vars(args.engine),
            steps=flags.steps,
            seeds=flags.seeds,
            seed=flags.seed,
            eval_episodes=flags.episodes,
            workers=flags.workers,
            save_every=flags.save_every,
            clip_actions=flags.clip_actions,
            **options,
        )
    table = papers.table_of("Results with published settings", found)
    sys.stdout.write(papers.markdown(table))
    for path in papers.write(table, found.path):
        sys.stdout.write(f"{path}\n")
    return 0
