"""The comparison tables of COMBO and of UWAC, with our scores next to the published ones.

The tables of Yu et al. 2021 (arXiv:2102.08363) and Wu et al. 2021 (arXiv:2105.08140) have a row for each kind of data
and robot of D4RL (version 0), and a column for each method. Here a row is trained if there is a log for it: by default
the logs of `zoo/` that are on this machine. The published scores are in `comparison.csv`, each with its source.

The logs, the robots and, in the quick form, the numbers of updates are not those of the papers. A score may be compared
with the others of its row, not with the published score.
"""

from __future__ import annotations

import csv
import dataclasses
import sys
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..algorithms import registry
from ..core import config
from ..core.errors import Diverged, UserError, unknown
from ..data.references import reference_for
from ..data.sources import load_dataset
from ..data.sources.minari import local_ids
from ..evaluation.model_quality import rank_correlation
from ..evaluation.scores import normalized
from ..evaluation.statistics import Estimate
from ..report.drawing import COLOURS, FAINT
from ..runs import presets
from ..runs.presets import TUNED
from . import base, pictures, runs
from .result import Result, Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

METHODS = {
    "BC": "bc", "COMBO": "combo", "MOPO": "mopo", "MOReL": "morel", "CQL": "cql", "SAC-off": "sac", "BEAR": "bear",
    "BRAC-p": "brac_p", "BRAC-v": "brac_v", "UWAC": "uwac", "AWR": "awr", "BCQ": "bcq",
}  # fmt: skip
DISCRETE = "REM"  # a column of UWAC's table; our `rem` takes discrete actions only, so it has no score here
LOGS = {
    "halfcheetah-medium": "zoo/halfcheetah-medium-v0",
    "halfcheetah-medium-expert": "zoo/halfcheetah-medium-expert-v0",
    "hopper-medium": "zoo/hopper-medium-v0",
    "walker2d-medium-replay": "zoo/walker2d-mixed-v0",
}
HEADER = ("table", "data", "method", "ours", "low", "high", "published", "its deviation")
TABLES = ("COMBO", "UWAC")


@dataclasses.dataclass(frozen=True)
class Args:
    """Train the methods of COMBO's and UWAC's tables on the logs at hand, and compare with the published scores."""

    paper: bool = False
    """Use the papers' size: published settings and 1 000 000 updates, 3 seeds; months on two cores."""
    logs: tuple[str, ...] = ()
    """Logs as TASK=LOG, for example hopper-random=hopper_random-v2.hdf5. Default: the logs of zoo/ on this machine."""
    methods: tuple[str, ...] = ()
    """Columns of the tables. Default: all."""
    steps: int | None = None
    """Updates of each method. Default: 2 000."""
    seeds: int | None = None
    """Number of seeds. Default: 1."""
    seed: int = 0
    """The first seed."""
    hidden: tuple[int, ...] | None = None
    """Widths of the hidden layers of all networks. Default: 64 64; with --paper the published ones."""
    episodes: int | None = None
    """Episodes of the evaluation of each seed. Default: 3."""
    runs: Path = Path("studies/runs/comparison")
    """Folder of the runs, TASK/METHOD. Finished runs are read, interrupted runs are resumed."""


QUICK = base.Size(steps=2_000, seeds=1, hidden=(64, 64), evaluations=1, episodes=3)
PAPER = base.Size(steps=1_000_000, seeds=3, hidden=(), evaluations=20, episodes=10)


class Published(NamedTuple):
    """A published score."""

    table: str
    task: str
    method: str
    score: float
    std: float | None
    source: str


class Ours(NamedTuple):
    """Our score of a method on a log."""

    value: float
    low: float | None  # of its 95 % interval
    high: float | None


Scores = dict[tuple[str, str], Ours]  # (task, method) -> score


def published() -> list[Published]:
    """The published scores of both tables."""
    text = resources.files("holdfast.studies").joinpath("comparison.csv").read_text(encoding="utf-8")

    def one(row: Mapping[str, str]) -> Published:
        std = float(row["std"]) if row["std"] else None
        return Published(row["table"], row["task"], row["method"], float(row["score"]), std, row["source"])

    return [one(row) for row in csv.DictReader(text.splitlines())]


