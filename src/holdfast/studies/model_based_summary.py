"""What the study of learned models shows: sentences and the picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..report.drawing import COLOURS, FAINT
from .result import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PLACES = ("data", "model")
BELOW: dict[str, Any] = {
    "loc": "upper center", "bbox_to_anchor": (0.5, -0.1), "frameon": False, "fontsize": 7.5, "handlelength": 1,
    "columnspacing": 1,
}  # fmt: skip


class Scatter(NamedTuple):
    """Penalties and errors of n steps, of the first seed."""

    problem: str
    measure: str
    penalty: np.ndarray  # [n]
    error: np.ndarray  # [n]


class Bound(NamedTuple):
    """MOReL at one moment of its training."""

    problem: str
    seed: int
    step: int
    true: float  # return of the policy
    below: float  # its return in the pessimistic model


def mean(rows: list[Row], problem: str, learner: str, quantity: str) -> float:
    """The mean over seeds of a quantity."""
    return float(np.mean([float(r[4]) for r in rows if (r[0], r[1], r[3]) == (problem, learner, quantity)]))


def notes(rows: list[Row], bounds: list[Bound]) -> list[str]:
    """What the rows show, in sentences."""
    lines = []
    for problem in dict.fromkeys(str(row[0]) for row in rows):
        names = list(dict.fromkeys(str(r[3]) for r in rows if r[0] == problem and "rank" in str(r[3])))
        ranks = ", ".join(f"{n.partition(', ')[2]} {mean(rows, problem, 'model', n):.2f}" for n in names)
        lines.append(f"{problem}: rank correlation of penalty and true error: {ranks}.")
        parts = []
        for label in ("MOPO without penalty", "MOPO"):
            true, value = (mean(rows, problem, label, n) for n in ("true return", "value of the critic"))
            parts.append(f"{label} {true:.4g} (its critic: {value:.4g})")
        lines.append(f"{problem}: true return: {', '.join(parts)}.")
        own = [bound for bound in bounds if bound.problem == problem]
        held = sum(bound.below <= bound.true for bound in own)
        lines.append(f"{problem}: MOReL's pessimistic return is below the true one at {held} of {len(own)} points.")
        parts = []
        for label in ("COMBO", "CQL"):
            gaps = ", ".join(f"{at} {mean(rows, problem, label, f'underestimate, {at} states'):.4g}" for at in PLACES)
            parts.append(f"{label} {gaps}")
        lines.append(f"{problem}: true return minus value at states of data and model: {'; '.join(parts)}.")
    return lines


def draw(figure: Figure, rows: list[Row], scatters: list[Scatter], bounds: list[Bound]) -> None:
    """Draw a row of four panels for each problem."""
    figure.set_size_inches(15, 3.6 * len(scatters))
    panels = figure.subplots(len(scatters), 4, squeeze=False)
    for axes, scatter in zip(panels, scatters, strict=True):
        problem = scatter.problem
        draw_scatter(axes[0], scatter)
        draw_mopo(axes[1], rows, problem)
        draw_bounds(axes[2], [bound for bound in bounds if bound.problem == problem])
        draw_gaps(axes[3], rows, problem)
        axes[0].set_title(f"{problem}: penalty and error", loc="left", fontsize=10)


def draw_scatter(axis: Axes, scatter: Scatter) -> None:
    """Draw the error of each step over its penalty; the first half are logged steps."""
    half = len(scatter.error) // 2
    for part, label, colour in ((slice(half), "logged", COLOURS[0]), (slice(half, None), "uniform", COLOURS[1])):
        axis.scatter(
            scatter.penalty[part], scatter.error[part], s=5, alpha=0.4, linewidths=0, color=colour, label=label
        )
    for values, scale in ((scatter.penalty, axis.set_xscale), (scatter.error, axis.set_yscale)):
        if values.min() > 0 and values.max() > 10 * values.min():  # ticks of a log scale overlap in a shorter range
            scale("log")
    axis.set_xlabel(f"penalty: {scatter.measure}")
    axis.set_ylabel("true error of a step")
    axis.legend(frameon=False, fontsize=8, title="actions", title_fontsize=8, markerscale=3)


def draw_mopo(axis: Axes, rows: list[Row], problem: str) -> None:
    """Draw what MOPO's policy gets, and what model and critic promise, with and without penalty."""
    names = ("true return", "return in the model", "value of the critic")
    labels = ("MOPO without penalty", "MOPO")
    for i, name in enumerate(names):
        place = np.arange(2) + 0.26 * (i - 1)
        axis.bar(place, [mean(rows, problem, label, name) for label in labels], 0.24, color=COLOURS[i], label=name)
    axis.set_xticks(range(2), ["without penalty", "with penalty"])
    axis.axhline(0, color=FAINT, linewidth=0.8)
    axis.set_title("MOPO: discounted return", loc="left", fontsize=10)
    axis.legend(**BELOW, ncols=3)


def draw_bounds(axis: Axes, bounds: list[Bound]) -> None:
    """Draw MOReL's pessimistic return over the true one; points under the line are bounds from below."""
    true = np.array([bound.true for bound in bounds])
    below = np.array([bound.below for bound in bounds])
    axis.scatter(true, below, c=[bound.step for bound in bounds], cmap="viridis", s=28)
    ends = [min(true.min(), below.min()), max(true.max(), below.max())]
    axis.plot(ends, ends, color=FAINT, linewidth=0.8)
    axis.set_title("MOReL: lighter points are later", loc="left", fontsize=10)
    axis.set_xlabel("true return")
    axis.set_ylabel("return in the pessimistic model")


def draw_gaps(axis: Axes, rows: list[Row], problem: str) -> None:
    """Draw by how much COMBO's and CQL's values are below the true returns, at states of the data and the model."""
    for i, label in enumerate(("COMBO", "CQL")):
        gaps = [mean(rows, problem, label, f"underestimate, {at} states") for at in PLACES]
        axis.bar(np.arange(2) + 0.2 * (2 * i - 1), gaps, 0.36, color=COLOURS[i], label=label)
    axis.set_xticks(range(2), ["states of the data", "states of the model"])
    axis.axhline(0, color=FAINT, linewidth=0.8)
    axis.set_title("true return minus value of the critic", loc="left", fontsize=10)
    axis.set_ylabel("above 0 is conservative")
    axis.legend(**BELOW, ncols=2)
