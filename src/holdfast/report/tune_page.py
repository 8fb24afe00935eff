"""A search for settings as one self-contained HTML page. Needs the extra `report`."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..evaluation.statistics import Estimate, mean_interval
from ..runs.trials import PRESET, Trial, full
from . import drawing, html
from .table import estimate_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HEADER = ("trial", "settings", "value [95 % interval]", "score", "against the preset", "steps", "state")
NOTE = (
    "Value: the average over seeds, with its 95 % interval over seeds and episodes, or over resamples of the log. "
    "Against the preset: the mean difference to the trial with the settings of the preset, paired by seed, with its "
    "95 % interval over seeds. The best of many trials is chosen by the value that the table shows, so it is too high: "
    "train its settings again with other seeds before you report it."
)
KINDS = {"return": "return of an episode", "estimate": "estimated return of an episode"}
MOST_ROWS = 200  # of a table in the page; trials.csv has all


class Part(NamedTuple):
    """The trials of one algorithm on one data set."""

    name: str
    algorithm: str
    data: str
    trials: list[Trial]
    logs: frozenset[str]  # settings that are drawn on a logarithmic axis


def parts_of(searches: Mapping[tuple[str, str], list[Trial]]) -> list[Part]:
    """Trials by algorithm and data set, without logarithmic axes."""
    return [Part(f"{one} on {data}", one, data, trials, frozenset()) for (one, data), trials in searches.items()]


def page(parts: Sequence[Part], by: str, sampler: str) -> str:
    """The HTML of the page.

    Args:
        parts: the searches.
        by: what is compared: return or estimate.
        sampler: who proposed the trials.

    Raises:
        UserError: the extra `report` is not installed.
    """
    shown: list[dict[str, Any]] = []
    for part in parts:
        rows = row_texts(part.trials)
        best = full(part.trials)
        charts = [
            (name, html.both(functools.partial(_scatter, part, name, by), f"{by} against {name} for {part.name}"))
            for name in (part.trials[0].values if len(best) > 1 else ())
            if all(isinstance(trial.values[name], int | float) for trial in best)
        ]
        progress = html.both(functools.partial(_progress, part, by), f"best {by} so far for {part.name}")
        shown.append({
            "name": f"{part.algorithm} on {part.data}", "rows": rows[:MOST_ROWS], "more": max(0, len(rows) - MOST_ROWS),
            "kinds": ["sum" if i == 0 and best else "" for i in range(len(rows[:MOST_ROWS]))],
            "charts": charts, "progress": progress if len(best) > 1 else None,
        })  # fmt: skip
    count = sum(len(part.trials) for part in parts)
    return html.render(
        "tune.html",
        title=f"{count} trials of {', '.join(dict.fromkeys(part.algorithm for part in parts))}",
        subtitle=f"sampler {sampler}, compared by {by}",
        verdicts=[_verdict(part) for part in parts],
        parts_shown=shown,
        header=HEADER,
        note=NOTE,
    )


def row_texts(trials: Sequence[Trial]) -> list[tuple[str, ...]]:
    """The cells below HEADER: the best trial first, those without a value last."""
    preset = _preset(trials)
    order = full(trials)
    order += sorted((one for one in trials if one not in order), key=lambda one: (-one.steps, one.number))
    return [
        (
            str(one.number),
            f"{'preset: ' if one.origin == PRESET else ''}{one.label}",
            "-" if one.estimate is None else estimate_text(one.estimate),
            "-" if one.score is None else f"{one.score:.1f}",
            "-" if preset is None or one is preset else _difference_text(one, preset),
            f"{one.steps:,}",
            f"{one.state}: {one.note}" if one.note else one.state,
        )
        for one in order
    ]


def _preset(trials: Sequence[Trial]) -> Trial | None:
    """The trial with the settings of the preset, if it has a value."""
    return next((one for one in full(trials) if one.origin == PRESET), None)


def _difference(one: Trial, preset: Trial) -> Estimate | None:
    """The mean difference to the preset, paired by seed; None if they cannot be compared."""
    if not one.each or len(one.each) != len(preset.each) or one.steps != preset.steps:
        return None
    return mean_interval(np.array(one.each) - np.array(preset.each))


def _difference_text(one: Trial, preset: Trial) -> str:
    found = _difference(one, preset)
    return "-" if found is None else estimate_text(found)


def _verdict(part: Part) -> html.Verdict:
    best = full(part.trials)
    where = f"{part.algorithm} on {part.data}"
    value = best[0].estimate if best else None
    if value is None:
        return html.Verdict(f"{where}: no trial has a value.", [], "bad")
    preset = _preset(part.trials)
    first = best[0]
    sentence = f"{where}: {first.label} is best, {estimate_text(value)}."
    before = None if preset is None else preset.estimate
    if preset is None or before is None or first.origin == PRESET:
        return html.Verdict(sentence, ["The preset is the best trial."] if first.origin == PRESET else [])
    lead = _difference(first, preset)
    details = [f"The preset ({preset.label}) has {estimate_text(before)}."]
    if lead is not None:
        details.append(f"The lead is {estimate_text(lead)}, before other seeds have confirmed it.")
    clear = lead is not None and lead.low is not None and lead.low > 0
    return html.Verdict(sentence, details, "good" if clear else "")


def _scatter(part: Part, name: str, by: str, size: drawing.Size) -> Figure:
    """The value of each trial against one setting."""
    drawn = drawing.figure(size)
    axes = drawn.add_subplot()
    found = full(part.trials)
    x = [float(trial.values[name]) for trial in found]
    _bars(axes, found, x, size)
    drawing.dress(axes, size, name, KINDS[by], steps=False)
    if name in part.logs:
        axes.set_xscale("log")
    return drawn


def _progress(part: Part, by: str, size: drawing.Size) -> Figure:
    """The value of each trial in the order of the search, and the best so far."""
    drawn = drawing.figure(size)
    axes = drawn.add_subplot()
    found = sorted(full(part.trials), key=lambda trial: trial.number)
    x = [float(trial.number) for trial in found]
    _bars(axes, found, x, size)
    best = np.maximum.accumulate([_value(trial) for trial in found])
    axes.step(x, best, where="post", color=drawing.COLOURS[1], linewidth=0.2 * size.text, label="best so far")
    drawing.dress(axes, size, "trial", KINDS[by])
    return drawn


def _bars(axes: Axes, trials: Sequence[Trial], x: Sequence[float], size: drawing.Size) -> None:
    """A dot with a bar for each trial; that of the preset is filled in another colour."""
    for trial, place in zip(trials, x, strict=True):
        colour = drawing.COLOURS[1 if trial.origin == PRESET else 0]
        if trial.low is not None and trial.high is not None:
            axes.plot([place, place], [trial.low, trial.high], color=colour, alpha=0.45, linewidth=0.12 * size.text)
        axes.plot([place], [_value(trial)], "o", color=colour, markersize=0.55 * size.text,
                  markeredgecolor=drawing.GROUND)  # fmt: skip


def _value(trial: Trial) -> float:
    """The value of a trial that has one."""
    return float("nan") if trial.value is None else trial.value


def lines_of(parts: Sequence[Part]) -> list[str]:
    """The verdicts, for the terminal."""
    return [_verdict(part).sentence for part in parts]