def logs_of(args: Args) -> dict[str, str]:
    """The log of each task.

    Raises:
        UserError: a text that is not TASK=LOG, an unknown task, or no log at all.
    """
    if not args.logs:
        there = local_ids()
        found = {task: log for task, log in LOGS.items() if log in there}
        if not found:
            raise UserError(
                f"none of {', '.join(LOGS.values())} is on this machine: name logs with --logs TASK=LOG, or set "
                "MINARI_DATASETS_PATH"
            )
        return found
    known = {row.task for row in published()}
    found = {}
    for text in args.logs:
        task, equals, log = text.partition("=")
        if not equals or not log:
            raise UserError(f"--logs {text}: expected TASK=LOG, for example hopper-medium=zoo/hopper-medium-v0")
        if task not in known:
            raise unknown("task of the tables", task, known)
        found[task] = log
    return found


def arm(method: str, task: str, size: base.Size, paper: bool) -> runs.Arm:
    """The learner of a cell: with `paper` its published settings, else the preset for short logs, made shorter."""
    name = METHODS[method]
    algorithm = registry.get(name)
    preset = presets.published(algorithm, task, None) if paper else runs.preset_of(name, TUNED)
    preset = preset or presets.published(algorithm, task, None)
    values = config.to_dict(algorithm.presets[preset].config)
    stages = size.steps if not paper else None
    return runs.Arm(method, name, runs.shortened(values, stages, size.hidden), preset)


def trained(task: str, log: str, method: str, size: base.Size, args: Args) -> Ours | None:
    """The score of a cell, from its finished run; None if the run diverged."""
    learner = arm(method, task, size, args.paper)
    try:
        record = runs.learn(learner, args.runs / task / method, size, data=log)
    except Diverged as error:
        sys.stderr.write(f"{task}, {method}: {error}\n")
        return None
    found: Estimate = record.average(list(range(len(record.replicas))))
    reference = reference_for(task)
    assert reference is not None
    low, high = (None if x is None else float(normalized(x, reference)) for x in (found.low, found.high))
    return Ours(float(normalized(found.value, reference)), low, high)


def run(args: Args | None = None) -> Result:
    """Run the whole study. Every cell that is finished is read; the table is the same after an interruption.

    Raises:
        UserError: a number is out of range, an unknown task or method, a log that cannot be read, or a folder that
            contains runs with other settings.
    """
    args = Args() if args is None else args
    wide = args.hidden is None or min(args.hidden, default=0) > 0
    size = base.size_of(args, QUICK, PAPER, [] if wide else ["hidden is empty or not positive, expected widths"])
    for method in args.methods:
        if method not in METHODS:
            raise unknown("method of the tables", method, METHODS)
    methods = args.methods or tuple(METHODS)
    logs = logs_of(args)
    logged = {}
    for task, log in logs.items():
        reference = reference_for(task)
        assert reference is not None  # every task of the tables is one of D4RL's
        logged[task] = float(normalized(load_dataset(log).returns().mean(), reference))
    scores: Scores = {}
    for task, log in logs.items():
        for method in methods:
            sys.stderr.write(f"{task}: {method}\n")
            found = trained(task, log, method, size, args)
            if found is not None:
                scores[task, method] = found
    return result_of(args, size, logs, logged, scores)


def result_of(
    args: Args, size: base.Size, logs: Mapping[str, str], logged: Mapping[str, float], scores: Scores
) -> Result:
    """The result of the study.

    Args:
        args: the flags.
        size: the size.
        logs: the log of each task.
        logged: its mean return as a score.
        scores: our scores.
    """
    settings: dict[str, Any] = {**dataclasses.asdict(size), "paper": args.paper, "logs": dict(logs)}
    theirs = [row for row in published() if row.task in logs]
    return Result(
        "comparison",
        "The tables of COMBO and UWAC: our scores and the published ones",
        {**settings, "runs": str(args.runs), "sources": sorted({row.source for row in theirs})},
        HEADER,
        rows_of(theirs, scores),
        notes(theirs, logged, scores),
        lambda figure: draw(figure, theirs, scores),
    )


