"""`holdfast tune ALGORITHM ... --data ID ... --space NAME=LOW..HIGH ...`: search for settings."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, Suppress, arg

from ..core.errors import UserError
from ..runs.settings import field_names
from ..tuning.engines import EngineOptions
from ..tuning.plan import Search
from ..tuning.space import parse
from . import usage
from .options import DataFlags, RunFlags

if TYPE_CHECKING:
    from ..tuning.results import Tuning


@dataclasses.dataclass(frozen=True)
class SearchFlags(Search):
    """What to search, and how trials are chosen and compared."""

    algorithms: Positional[Annotated[tuple[str, ...], arg(metavar="ALGORITHM [ALGORITHM ...]")]] = ()
    data: Annotated[tuple[str, ...], arg(metavar="NAME [NAME ...]")] = ()
    space: Annotated[tuple[str, ...], arg(metavar="NAME=VALUES [NAME=VALUES ...]")] = ()  # type: ignore[assignment]
    set: Annotated[tuple[str, ...], arg(metavar="NAME=VALUE [NAME=VALUE ...]")] = ()
    """Settings of the algorithm that are not searched, in JSON: hidden=[64,64]."""
    estimate_log: Annotated[tuple[str, ...], arg(metavar="NAME [NAME ...]")] = ()
    run: Suppress[dict[str, Any]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class TrialFlags(RunFlags):
    """How each trial is trained. Policies are evaluated at the end only, unless --eval-every is given."""

    data: Suppress[tuple[str, ...]] = ()
    sweep: Suppress[tuple[str, ...]] = ()
    paired: Suppress[bool] = False


@dataclasses.dataclass(frozen=True)
class PlaceFlags:
    """The folder of the search."""

    out: Path | None = None
    """Folder of the search, new or empty. None: a free folder in runs/. For a cluster: on storage that all share."""
    resume: Path | None = None
    """Folder of an interrupted search to resume. The only other flags are those of the engine, and --trust."""
    trust: bool = False
    """With --resume: do what the search says even if it imports a module, downloads data or logs to a service."""
    clip_actions: bool = False
    """Clip logged actions that are outside the action space. Without it such data are refused."""


@dataclasses.dataclass(frozen=True)
class Args:
    """Search for settings of algorithms on data sets. Trials that differ in floats only are trained in one program.

    Examples of --space: expectile=0.5..0.9 'inverse_temperature=log(1..10)' 'batch_size=[128,256]' alpha=0..5:0.5
    """

    search: SearchFlags = dataclasses.field(default_factory=SearchFlags)
    engine: EngineOptions = dataclasses.field(default_factory=EngineOptions)
    place: PlaceFlags = dataclasses.field(default_factory=PlaceFlags)
    run: TrialFlags = dataclasses.field(default_factory=TrialFlags)
    reading: DataFlags = dataclasses.field(default_factory=DataFlags)


def main(argv: Sequence[str]) -> int:
    """Search, and print the trials.

    Raises:
        UserError: a mistake in the flags, the data or the environment.
        Stopped: a signal came; the search can be resumed.
    """
    first, others = usage.peek("holdfast tune", argv, "resume")
    if first["resume"] is not None:
        return resume(first["resume"], others)
    args = usage.parse(Args, "holdfast tune", argv)
    if not args.search.algorithms:
        raise UserError("name an algorithm: holdfast tune ALGORITHM --data ID --space NAME=LOW..HIGH")
    if args.place.trust:
        raise UserError("--trust belongs to --resume: leave it out, an environment of --env is trusted")
    from ..tuning.tune import tune

    search = vars(args.search)
    given = {name: search[name] for name in search if name not in ("algorithms", "data", "space", "set", "run")}
    found = tune(
        args.search.algorithms,
        args.search.data,
        space=parse(args.search.space),
        config=constants(args.search.set),
        out=args.place.out,
        **given,
        **vars(args.engine),
        **settings_of(args),
    )
    show(found)
    return 0


def settings_of(args: Args) -> dict[str, Any]:
    """The settings of every run that differ from their defaults, as arguments of `train`."""
    hidden = ("algorithm", "algorithm_module", "config", "data", "data_options", "in_memory", "paired", "source",
              "sweep", "treatment")  # fmt: skip
    names = field_names() - set(hidden)
    default = TrialFlags().values(names)
    values = {name: value for name, value in args.run.values(names).items() if value != default[name]}
    options = args.reading.values()
    clip = {"clip_actions": True} if args.place.clip_actions else {}
    return {**values, **({"data_options": options} if options else {}), **clip}


def constants(texts: Sequence[str]) -> dict[str, Any]:
    """`["hidden=[64,64]", ...]` as values by name: JSON, else the text itself.

    Raises:
        UserError: an entry that is not NAME=VALUE.
    """
    found: dict[str, Any] = {}
    for text in texts:
        name, _, value = text.partition("=")
        if not name.strip() or not value.strip():
            raise UserError(f"--set {text}: expected NAME=VALUE (--set hidden=[64,64])")
        try:
            found[name.strip().replace("-", "_")] = json.loads(value)
        except ValueError:
            found[name.strip().replace("-", "_")] = value.strip()
    return found


@dataclasses.dataclass(frozen=True)
class ResumeArgs:
    """Resume a search."""

    engine: EngineOptions = dataclasses.field(default_factory=EngineOptions)
    trust: bool = False
    """Do what the search says even if it imports a module, downloads data or logs to a service."""


def resume(folder: str, others: Sequence[str]) -> int:
    """Resume a search. No other flags than those of the engine can be given."""
    from ..tuning.tune import resume_tune

    args = usage.parse(ResumeArgs, "holdfast tune --resume", others)
    show(resume_tune(folder, trust=args.trust, **vars(args.engine)))
    return 0


def show(found: Tuning) -> None:
    """Print the best trials, and where the files are."""
    from rich.console import Console

    from ..report.table import table_of
    from ..report.tune_page import HEADER, lines_of, parts_of, row_texts

    width = None if sys.stdout.isatty() else 120  # no line breaks at column 80 in a file
    console = Console(highlight=False, markup=False, width=width)
    for (algorithm, data), trials in found.searches.items():
        console.print(f"{algorithm} on {data}", style="bold")
        console.print(table_of(HEADER, row_texts(trials), left=2))
    for sentence in lines_of(parts_of(found.searches)):
        console.print(sentence)
    sys.stdout.write(f"{found.path / 'trials.csv'}\n")
    for algorithm, data in found.searches:
        file = found.preset(algorithm, data)
        if file.is_file():
            sys.stdout.write(f"holdfast train --config {file}\n")
