"""`holdfast bench paper`: a table of algorithms, data sets and seeds with published settings; a resumable search."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..core.errors import unknown
from ..core.files import write_atomic
from ..data.sources import bundled_names
from ..data.sources.minari import local_ids
from ..evaluation.statistics import Estimate, average_name, iqm_interval, two_stage_interval
from ..policy.folder import versions
from ..runs.read import Record, read_run
from ..runs.trials import Trial
from .results import Tuning

ALGORITHMS = ("bc", "filtered_bc", "td3_bc", "iql", "cql", "rebrac")


class Suite(NamedTuple):
    """Data sets of a table."""

    title: str
    sets: tuple[str, ...]


def _each(form: str, tasks: Sequence[str], levels: Sequence[str]) -> tuple[str, ...]:
    return tuple(form.format(task, level) for task in tasks for level in levels)


MINARI = {  # names of data sets on Minari's server
    "mujoco-v5": Suite(
        "MuJoCo in Gymnasium's v5 environments",
        _each("mujoco/{}/{}-v0", ("halfcheetah", "hopper", "walker2d", "ant"), ("simple", "medium", "expert")),
    ),
    "adroit": Suite(
        "Adroit hand", _each("D4RL/{}/{}-v2", ("pen", "door", "hammer", "relocate"), ("human", "cloned", "expert"))
    ),
    "antmaze": Suite(
        "AntMaze",
        _each("D4RL/antmaze/{}{}-v1", ("umaze", "umaze-diverse", "medium-play", "medium-diverse", "large-play",
                                       "large-diverse"), ("",)),
    ),
    "kitchen": Suite("Franka kitchen", _each("D4RL/kitchen/{}{}-v2", ("complete", "partial", "mixed"), ("",))),
}  # fmt: skip
SUITES = (*MINARI, "bundled", "local")


def suite_of(name: str) -> Suite:
    """The data sets of a suite.

    Raises:
        UserError: the suite is unknown.
    """
    if name == "bundled":
        return Suite("Bundled data sets", tuple(bundled_names()))
    if name == "local":
        return Suite("Minari data sets of this machine", tuple(local_ids()))
    if name not in MINARI:
        raise unknown("suite", name, SUITES)
    return MINARI[name]


class Score(NamedTuple):
    """A cell of the table."""

    estimate: Estimate
    normalised: bool  # a normalised score; else a return, because no reference returns are known


class Table(NamedTuple):
    """The table of a suite."""

    title: str
    sets: list[str]
    algorithms: list[str]
    cells: dict[tuple[str, str], Score]  # by algorithm and data set; empty ones are missing
    logged: dict[str, Score]  # of the logs
    notes: list[str]
    record: Record  # of the first run, for the numbers of steps, seeds and episodes


def table_of(title: str, found: Tuning) -> Table:
    """The scores of a finished search.

    Args:
        title: what the data sets are.
        found: a search without a space: one trial for each algorithm and data set.

    Raises:
        UserError: a run cannot be read.
    """
    cells: dict[tuple[str, str], Score] = {}
    logged: dict[str, Score] = {}
    notes = []
    first = None
    for trial in found.trials:
        if trial.value is None:
            notes.append(f"{trial.data}, `{trial.algorithm}`: {trial.note}")
            continue
        record = read_run(found.path / trial.run)
        first = first or record
        cells[trial.algorithm, trial.data] = _score(record, trial)
        if record.logged is not None and trial.data not in logged:
            normalised = record.reference is not None
            value = float(record.score(record.logged)) if normalised else record.logged
            logged[trial.data] = Score(Estimate(value, None, None), normalised)
    assert first is not None, "a search without a value is refused"
    sets = list(dict.fromkeys(trial.data for trial in found.trials))
    names = list(dict.fromkeys(trial.algorithm for trial in found.trials))
    return Table(title, sets, names, cells, logged, notes, first)


def _score(record: Record, trial: Trial) -> Score:
    """The average over the seeds of a run with its 95 % interval over seeds and episodes."""
    returns = record.final(list(range(len(record.replicas))))
    values = returns if record.reference is None else np.asarray(record.score(returns))
    iqm = average_name(len(trial.seeds)) == "IQM"
    return Score(iqm_interval(values.mean(1)) if iqm else two_stage_interval(values), record.reference is not None)


def markdown(table: Table) -> str:
    """The table as a page, in the form of docs/results.md."""
    config = table.record.config
    seeds = len(table.record.seeds)
    episodes = table.record.returns.shape[2]
    average = average_name(seeds)
    lines = [f"# {table.title}", ""]
    lines += [
        f"{config['steps']:,} updates, {seeds} seeds, {episodes} episodes a policy. A number is the normalised score "
        f"of the last policies (0: random policy, 100: expert): the {average} over seeds with its 95 % bootstrap "
        "interval. If the reference returns are not known, it is the return, marked with r. The row `logged` is the "
        "score of the data. All settings are the published ones for the data set, see `holdfast algorithms NAME`; no "
        "policy is selected by its score. An empty cell means that the method is not for these actions.",
        "",
    ]
    lines += [f"| algorithm | {' | '.join(table.sets)} | mean |", "|---|" + "---:|" * (len(table.sets) + 1)]
    lines.append(_row("logged", [table.logged.get(data) for data in table.sets]))
    for name in table.algorithms:
        lines.append(_row(f"`{name}`", [table.cells.get((name, data)) for data in table.sets]))
    known = ", ".join(f"{name} {version}" for name, version in versions().items())
    lines += ["", f"Made with {known}.", *([""] if table.notes else []), *(f"- {note}" for note in table.notes)]
    return "\n".join(lines) + "\n"


def _row(label: str, scores: Sequence[Score | None]) -> str:
    """A row of the table; the last cell is the mean of the scores if all are normalised."""
    known = [one.estimate.value for one in scores if one is not None and one.normalised]
    mean = f"{np.mean(known):.1f}" if len(known) == len(scores) else ""
    return f"| {label} | {' | '.join('' if one is None else _text(one) for one in scores)} | {mean} |"


def _text(score: Score) -> str:
    return f"{'' if score.normalised else 'r '}{score.estimate}"


def write(table: Table, folder: Path) -> list[Path]:
    """Write `paper.md` and `paper.csv`.

    Raises:
        UserError: the disk is full or read-only.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(("algorithm", "data", "kind", "value", "low", "high"))
    every: Mapping[tuple[str, str], Score] = {("logged", data): one for data, one in table.logged.items()} | table.cells
    for (name, data), one in every.items():
        kind = "score" if one.normalised else "return"
        writer.writerow((name, data, kind, *("" if x is None else repr(float(x)) for x in one.estimate)))
    write_atomic(folder / "paper.csv", text.getvalue().encode())
    write_atomic(folder / "paper.md", markdown(table).encode())
    return [folder / "paper.md", folder / "paper.csv"]