def rows_of(theirs: list[Published], scores: Scores) -> list[Row]:
    """A row for each cell: our score with its interval, and the published one; empty texts for what is not known."""
    rows: list[Row] = []
    for row in theirs:
        own = scores.get((row.task, row.method))
        found = ("", "", "") if own is None else ("" if x is None else x for x in own)
        rows.append((row.table, row.task, row.method, *found, row.score, "" if row.std is None else row.std))
    return rows


def wide(table: str, theirs: list[Published], logged: Mapping[str, float], scores: Scores) -> list[str]:
    """The table as lines of text: two for each kind of data and robot, a column for each method."""
    own = [row for row in theirs if row.table == table]
    methods = list(dict.fromkeys(row.method for row in own))
    lines = [line(f"Table of {table}", "", ["log", *methods])]
    for task in dict.fromkeys(row.task for row in own):
        given = {row.method: row.score for row in own if row.task == task}
        ours = [scores[task, m].value if (task, m) in scores else None for m in methods]
        lines.append(line(task, "ours", [text(x) for x in (logged[task], *ours)]))
        lines.append(line("", "paper", ["", *(text(given.get(m)) for m in methods)]))
    return lines


def line(first: str, second: str, cells: Sequence[str]) -> str:
    """A line of a table with columns of fixed widths."""
    return f"{first:<26}{second:<6}" + "".join(f"{cell:>8}" for cell in cells)


def text(score: float | None) -> str:
    """A score with one decimal."""
    return "-" if score is None else f"{score:.1f}"


def pairs(theirs: list[Published], scores: Scores, table: str) -> list[tuple[Published, float]]:
    """The cells of a table that have both scores, with ours."""
    own = [row for row in theirs if row.table == table and (row.task, row.method) in scores]
    return [(row, scores[row.task, row.method].value) for row in own]


def notes(theirs: list[Published], logged: Mapping[str, float], scores: Scores) -> list[str]:
    """Both tables, and what they show in sentences."""
    lines = ["Logs and robots are not those of the papers: compare a score with its row, not with the published one."]
    for table in TABLES:
        cells = pairs(theirs, scores, table)
        if not cells:
            continue
        lines += wide(table, theirs, logged, scores)
        each: dict[str, list[tuple[float, float]]] = {}
        for row, own in cells:
            each.setdefault(row.task, []).append((row.score, own))
        ranks = [f"{task} {correlation(found):.2f}" for task, found in each.items() if len(found) > 2]
        words = f"; rank correlation of the methods within a row: {', '.join(ranks)}" if ranks else ""
        lines.append(f"{table}: {len(cells)} cells have both scores{words}.")
    return lines


def correlation(found: list[tuple[float, float]]) -> float:
    """Rank correlation of pairs; NaN if one side is constant."""
    both = np.array(found)
    return rank_correlation(both[:, 0], both[:, 1])


def draw(figure: Figure, theirs: list[Published], scores: Scores) -> None:
    """Draw our score over the published one, one point for each cell, a panel for each table."""
    figure.set_size_inches(11, 5)
    for axis, table in zip(figure.subplots(1, 2), TABLES, strict=True):
        draw_table(axis, pairs(theirs, scores, table))
        pictures.dress(axis, f"table of {table}: normalised scores", "ours", "published")
    pictures.legend_below(figure, figure.axes[0], 2, 8)


def draw_table(axis: Axes, cells: list[tuple[Published, float]]) -> None:
    """Draw the points of one table, with the names of the methods."""
    for task, colour in zip(dict.fromkeys(row.task for row, _ in cells), COLOURS, strict=False):
        own = [(row.score, score, row.method) for row, score in cells if row.task == task]
        axis.scatter([x for x, _, _ in own], [y for _, y, _ in own], color=colour, s=22, label=task)
        for x, y, method in own:
            axis.annotate(method, (x, y), (3, 2), textcoords="offset points", fontsize=6, color=colour)
    ends = [x for row, score in cells for x in (row.score, score)]
    if ends:
        axis.plot([min(ends), max(ends)], [min(ends), max(ends)], color=FAINT, linewidth=0.8)
