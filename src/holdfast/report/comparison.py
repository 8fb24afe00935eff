"""The tables of a comparison: averages with intervals, differences, and the aggregates of Agarwal et al. 2021."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import numpy as np

from ..evaluation.aggregates import Profile, optimality_gap, performance_profile, probability_of_improvement
from ..evaluation.statistics import Estimate, average, average_name, difference, iqm_interval
from .entries import Entry, EstimatedEntry

THRESHOLDS = 61  # points of a performance profile


class Pair(NamedTuple):
    """One entry minus another of the same task."""

    one: Entry
    other: Entry
    difference: Estimate  # of the averages of the last returns
    paired: bool  # both have the same seeds, which are resampled together
    improvement: Estimate | None  # probability that a run of `one` is better; None if both have one run


class Line(NamedTuple):
    """One entry in the table."""

    entry: Entry
    average: Estimate  # of the last returns
    kind: str  # of average: "IQM" or "mean"
    score: float | None  # normalised
    against: Pair | None  # minus the reference of its task; None for the reference itself
    best: bool  # the highest average of its task


class Aggregate(NamedTuple):
    """One method over all tasks, in normalised scores."""

    label: str
    runs: int  # over all tasks
    average: Estimate
    kind: str  # of average: "IQM" or "mean"
    gap: Estimate  # optimality gap to a score of 100
    improvement: Estimate | None  # on the first method; None for itself
    profile: Profile


@dataclasses.dataclass(frozen=True, eq=False)
class ComparisonTables:
    """Entries of one or several tasks. The first entry of a task is its reference, which the others are compared with.

    The intervals are 95 % bootstrap intervals of each number alone: among 20 differences one is expected to look clear
    by chance.
    """

    entries: list[Entry]
    left_out: list[str]  # runs without an evaluation and without estimates, one line each
    estimated: list[EstimatedEntry] = dataclasses.field(default_factory=list)  # policies of runs without evaluations

    @property
    def tasks(self) -> dict[str, list[Entry]]:
        """The entries of each task, the reference first."""
        found: dict[str, list[Entry]] = {}
        for entry in self.entries:
            found.setdefault(entry.task, []).append(entry)
        first = self.entries[0].label if self.entries else ""
        return {task: sorted(entries, key=lambda entry: entry.label != first) for task, entries in found.items()}

    def lines(self) -> list[Line]:
        """The table: one line for each entry."""
        found = []
        for entries in self.tasks.values():
            averages = [average(entry.returns) for entry in entries]
            best = max(range(len(entries)), key=lambda i: averages[i].value)
            for i, entry in enumerate(entries):
                score = entry.record.score(averages[i].value)
                found.append(
                    Line(
                        entry,
                        averages[i],
                        average_name(len(entry.rows)),
                        None if score is None else float(score),
                        pair(entry, entries[0]) if i else None,
                        i == best and len(entries) > 1,
                    )
                )
        return found

    def pairs(self) -> list[Pair]:
        """Every entry minus every other entry of its task that comes before it."""
        return [pair(one, other) for entries in self.tasks.values() for i, one in enumerate(entries)
                for other in entries[:i]]  # fmt: skip

    def aggregates(self) -> list[Aggregate]:
        """Each method over all tasks; empty unless there are normalised scores and methods that have all tasks.

        A method is a label. It needs two runs, because a profile of one run says nothing.
        """
        tasks = self.tasks
        by_label: dict[str, dict[str, Entry]] = {}
        for entry in self.entries:
            by_label.setdefault(entry.label, {})[entry.task] = entry
        scores: dict[str, list[np.ndarray]] = {}
        for label, found in by_label.items():
            known = [found[task].scores for task in tasks if task in found]
            if len(known) == len(tasks) and all(x is not None for x in known):
                scores[label] = [x for x in known if x is not None]
        scores = {label: known for label, known in scores.items() if sum(map(len, known)) > 1}
        if len(scores) < 2:
            return []
        every = np.concatenate([x for known in scores.values() for x in known])
        thresholds = np.linspace(min(0.0, float(every.min())), max(100.0, float(every.max())), THRESHOLDS)
        first = next(iter(scores.values()))
        return [_aggregate(label, known, first, thresholds) for label, known in scores.items()]

    def rows(self) -> list[dict[str, Any]]:
        """The table as one dictionary for each entry, for a data frame or a CSV file."""
        return [*(_row(line) for line in self.lines()), *(one.row for one in self.estimated)]


def pair(one: Entry, other: Entry) -> Pair:
    """One entry minus another. Runs with the same seeds are resampled together."""
    paired = one.seeds == other.seeds
    means = [one.returns.mean(1), other.returns.mean(1)]
    improvement = None
    if min(map(len, means)) > 1:
        improvement = probability_of_improvement([means[0]], [means[1]])
    return Pair(one, other, difference(one.returns, other.returns, paired), paired, improvement)


def verdict(found: Estimate) -> str:
    """Whether a difference is clear: "higher", "lower" or "not clear"."""
    if found.low is None or found.high is None or found.low <= 0 <= found.high:
        return "not clear"
    return "higher" if found.low > 0 else "lower"


def _aggregate(label: str, scores: list[np.ndarray], first: list[np.ndarray], thresholds: np.ndarray) -> Aggregate:
    runs = sum(map(len, scores))
    kind = average_name(runs)
    found = iqm_interval(scores)  # leaves nothing out of fewer than four runs, so it is the mean then
    improvement = None if scores is first else probability_of_improvement(scores, first)
    return Aggregate(label, runs, found, kind, optimality_gap(scores), improvement,
                     performance_profile(scores, thresholds))  # fmt: skip


def _row(line: Line) -> dict[str, Any]:
    entry = line.entry
    against = line.against
    return {
        "task": entry.task,
        "entry": entry.label,
        "run": str(entry.record.path),
        "finished": entry.record.result is not None,
        "seeds": " ".join(map(str, entry.seeds)),
        "episodes": entry.returns.shape[1],
        "step": entry.step,
        "best": line.best,
        "average": line.kind,
        **_columns("return", line.average),
        "score": line.score,
        "reference": None if against is None else against.other.label,
        **_columns("difference", None if against is None else against.difference),
        "paired": None if against is None else against.paired,
        **_columns("improvement", None if against is None else against.improvement),
    }


def pair_row(found: Pair) -> dict[str, Any]:
    return {
        "task": found.one.task,
        "one": found.one.label,
        "other": found.other.label,
        **_columns("difference", found.difference),
        "paired": found.paired,
        **_columns("improvement", found.improvement),
    }


def _columns(name: str, found: Estimate | None) -> dict[str, float | None]:
    value = None if found is None else found.value
    low = None if found is None else found.low
    high = None if found is None else found.high
    return {name: value, f"{name}_low": low, f"{name}_high": high}
