"""A comparison as a picture and as a page."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..evaluation.statistics import Estimate
from . import drawing, html
from .comparison import Aggregate, ComparisonTables, Line, pair, verdict
from .curves import axis_of
from .entries import ESTIMATE_HEADER, Entry
from .table import estimate_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HEADER = ("entry", "average", "return [95 % interval]", "score", "difference [95 % interval]", "P(better)",
          "seeds", "step")  # fmt: skip
AGGREGATE_HEADER = ("method", "runs", "average", "score [95 % interval]", "optimality gap", "P(better)")
NOTE = (
    "Difference: the average of the entry minus the average of the first entry. Paired: both have the same seeds, "
    "which are resampled together. P(better): the probability that a run of the entry has a higher mean return than a "
    "run of the first entry. IQM: the mean without the lowest and the highest quarter of the seeds. With fewer than "
    "four seeds nothing can be left out, and the average is the mean. Each interval is for its number alone: among 20 "
    "differences one is expected to look clear by chance."
)
ESTIMATE_NOTE = (
    "These policies were not played: the values are estimates from logged data (holdfast ope), each with the estimator "
    "that its log supports best. Compare values of one estimator on one log only; holdfast select ranks policies on "
    "the same resamples."
)
AGGREGATE_NOTE = (
    "Over all tasks, in normalised scores, by the definitions of Agarwal et al. 2021 (arXiv:2108.13264) with "
    "stratified bootstrap intervals. Optimality gap: how far the scores fall short of 100; scores above 100 count as "
    "100. P(better): the probability that a run is better than a run of the first method, averaged over tasks."
)


def row_texts(line: Line) -> tuple[str, ...]:
    """The cells of an entry below HEADER."""
    against = line.against
    label = f"{'best: ' if line.best else ''}{line.entry.label}"
    finished = "" if line.entry.record.result is not None else ", not finished"
    return (
        label,
        line.kind,
        estimate_text(line.average),
        "-" if line.score is None else f"{line.score:.1f}",
        "-" if against is None else estimate_text(against.difference),
        "-" if against is None or against.improvement is None else _share(against.improvement),
        f"{len(line.entry.seeds)}{', paired' if against is not None and against.paired else ''}",
        f"{line.entry.step:,}{finished}",
    )


def aggregate_texts(found: Aggregate) -> tuple[str, ...]:
    """The cells of a method below AGGREGATE_HEADER."""
    return (
        found.label,
        str(found.runs),
        found.kind,
        estimate_text(found.average),
        estimate_text(found.gap),
        "-" if found.improvement is None else _share(found.improvement),
    )


def _share(found: Estimate) -> str:
    bounds = "" if found.low is None or found.high is None else f" [{found.low:.2f}, {found.high:.2f}]"
    return f"{found.value:.2f}{bounds}"


def page(comparison: ComparisonTables) -> str:
    """The HTML of the page.

    Raises:
        UserError: the extra `report` is not installed.
    """
    aggregates = comparison.aggregates()
    tasks = _tasks(comparison)
    for task in tasks:
        entries = task.pop("entries")
        name = task["name"]
        task["curves"] = html.both(functools.partial(_one, comparison, entries), f"learning curves on {name}")
        task["intervals"] = html.both(functools.partial(_intervals, comparison, entries), f"returns on {name}")
    labels = [entry.label for entry in comparison.entries] + [one.label for one in comparison.estimated]
    names = ", ".join(dict.fromkeys(labels))
    places = dict.fromkeys([*comparison.tasks, *(one.task for one in comparison.estimated)])
    return html.render(
        "compare.html",
        title=f"{len(comparison.entries) + len(comparison.estimated)} entries on {', '.join(places)}",
        subtitle=names,
        estimates=[one.cells for one in comparison.estimated],
        estimate_header=ESTIMATE_HEADER,
        estimate_note=ESTIMATE_NOTE,
        verdicts=[_verdict(task, entries) for task, entries in comparison.tasks.items()],
        tasks=tasks,
        header=HEADER,
        note=NOTE if tasks else "",
        aggregates=[aggregate_texts(found) for found in aggregates],
        aggregate_header=AGGREGATE_HEADER,
        aggregate_note=AGGREGATE_NOTE,
        profile=html.both(lambda size: _profile(aggregates, size), "performance profile") if aggregates else None,
        left_out=comparison.left_out,
    )


def tables(comparison: ComparisonTables) -> str:
    """The tables alone, as HTML for a notebook."""
    return html.render("tables.html", tasks=_tasks(comparison), header=HEADER)


def picture(comparison: ComparisonTables) -> Figure:
    """The learning curves of all entries with their 95 % intervals, a panel for each task.

    Raises:
        UserError: matplotlib is not installed.
    """
    tasks = comparison.tasks
    columns = min(3, len(tasks))
    rows = -(-len(tasks) // columns)
    width = drawing.PICTURE.width * (1 if columns == 1 else 0.7 * columns)
    size = drawing.Size(width, 300 * rows, drawing.PICTURE.text)
    drawn = drawing.figure(size)
    each = size._replace(width=width / columns)
    for i, (task, entries) in enumerate(tasks.items()):
        axes = drawn.add_subplot(rows, columns, i + 1)
        _curves(comparison, entries, axes, each)
        axes.set_title(drawing.plain(task), loc="left", fontsize=1.2 * size.text, color=drawing.INK)
    drawing.legend(drawn, size)
    return drawn


def _tasks(comparison: ComparisonTables) -> list[dict[str, Any]]:
    found = []
    lines = comparison.lines()
    for task, entries in comparison.tasks.items():
        some = [line for line in lines if line.entry.task == task]
        episodes = max(entry.returns.shape[1] for entry in entries)
        found.append({
            "name": task,
            "entries": entries,
            "rows": [row_texts(line) for line in some],
            "kinds": ["sum" if line.best else "" for line in some],
            "caption": "return of an episode: mean over seeds with its 95 % interval over seeds and episodes "
            f"({episodes} episodes an evaluation)",
        })  # fmt: skip
    return found


def _verdict(task: str, entries: Sequence[Entry]) -> html.Verdict:
    """Which entry has the highest average, and whether its lead is clear."""
    order = sorted(entries, key=lambda entry: -entry.record.average(entry.rows).value)
    if len(order) == 1:
        only = order[0]
        return html.Verdict(f"{task}: only {only.label}, {estimate_text(only.record.average(only.rows))}.", [])
    lead = pair(order[0], order[1])
    word = verdict(lead.difference)
    gap = estimate_text(lead.difference)
    clear = (
        f"beats {lead.other.label} by {gap}" if word == "higher" else f"leads {lead.other.label} by {gap}, not clear"
    )
    detail = (
        "These are the two highest averages of the last returns"
        f"{', with the same seeds resampled together' if lead.paired else ''}."
    )
    return html.Verdict(f"{task}: {lead.one.label} {clear}.", [detail], "good" if word == "higher" else "")


def _shades(comparison: ComparisonTables) -> dict[str, str]:
    """A colour for each label, the same on every task."""
    labels = list(dict.fromkeys(entry.label for entry in comparison.entries))
    return dict(zip(labels, drawing.colours(len(labels)), strict=True))


def _curves(comparison: ComparisonTables, entries: Sequence[Entry], axes: Axes, size: drawing.Size) -> None:
    shades = _shades(comparison)
    curves = [drawing.Curve(entry.label, *entry.record.curve(entry.rows)) for entry in entries]
    drawing.draw_curves(axes, curves, size, [shades[entry.label] for entry in entries])
    logged = next((entry.record.logged for entry in entries if entry.record.logged is not None), None)
    if logged is not None:
        drawing.draw_levels(axes, [drawing.Level("logging policy", logged, always=True)], size)
    axes.set_xlim(0, 1.02 * max(entry.step for entry in entries))
    units = dict.fromkeys(axis_of(entry.record) for entry in entries)
    drawing.dress(axes, size, " or ".join(units), "return of an episode")


def _one(comparison: ComparisonTables, entries: Sequence[Entry], size: drawing.Size) -> Figure:
    drawn = drawing.figure(size)
    _curves(comparison, entries, drawn.add_subplot(), size)
    drawing.legend(drawn, size)
    return drawn


def _intervals(comparison: ComparisonTables, entries: Sequence[Entry], size: drawing.Size) -> Figure:
    """The average of each entry as a dot with a bar."""
    shades = _shades(comparison)
    low = size._replace(height=60 + 4 * size.text * len(entries))
    drawn = drawing.figure(low)
    axes = drawn.add_subplot()
    for i, entry in enumerate(entries):
        found = entry.record.average(entry.rows)
        if found.low is not None and found.high is not None:
            axes.plot([found.low, found.high], [-i, -i], color=shades[entry.label], linewidth=0.35 * size.text)
        axes.plot([found.value], [-i], "o", color=shades[entry.label], markersize=0.7 * size.text,
                  markeredgecolor=drawing.GROUND)  # fmt: skip
        axes.annotate(drawing.plain(entry.label), (0, -i), (4, 0.75 * size.text), xycoords=("axes fraction", "data"),
                      textcoords="offset points", fontsize=0.95 * size.text, color=drawing.INK)  # fmt: skip
    axes.set_ylim(0.4 - len(entries), 0.9)
    axes.margins(x=0.08)
    drawing.dress(axes, low, "return of an episode", steps=False)
    axes.set_yticks([])
    axes.grid(axis="x", color=drawing.LINE, linewidth=0.08 * size.text)
    return drawn


def _profile(aggregates: Sequence[Aggregate], size: drawing.Size) -> Figure:
    drawn = drawing.figure(size)
    axes = drawn.add_subplot()
    curves = [
        drawing.Curve(found.label, found.profile.thresholds, found.profile.share, found.profile.low, found.profile.high)
        for found in aggregates
    ]
    drawing.draw_curves(axes, curves, size)
    drawing.dress(axes, size, "threshold: normalised score", "share of runs above it", steps=False)
    drawing.legend(drawn, size)
    return drawn


def lines_of(comparison: ComparisonTables) -> list[str]:
    """The verdicts, for the terminal."""
    return [_verdict(task, entries).sentence for task, entries in comparison.tasks.items()]
