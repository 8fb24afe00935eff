"""The results of a run as a table for the terminal: logged returns, learned returns, speed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..evaluation.statistics import Estimate, iqm_name, mean_interval
from ..runs.read import Group, Record
from .curves import axis_of

if TYPE_CHECKING:
    from rich.console import Group as Shown


def results_table(record: Record, logged: Estimate | None = None) -> Shown:
    """The table of a run.

    It has the logged return, the last return of each replica with its 95 % bootstrap interval, the normalised scores,
    and the interquartile mean (IQM) over seeds. Of fewer than four seeds it is the mean, and is called so.

    Args:
        record: the run.
        logged: mean return of the data set with its interval; None: the mean in the run's `result.json`.
    """
    from rich import box
    from rich.console import Group as Shown
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD)
    for column in HEADER:
        table.add_column(column, justify="left" if column == HEADER[0] else "right")
    for section in rows(record, logged):
        for cells in section:
            table.add_row(*cells, style="bold" if cells[0].startswith(SUMMARY) else None)
        table.add_section()
    return Shown(Text(record.title, style="bold"), table, Text(speed(record)))


HEADER = ("policy", "return", "95 % interval", "score")
SUMMARY = ("IQM over", "mean over")  # beginnings of the label of a row over several seeds


def rows(record: Record, logged: Estimate | None = None) -> list[list[tuple[str, str, str, str]]]:
    """The cells below HEADER, in sections; the arguments are those of `results_table`."""
    if logged is None and record.logged is not None:
        logged = Estimate(record.logged, None, None)
    sections = [] if logged is None else [[_row(record, "logging policy", logged)]]
    if not len(record.eval_steps):
        return sections
    for group in record.groups:
        final = zip(group.rows, record.final(group.rows), strict=True)
        section = [_row(record, record.replicas[i], mean_interval(returns)) for i, returns in final]
        if len(group.rows) > 1:
            count = len(group.rows)
            label = f"{iqm_name(count)} over {count} seeds{_of(group)}"
            section.append(_row(record, label, record.iqm(group.rows)))
        sections.append(section)
    switched = (record.result or {}).get("finetune")
    return [*sections, _switched(record, switched)] if switched else sections


def _switched(record: Record, found: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    """The returns before and after the switch to online learning, over all replicas."""
    lowest = f"lowest after it (step {found['lowest_step']:,})"
    names = {"before the first online step": "return_before", lowest: "return_lowest", "at the end": "return_end"}
    intervals = found.get("intervals", {})  # empty if there is one replica
    values = {name: Estimate(found[name], *intervals.get(name, (None, None))) for name in (*names.values(), "regret")}
    rows = [_row(record, label, values[name]) for label, name in names.items()]
    regret = _row(record, "mean shortfall from the best (regret)", values["regret"])
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


def _row(record: Record, label: str, estimate: Estimate) -> tuple[str, str, str, str]:
    score: Any = record.score(estimate.value)
    interval = "-" if estimate.low is None else f"{number(estimate.low)} to {number(estimate.high)}"
    return label, number(estimate.value), interval, "-" if score is None else f"{float(score):.1f}"


def _of(group: Group) -> str:
    return f", {group.label}" if group.label else ""
