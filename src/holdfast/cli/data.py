"""`holdfast data`: what is in a data set, what is wrong with it, copies in other forms, what there is, new ones."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import re
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from ..core.errors import UserError, nearest, unknown
from .collect import Collect

if TYPE_CHECKING:
    from rich.console import Console

    from ..data.dataset import Dataset

STYLES = {"fatal": "bold red", "warn": "yellow", "note": "dim"}


@dataclasses.dataclass(frozen=True)
class Source:
    """How to read a data set; the options after `id` are for flat files (D4RL, OGBench)."""

    id: tyro.conf.Positional[str]
    """Bundled name, Minari id or folder, D4RL file (.hdf5), NPZ file."""
    download: bool = False
    """Fetch a Minari id that is not local."""
    action_bounds: tuple[float, float] | None = None
    """Low and high of the actions, -1 1 where not given."""
    max_episode_steps: int | None = None
    """Where a file has no timeouts: cut episodes after that many steps."""
    cut_jumps: bool = False
    """End an episode wherever next_observations is not the following row."""
    form: Literal["d4rl", "ogbench"] | None = None
    """What an NPZ file's terminals mean, where that is unclear."""

    def load(self) -> Dataset:
        """The data set that the options name."""
        from ..data.sources import load_dataset

        options = {k: getattr(self, k) for k in ("action_bounds", "max_episode_steps", "cut_jumps", "form")}
        return load_dataset(self.id, download=self.download, **{k: v for k, v in options.items() if v})


@dataclasses.dataclass(frozen=True)
class Info(Source):
    """Episodes, returns, lengths, spaces, ends and coverage of a data set."""

    json: bool = False
    """Print JSON, with every number."""

    def run(self) -> int:
        """Print the numbers."""
        from ..data.describe import describe

        dataset = self.load()
        facts = describe(dataset)
        if self.json:
            sys.stdout.write(json.dumps(facts, indent=2, default=str) + "\n")
        else:
            _show(_console(), dataset, facts)
        return 0


@dataclasses.dataclass(frozen=True)
class Check(Source):
    """Every fault of a data set, with its place and how to fix it; exit code 1 where training would be wrong."""

    allow: tuple[str, ...] = ()
    """Kinds of fatal faults to take on."""
    json: bool = False
    """Print JSON."""

    def run(self) -> int:
        """Print the faults."""
        from ..data.checks.check import ALLOWED, check

        for kind in self.allow:
            if kind not in ALLOWED:
                raise unknown("fault to allow", kind, ALLOWED)
        dataset = self.load()
        faults = check(dataset)
        fatal = [f for f in faults if f.level == "fatal" and f.kind not in self.allow]
        if self.json:
            sys.stdout.write(json.dumps([f.to_dict() for f in faults], indent=2) + "\n")
            return 1 if fatal else 0
        console = _console()
        for f in faults:
            allowed = " (allowed)" if f.level == "fatal" and f not in fatal else ""
            console.print(f"[{STYLES[f.level]}]{f.level}[/] [bold]{f.kind}[/]{allowed}  [cyan]{f.where}[/]")
            console.print(f"      {f.message}", markup=False)
            if f.fix:
                console.print(f"      fix: {f.fix}", markup=False)
        counts = ", ".join(f"{sum(f.level == level for f in faults)} {level}" for level in STYLES)
        size = f"{dataset.n_steps} steps in {dataset.n_episodes} episodes"
        verdict = "[bold red]training would be wrong[/]" if fatal else "[green]fit for training[/]"
        console.print(f"{dataset.id}: {size}; {counts}: {verdict}")
        return 1 if fatal else 0


@dataclasses.dataclass(frozen=True)
class Convert(Source):
    """Write a copy in another form, with the requested fixes. The target's suffix chooses the form: .hdf5 D4RL, .npz,
    otherwise Minari."""

    to: tyro.conf.Positional[str] = dataclasses.field(kw_only=True)
    """A file, a folder (/..., ./...) or a Minari id."""
    name: str | None = None
    """Name inside the copy; for Minari it ends in -v and a number."""
    drop_nonfinite: bool = False
    """Leave out episodes with NaN or infinite numbers."""
    cut_at_flags: bool = False
    """End an episode at every flag that stands inside one."""
    drop_stray_starts: bool = False
    """Leave out first rows whose observation belongs to another episode."""
    clip_actions: bool = False
    """Clip actions to their bounds."""

    def run(self) -> int:
        """Load, fix, write."""
        from ..data.checks import fixes
        from ..data.checks.dynamics import stray_starts
        from ..data.convert import convert

        dataset = self.load()
        if self.drop_nonfinite:
            dataset = fixes.drop_nonfinite(dataset)
        if self.cut_at_flags:
            dataset = fixes.cut_at_flags(dataset)
        if self.drop_stray_starts:
            dataset = fixes.drop_first_rows(dataset, stray_starts(dataset))
        if self.clip_actions:
            dataset = fixes.clip_actions(dataset)
        path = convert(dataset, self.to, self.name)
        size = f"{dataset.n_steps} steps in {dataset.n_episodes} episodes"
        _console().print(f"{path}: {size}, fingerprint {dataset.fingerprint[:16]}")
        return 0


