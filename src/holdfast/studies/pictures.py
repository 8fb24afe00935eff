"""The parts that the pictures of several studies have in common: learning curves, metrics, axes, legends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from ..report.drawing import COLOURS, FAINT, LINE, short
from ..runs.read import Record

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw_curve(axis: Axes, run: Record, label: str, colour: str, style: str = "-") -> None:
    """Draw the learning curve of a run: a thin line for each seed, and their mean with its 95 % interval."""
    mean, low, high = run.over_seeds(list(range(len(run.replicas))))
    axis.fill_between(run.eval_steps, low, high, color=colour, alpha=0.15, linewidth=0)
    axis.plot(run.eval_steps, run.returns.mean(2).T, color=colour, alpha=0.3, linewidth=0.7, linestyle=style)
    axis.plot(run.eval_steps, mean, style, color=colour, linewidth=2.2, label=label)


def draw_curves(axis: Axes, runs: Mapping[str, Record], dashed: str = "") -> None:
    """Draw the learning curves of several runs, a colour for each; the run with the label `dashed` has dashes."""
    for (label, run), colour in zip(runs.items(), COLOURS, strict=False):
        draw_curve(axis, run, label, colour, "--" if label == dashed else "-")


def draw_metric(axis: Axes, run: Record, metric: str, colour: str, label: str = "") -> None:
    """Draw a metric over the run: a thin line for each seed, and their mean."""
    values = run.metrics[metric]
    reported = np.isfinite(values).any(0)
    steps = run.metric_steps[reported]
    values = values[:, reported]
    axis.plot(steps, values.T, color=colour, alpha=0.3, linewidth=0.7)
    axis.plot(steps, np.nanmean(values, 0), color=colour, linewidth=2, label=label)


def dress(axis: Axes, title: str, ylabel: str, xlabel: str = "environment steps") -> None:
    """Give the axes a title, labels and the style of the other pictures."""
    axis.set_title(title, loc="left", fontsize=10)
    axis.set_ylabel(ylabel)
    axis.set_xlabel(xlabel)
    axis.xaxis.set_major_formatter(lambda x, _: short(x))
    axis.grid(axis="y", color=LINE, linewidth=0.7)
    axis.set_axisbelow(True)
    axis.tick_params(colors=FAINT, length=0)
    for side in ("top", "right", "left"):
        axis.spines[side].set_visible(False)


def legend_below(figure: Figure, axis: Axes, columns: int, fontsize: float | None = None) -> None:
    """Put the legend of one panel below all panels."""
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False, fontsize=fontsize)
