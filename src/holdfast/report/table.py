"""The results of a run as a table for the terminal: logged returns, learned returns, speed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..evaluation.statistics import Estimate, average_name, mean_interval, two_stage_interval
from ..runs.groups import Group
from ..runs.read import Record
from .curves import axis_of

if TYPE_CHECKING:
    from rich.console import Group as Shown
    from rich.table import Table


HEADER = ("policy", "return", "95 % interval", "score")
BEST = "best: "  # before the label of the best setting of a sweep


def results_table(record: Record, logged: Estimate | None = None) -> Shown:
    """The table of a run.

    It has the logged return, the last return of each replica with its 95 % bootstrap interval, the normalised scores,
    and the average over the seeds of each setting: the interquartile mean (IQM) from four seeds, else the mean. The
    best setting of a sweep is marked. There is no average over settings.

    Args:
        record: the run.
        logged: mean return of the data set with its interval; None: the mean in the run's `result.json`.
    """
    from rich.console import Group as Shown
    from rich.text import Text

    table = table_of(HEADER, [])
    for section in rows(record, logged):
        for cells in section:
            table.add_row(*map(Text, cells), style="bold" if is_average(cells[0]) else None)
        table.add_section()
    note = [Text(BEST_NOTE, style="dim")] if len(record.groups) > 1 and len(record.eval_steps) else []
    return Shown(Text(record.title, style="bold"), table, *note, Text(speed(record)))


BEST_NOTE = "The best setting is chosen by these returns, so its own return is too high if there are many settings."


def table_of(header: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> Table:
    """A table for the terminal that folds long names and cuts none.

    Args:
        header: names of the columns.
        rows: the cells, plain text.
        left: number of columns with names, at the left; the others have numbers.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for i, column in enumerate(header):
        words = [word for text in (column, *(cells[i] for cells in rows)) for word in text.split()]
        whole = max(map(len, words), default=0)  # no number is broken; names are, if the terminal is narrow
        justify: Literal["left", "right"] = "left" if i < left else "right"
        table.add_column(column, justify=justify, overflow="fold", min_width=None if i < left else whole)
    for cells in rows:
        table.add_row(*map(Text, cells))
    return table


def rows(record: Record, logged: Estimate | None = None) -> list[list[tuple[str, str, str, str]]]:
    """The cells below HEADER, in sections; the arguments are those of `results_table`."""
    if logged is None and record.logged is not None:
        logged = Estimate(record.logged, None, None)
    sections = [] if logged is None else [[_row(record, "logging policy", logged)]]
    if not len(record.eval_steps):
        return sections
    groups = record.groups
    best = record.best if len(groups) > 1 else None
    for group in groups:
        final = zip(group.rows, record.final(group.rows), strict=True)
        section = [_row(record, record.replicas[i], mean_interval(returns)) for i, returns in final]
        if len(group.rows) > 1:
            section.append(_row(record, average_label(group, group == best), record.average(group.rows)))
        elif group == best:
            section = [(BEST + section[0][0], *section[0][1:])]
        sections.append(section)
    asked = _asked(record)
    return [*sections, *([asked] if asked else []), *_switches(record)]


def _asked(record: Record) -> list[tuple[str, str, str, str]]:
    """A row for each return that the policies were asked for, with the mean return that they reached."""
    found = (record.result or {}).get("targets", [])
    return [
        _row(record, f"asked for {number(one['target'])}", two_stage_interval(np.asarray(one["returns"])))
        for one in found
    ]


def average_label(group: Group, best: bool = False) -> str:
    """Label of the average over the seeds of a setting: `best: mean over 3 seeds, expectile 0.9`."""
    setting = f", {group.label}" if group.label else ""
    return f"{BEST if best else ''}{average_name(len(group.rows))} over {len(group.rows)} seeds{setting}"


def is_average(label: str) -> bool:
    """Whether a label belongs to an average over seeds, or to the best setting."""
    return label.startswith((BEST, "IQM over", "mean over"))


def _switches(record: Record) -> list[list[tuple[str, str, str, str]]]:
    """What the switch to online learning did to the returns, of a fine-tuning run: one section for each setting."""
    result = record.result or {}
    if result.get("finetune"):
        return [_switched(record, result["finetune"])]
    entries = [entry for entry in result.get("by_setting", []) if entry.get("finetune")]
    return [_switched(record, entry["finetune"], f", {entry['label']}") for entry in entries]


def _switched(record: Record, found: dict[str, Any], setting: str = "") -> list[tuple[str, str, str, str]]:
    """The returns of one setting before and after the switch, over its replicas.

    Args:
        record: the run.
        found: what `training.handover.summary` returned.
        setting: end of the labels, `, alpha 2.5`; empty if nothing was swept.
    """
    lowest = f"lowest after it (step {found['lowest_step']:,})"
    names = {"before the first online step": "return_before", lowest: "return_lowest", "at the end": "return_end"}
    intervals = found.get("intervals", {})  # empty if there is one replica
    values = {name: Estimate(found[name], *intervals.get(name, (None, None))) for name in (*names.values(), "regret")}
    rows = [_row(record, label + setting, values[name]) for label, name in names.items()]
    regret = _row(record, f"mean shortfall from the best (regret){setting}", values["regret"])
    return [*rows, (*regret[:3], "-")]


def speed(record: Record) -> str:
    """One line with the steps, the speed and the times of a run."""
    result = record.result
    if result is None:
        return "the run is not finished"
    count = len(record.replicas)
    updates = result.get("updates_per_second")
    rate = f"{updates:,.0f} updates/s" if updates else "no updates"
    together = f" ({count} runs in one program)" if count > 1 else ""
    times = f"compiled in {result['compile_seconds']:.1f} s, {result['wall_seconds']:.0f} s in all"
    unit = axis_of(record).rpartition("then ")[2]
    return f"{result['steps']:,} {unit} each, {rate}{together}, {times}"


def number(value: float | None) -> str:
    """The text of a return or a score: one decimal, or three digits below 10."""
    if value is None:
        return "-"
    return f"{value:,.1f}" if abs(value) >= 10 or value == 0 else f"{value:.3g}"


def interval_text(estimate: Estimate) -> str:
    """The bounds of an interval: `561 to 782`."""
    return "-" if estimate.low is None else f"{number(estimate.low)} to {number(estimate.high)}"


def estimate_text(estimate: Estimate) -> str:
    """A value with its interval: `687 [561, 782]`."""
    bounds = "" if estimate.low is None else f" [{number(estimate.low)}, {number(estimate.high)}]"
    return number(estimate.value) + bounds


def _row(record: Record, label: str, estimate: Estimate) -> tuple[str, str, str, str]:
    score: Any = record.score(estimate.value)
    return label, number(estimate.value), interval_text(estimate), "-" if score is None else f"{float(score):.1f}"