@dataclasses.dataclass(frozen=True)
class List:
    """The data sets at hand: bundled ones and local Minari sets."""

    def run(self) -> int:
        """Print a table of them."""
        from rich.table import Table

        from ..data.sources import bundled_names, load_dataset
        from ..data.sources.minari import local_ids, root

        table = Table(box=None, pad_edge=False)
        for name, side in (("id", "left"), ("environment", "left"), ("episodes", "right"), ("steps", "right")):
            table.add_column(name, justify=side)  # type: ignore[arg-type]
        for name in bundled_names():
            data = load_dataset(name)
            table.add_row(name, data.env_id or "-", str(data.n_episodes), str(data.n_steps))
        for name, meta in local_ids().items():
            spec = json.loads(meta.get("env_spec") or "{}")
            sizes = (str(meta.get(k, "-")) for k in ("total_episodes", "total_steps"))
            table.add_row(name, spec.get("id", "-"), *sizes)
        console = _console()
        console.print(table)
        console.print(f"Minari sets are looked for in {root()} (MINARI_DATASETS_PATH)", style="dim")
        return 0


COMMANDS: dict[str, Any] = {"info": Info, "check": Check, "collect": Collect, "convert": Convert, "list": List}
Command = (
    Annotated[Info, tyro.conf.subcommand("info")]
    | Annotated[Check, tyro.conf.subcommand("check")]
    | Annotated[Collect, tyro.conf.subcommand("collect")]
    | Annotated[Convert, tyro.conf.subcommand("convert")]
    | Annotated[List, tyro.conf.subcommand("list")]
)


def main(argv: Sequence[str]) -> int:
    """Run `holdfast data ...`; 0 where all is well, 1 where `check` found that training would be wrong.

    Raises:
        UserError: bad usage, a data set that cannot be read or written.
    """
    return _parse(argv).run()


def _parse(argv: Sequence[str]) -> Any:
    """Tyro's parse, its panel of several lines turned into one."""
    if argv and not argv[0].startswith("-") and argv[0] not in COMMANDS:
        raise unknown("command of holdfast data", argv[0], COMMANDS)
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(Command, prog="holdfast data", args=list(argv), config=(tyro.conf.FlagCreatePairsOff,))
    except SystemExit as stop:
        if not stop.code:
            raise
        lines = [re.sub(r"[│╭╮╰╯─]|-{4,}", " ", line).strip() for line in said.getvalue().splitlines()]
        text = re.sub(r"\s+", " ", " ".join(line for line in lines[1:] if line))
        text = text.split(" For full helptext")[0].split(" Perhaps you meant")[0]
        wrong = re.search(r"Unrecognized options: (--[\w-]+)", text)
        hint = nearest(wrong[1], _options(argv[0])) if wrong else ""
        raise UserError(f"holdfast data: {text}{hint}; see holdfast data --help") from None


def _options(command: str) -> list[str]:
    return ["--" + f.name.replace("_", "-") for f in dataclasses.fields(COMMANDS[command])]


def _console() -> Console:
    """A console that breaks no line: what is piped is read by grep."""
    from rich.console import Console

    return Console(soft_wrap=True, highlight=False)


def _show(console: Console, dataset: Dataset, facts: dict[str, Any]) -> None:
    from rich.table import Table

    from ..data.describe import histogram

    def line(name: str, text: str) -> None:
        console.print(f"[bold]{name:<14}[/]{text}")

    line("data set", f"{facts['id']}  ({facts['provenance'].get('source', 'memory')}, {facts['fingerprint'][:16]})")
    line("environment", f"{facts['environment'] or 'not known'}, time limit {facts['time_limit'] or 'not known'}")
    line("size", f"{facts['steps']} steps in {facts['episodes']} episodes")
    line("observations", facts["observation_space"].replace("[", r"\["))
    line("actions", facts["action_space"].replace("[", r"\["))
    if facts["columns"]:
        line("columns", ", ".join(facts["columns"]))
    if not facts["steps"]:
        return
    ends = facts["ends"]
    line("ends", ", ".join(f"{ends[k]} {k}" for k in ends if ends[k] or k in ("terminated", "truncated")))
    line("lengths", _range(facts["lengths"]))
    line("rewards", _range(facts["rewards"]))
    score = "" if facts["normalized_mean"] is None else f"; normalised score {facts['normalized_mean']:.1f}"
    line("returns", _range(facts["returns"]) + score)
    for span, count, bar in histogram(dataset.returns()):
        console.print(f"{span:>28} {count:>6} {bar}")
    console.print("[bold]action coverage[/]")
    table = Table(box=None, pad_edge=False)
    columns = list(facts["actions"][0]) if facts["actions"] else []
    for column in ["dimension", *columns] if columns and not dataset.discrete else columns:
        table.add_column(column, justify="right")
    for k, numbers in enumerate(facts["actions"]):
        cells = [f"{v:.3g}" if name != "action" else f"{v:.0f}" for name, v in numbers.items()]
        table.add_row(*([str(k), *cells] if not dataset.discrete else cells))
    console.print(table)


def _range(s: dict[str, float]) -> str:
    quartiles = " ".join(f"{s[k]:.4g}" for k in ("lower", "median", "upper"))
    return f"{s['mean']:.4g} ± {s['std']:.3g}, {s['min']:.4g} to {s['max']:.4g}, quartiles {quartiles}"
