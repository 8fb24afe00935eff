"""What the study `overestimation` found, in sentences and as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .pictures import legend_below

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# no term of their losses keeps these methods close to the data
UNCONSTRAINED = ("ddpg", "td3", "sac", "dqn", "qr_dqn", "ensemble_dqn", "rem", "discrete_sac")
MARGIN = 0.1  # a difference of less than this share of the true value does not count as overestimation
FREE_COLOUR = "#c8502d"
KEPT_COLOUR = "#1f5fa8"


class Point(NamedTuple):
    """An estimate and the true return: means over seeds and first observations, in units of raw rewards."""

    step: int
    estimate: float
    true: float
    low: float  # the smallest overestimate of a seed
    high: float  # the largest overestimate of a seed


Found = Mapping[tuple[str, str], Sequence[Point]]  # (problem, method) -> its points over the training
Levels = Mapping[str, float | None]  # problem -> value of the best policy within the data, if it is known


def notes(found: Found, levels: Levels) -> list[str]:
    """The paper's claim, and the estimates and returns at the end of each problem."""
    lines = [
        "The paper's claim: methods without a constraint to the data overestimate, batch-constrained methods do not. "
        "Observed:"
    ]
    for task, best in levels.items():
        ends = {name: points[-1] for (problem, name), points in found.items() if problem == task}
        if ends:
            lines += [_ends(task, ends, best), *_counts(task, ends, best)]
    return lines


def _parted(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """The unconstrained methods and the others."""
    free = [name for name in names if name in UNCONSTRAINED]
    return free, [name for name in names if name not in UNCONSTRAINED]


def _ends(task: str, ends: Mapping[str, Point], best: float | None) -> str:
    free, kept = (
        ", ".join(f"{name} {ends[name].estimate:.3g} ({ends[name].true:.3g})" for name in names) or "none"
        for names in _parted(list(ends))
    )
    limit = "" if best is None else f"; the value of the best policy within the data is {best:.3g}"
    return f"{task}: estimate (and true return) at the end, unconstrained: {free}; others: {kept}{limit}."


def _counts(task: str, ends: Mapping[str, Point], best: float | None) -> list[str]:
    """How many methods estimate more than the return of their policy, and more than the best value in the data."""
    limits = {"the return of the policy": {n: end.true + MARGIN * abs(end.true) for n, end in ends.items()}}
    if best is not None:
        limits["the value of the best policy within the data"] = dict.fromkeys(ends, best + MARGIN * abs(best))
    lines = []
    for limit, bounds in limits.items():
        parts = []
        for names, kind in zip(_parted(list(ends)), ("unconstrained methods", "others"), strict=True):
            over = [n for n in names if not ends[n].estimate <= bounds[n]]
            listed = f" ({', '.join(over)})" if over else ""
            parts.append(f"{len(over)} of {len(names)} {kind}{listed}")
        lines.append(f"{task}: the estimate is more than {MARGIN:.0%} above {limit} for {', '.join(parts)}.")
    return lines


def draw(figure: Figure, found: Found, levels: Levels) -> None:
    """Draw a row for each problem and a panel for each method.

    The line is the estimate, the dashes are the true return, grey is the best value within the data.
    """
    rows = {task: [name for problem, name in found if problem == task] for task in levels}
    rows = {task: names for task, names in rows.items() if names}
    width = max(map(len, rows.values()))
    figure.set_size_inches(1.5 + 1.55 * width, 0.7 + 1.75 * len(rows))
    axes = figure.subplots(len(rows), width, squeeze=False)
    for line, (task, names) in enumerate(rows.items()):
        for axis in axes[line, len(names) :]:
            axis.set_visible(False)
        scale, low, high = _range([p for name in names for p in found[task, name]], levels[task])
        for axis, name in zip(axes[line], names, strict=False):
            _panel(axis, name, found[task, name], levels[task])
            _scale(axis, scale, low, high)
            if axis is not axes[line, 0]:
                axis.tick_params(labelleft=False)
        axes[line, 0].set_ylabel(task, fontsize=8)
    legend_below(figure, axes[0, 0], 2, 8)


def _range(points: Sequence[Point], best: float | None) -> tuple[float, float, float]:
    """The scale below which the axis is linear, and the limits of the axis."""
    finite = [v for p in points for v in (p.estimate, p.true) if np.isfinite(v)]
    size = best or float(np.median([abs(p.true) for p in points if np.isfinite(p.true)]))
    scale = float(f"{max(1.0, abs(size)):.0e}")
    top = max(finite)
    return scale, min(finite) - scale, top * (1.5 if top > 2 * scale else 1) + scale


def _panel(axis: Axes, name: str, points: Sequence[Point], best: float | None) -> None:
    steps = [p.step for p in points]
    colour = FREE_COLOUR if name in UNCONSTRAINED else KEPT_COLOUR
    axis.plot(steps, [p.estimate for p in points], color=colour, marker=".", markersize=3, label="estimate")
    axis.plot(steps, [p.true for p in points], "--", color="#22272e", linewidth=1, label="true return")
    if best is not None:
        axis.axhline(best, color="#9aa3ad", linewidth=0.8, zorder=1)
    axis.set_title(name, fontsize=8, color=colour)


def _scale(axis: Axes, scale: float, low: float, high: float) -> None:
    ticks = [sign * scale * 10.0**k for k in range(8) for sign in (-1, 1)]
    axis.set_yscale("symlog", linthresh=2 * scale)
    axis.set_ylim(low, high)
    axis.set_yticks([0.0, *(t for t in ticks if low < t < high)])
    axis.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.tick_params(labelsize=6)
    axis.minorticks_off()
