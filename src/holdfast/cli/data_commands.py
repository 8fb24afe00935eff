"""The commands of `holdfast data`: each is a dataclass of its flags, with a method `run`."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, arg

from ..core.errors import UserError, printable, unknown
from .options import DataFlags

if TYPE_CHECKING:
    from rich.console import Console

    from ..data.checks.faults import Fault
    from ..data.dataset import Dataset
    from ..data.teams.dataset import TeamDataset

STYLES = {"fatal": "bold red", "warn": "yellow", "note": "dim"}
SAID = {"bad": "bold red", "warn": "yellow", "note": "dim", "good": "green"}


@dataclasses.dataclass(frozen=True)
class Source:
    """A data set, and how to read it."""

    id: Positional[Annotated[str, arg(metavar="ID")]]
    """Bundled name, Minari id or folder, D4RL file (.hdf5), NPZ file, table (.csv, .csv.gz, .parquet), or the log of a
    team (.npz, .hdf5, vault)."""
    data: DataFlags = dataclasses.field(default_factory=DataFlags)

    def load(self) -> Dataset:
        """Load the data set."""
        return self.data.load(self.id)

    def team(self) -> TeamDataset | None:
        """The log of a team; None if the data set is of one agent.

        Raises:
            UserError: options for the log of one agent, or the log cannot be read.
        """
        from ..data.teams.files import is_team, load_team, require_no_options

        if not is_team(self.id):
            return None
        require_no_options(self.data.values(), self.id)
        return load_team(self.id)


@dataclasses.dataclass(frozen=True)
class Info(Source):
    """Print the episodes, returns, lengths, spaces, ends and action coverage of a data set."""

    json: bool = False
    """Print all numbers as JSON."""

    def run(self) -> int:
        """Print the numbers."""
        from ..data.describe import describe
        from ..runs.presets import preset_note

        team = self.team()
        if team is not None:
            each = {name: describe(own) for name, own in team.agents.items()}
            if self.json:
                sys.stdout.write(json.dumps({"joint": team.joint, "agents": each}, indent=2, default=str) + "\n")
                return 0
            _console().print(str(team), markup=False)
            for name, own in team.agents.items():
                _show(_console(), own, each[name])
            return 0
        dataset = self.load()
        facts = describe(dataset)
        if self.json:
            sys.stdout.write(json.dumps(facts, indent=2, default=str) + "\n")
        else:
            _show(_console(), dataset, facts)
            note = preset_note(dataset.id, dataset.n_steps)
            if note:
                sys.stdout.write(f"{note}, if `holdfast algorithms` lists it\n")
        return 0


@dataclasses.dataclass(frozen=True)
class Check(Source):
    """Print every fault of a data set, with its place and how to fix it.

    The exit code is 1 if training on the data would be wrong."""

    allow: tuple[str, ...] = ()
    """Kinds of fatal faults to accept."""
    json: bool = False
    """Print JSON."""

    def run(self) -> int:
        """Print the faults."""
        from ..data.checks.check import ALLOWED, check

        for kind in self.allow:
            if kind not in ALLOWED:
                raise unknown("fault to allow", kind, ALLOWED)
        team = self.team()
        sets = [self.load()] if team is None else list(team.agents.values())
        found = {own.id: check(own) for own in sets}
        wrong = any(f.level == "fatal" and f.kind not in self.allow for faults in found.values() for f in faults)
        if self.json:
            listed = {name: [f.to_dict() for f in faults] for name, faults in found.items()}
            sys.stdout.write(json.dumps(listed if team is not None else listed[sets[0].id], indent=2) + "\n")
            return 1 if wrong else 0
        for own in sets:
            self.show(own, found[own.id])
        return 1 if wrong else 0

    def show(self, dataset: Dataset, faults: Sequence[Fault]) -> None:
        """Print the faults of one data set."""
        from rich.markup import escape

        fatal = [f for f in faults if f.level == "fatal" and f.kind not in self.allow]
        console = _console()
        for f in faults:
            allowed = " (allowed)" if f.level == "fatal" and f not in fatal else ""
            console.print(
                f"[{STYLES[f.level]}]{f.level}[/] [bold]{f.kind}[/]{allowed}  [cyan]{escape(str(f.where))}[/]"
            )
            console.print(f"      {f.message}", markup=False)
            if f.fix:
                console.print(f"      fix: {f.fix}", markup=False)
        counts = ", ".join(f"{sum(f.level == level for f in faults)} {level}" for level in STYLES)
        size = f"{dataset.n_steps} steps in {dataset.n_episodes} episodes"
        verdict = "[bold red]training would be wrong[/]" if fatal else "[green]fit for training[/]"
        console.print(f"{escape(dataset.id)}: {size}; {counts}: {verdict}")


@dataclasses.dataclass(frozen=True)
class Doctor(Source):
    """Examine whether a log is fit for offline learning: coverage, rewards, horizon, stitching, leaks, columns and
    propensities, and which methods suit it.

    The exit code is 1 if the log is not fit."""

    json: bool = False
    """Print JSON."""
    html: Path | None = None
    """Write a page to this file too."""

    def run(self) -> int:
        """Print the findings."""
        from rich.markup import escape

        from ..data.doctor.examine import examine

        found = examine(self.load())
        if self.html is not None:
            from ..report.doctor_page import write_doctor_page

            write_doctor_page(found, self.html)
        if self.json:
            sys.stdout.write(json.dumps(found.to_dict(), indent=2) + "\n")
            return 1 if found.verdict == "not fit" else 0
        console = _console()
        for one in found.findings:
            console.print(f"[{SAID[one.level]}]{one.level:<5}[/][bold]{one.topic}[/]  {escape(printable(one.text))}")
            if one.fix:
                console.print(f"      {one.fix}", markup=False)
        console.print("[bold]which methods suit it[/]")
        for advice in found.advice:
            names = f"{', '.join(advice.algorithms)}: " if advice.algorithms else ""
            console.print(f"      {names}{advice.why}", markup=False)
        size = f"{found.steps:,} steps in {found.episodes:,} episodes"
        console.print(f"{escape(printable(found.id))}: {size}: [bold]{found.verdict}[/] for offline learning")
        return 1 if found.verdict == "not fit" else 0


@dataclasses.dataclass(frozen=True)
class Schema:
    """Propose the roles of the columns of a table, as a roles file with comments for --columns. Read and correct it."""

    log: Positional[Annotated[str, arg(metavar="LOG")]]
    """CSV (.csv, .csv.gz) or Parquet file."""
    to: str | None = None
    """The file to write. None: the name of the table with .roles.toml, in the current folder."""

    def run(self) -> int:
        """Write the file."""
        from ..data.tables.frames import SUFFIXES, is_table_file
        from ..data.tables.propose import write_proposal

        path = Path(self.log)
        if not is_table_file(path):
            raise UserError(f"{self.log} is not a table, expected a file ending in {', '.join(SUFFIXES)}")
        written = write_proposal(self.log, self.to or f"{path.name.split('.')[0]}.roles.toml")
        _console().print(f"{written}: read it, correct it, then use it with --columns {written}", markup=False)
        return 0


@dataclasses.dataclass(frozen=True)
class Convert(Source):
    """Write a copy in another form, with faults fixed on request. The form follows from the target's ending: .hdf5 is
    D4RL, .npz is NPZ, .columns is a folder of columns, anything else is Minari. The log of a team is written as .npz or
    .hdf5."""

    to: Positional[Annotated[str, arg(metavar="TARGET")]] = dataclasses.field(kw_only=True)
    """A file, a folder (/..., ./...) or a Minari id."""
    name: str | None = None
    """Name inside the copy. A Minari name ends in -v and a number."""
    drop_nonfinite: bool = False
    """Leave out episodes that contain NaN or infinite numbers."""
    cut_at_flags: bool = False
    """End an episode at every end flag inside it."""
    drop_stray_starts: bool = False
    """Leave out a first row whose observation belongs to another episode."""
    clip_actions: bool = False
    """Clip actions to the bounds of the action space."""

    def run(self) -> int:
        """Load the data set, fix it, and write the copy."""
        from ..data.checks import fixes
        from ..data.checks.dynamics import stray_starts
        from ..data.convert import convert
        from ..data.teams.files import is_team

        if is_team(self.id):
            return self.of_team()
        dataset = self.load()
        if self.drop_nonfinite:
            dataset = fixes.drop_nonfinite(dataset)
        if self.cut_at_flags:
            dataset = fixes.cut_at_flags(dataset)
        if self.drop_stray_starts:
            dataset = fixes.drop_first_rows(dataset, stray_starts(dataset))
        if self.clip_actions:
            dataset = fixes.clip_actions(dataset)
        return self.written(dataset, convert(dataset, self.to, self.name))

    def of_team(self) -> int:
        """The same for the log of a team."""
        from ..data.teams import fixes
        from ..data.teams.files import require_team_file, save_team

        require_team_file(self.to)  # before the long part
        team = self.team()
        assert team is not None, "the log of one agent"
        known = {
            "drop_nonfinite": fixes.drop_nonfinite,
            "cut_at_flags": fixes.cut_at_flags,
            "drop_stray_starts": fixes.drop_stray_starts,
            "clip_actions": fixes.clip_actions,
        }
        for name, fix in known.items():
            team = fix(team) if getattr(self, name) else team
        team = team if self.name is None else team.named(self.name)
        return self.written(team, save_team(team, self.to), f" of {len(team)} agents ({', '.join(team)})")

    def written(self, data: Dataset | TeamDataset, path: Path, agents: str = "") -> int:
        """Print what the copy holds."""
        size = f"{data.n_steps} steps in {data.n_episodes} episodes{agents}"
        _console().print(f"{path}: {size}, fingerprint {data.fingerprint[:16]}", markup=False)
        return 0


@dataclasses.dataclass(frozen=True)
class List:
    """Print the bundled data sets and the local Minari data sets."""

    def run(self) -> int:
        """Print the table."""
        from rich.table import Table
        from rich.text import Text

        from ..data.facts import spec_facts
        from ..data.sources import bundled_names, load_dataset
        from ..data.sources.minari import local_ids, root

        table = Table(box=None, pad_edge=False)
        for name, side in (("id", "left"), ("environment", "left"), ("episodes", "right"), ("steps", "right")):
            table.add_column(name, justify=side)  # type: ignore[arg-type]
        for name in bundled_names():
            data = load_dataset(name)
            table.add_row(name, data.env_id or "-", str(data.n_episodes), str(data.n_steps))
        for name, meta in local_ids().items():
            try:
                env = spec_facts(meta.get("env_spec"), name).get("id", "-")
            except UserError:
                env = "cannot be read"
            sizes = (str(meta.get(k, "-")) for k in ("total_episodes", "total_steps"))
            table.add_row(*(Text(cell) for cell in (name, env, *sizes)))
        console = _console()
        console.print(table)
        console.print(f"Minari data sets are read from {root()} (MINARI_DATASETS_PATH)", style="dim")
        return 0


def _console() -> Console:
    """A console that does not wrap lines, so that grep finds whole lines in piped output."""
    from rich.console import Console

    return Console(soft_wrap=True, highlight=False)


def _show(console: Console, dataset: Dataset, facts: dict[str, Any]) -> None:
    from rich.markup import escape
    from rich.table import Table

    from ..data.describe import histogram

    def line(name: str, text: str) -> None:
        console.print(f"[bold]{name:<14}[/]{escape(text)}")

    line("data set", f"{facts['id']}  ({facts['provenance'].get('source', 'memory')}, {facts['fingerprint'][:16]})")
    line("environment", f"{facts['environment'] or 'not known'}, time limit {facts['time_limit'] or 'not known'}")
    line("size", f"{facts['steps']} steps in {facts['episodes']} episodes")
    line("observations", facts["observation_space"])
    line("actions", facts["action_space"])
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
        cells = [f"{v:.3g}" if isinstance(v, float) else escape(printable(str(v))) for v in numbers.values()]
        table.add_row(*([str(k), *cells] if not dataset.discrete else cells))
    console.print(table)


def _range(s: dict[str, float]) -> str:
    quartiles = " ".join(f"{s[k]:.4g}" for k in ("lower", "median", "upper"))
    return f"{s['mean']:.4g} ± {s['std']:.3g}, {s['min']:.4g} to {s['max']:.4g}, quartiles {quartiles}"
