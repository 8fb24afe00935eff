"""The returns that policies reach against those that they are asked for, as a picture. Needs the extra `report`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..core.files import write_atomic
from ..evaluation.evaluate import Evaluation
from ..evaluation.statistics import two_stage_interval
from ..runs.read import Record
from .drawing import COLOURS, FAINT, PICTURE, Curve, Level, Size, draw_curves, draw_levels, dress, figure, png

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def write_asked(found: Evaluation, path: str | Path) -> Path:
    """Draw an evaluation with several targets and write the picture as a PNG file, atomically.

    Args:
        found: the evaluation.
        path: path of the picture.

    Raises:
        UserError: matplotlib is not installed, or the file cannot be written.
    """
    assert found.targets is not None
    targets = list(dict.fromkeys(found.targets.tolist()))
    reached = [found.returns[found.targets == target] for target in targets]
    write_atomic(Path(path), png(draw(targets, reached)))
    return Path(path)


def draw_record(record: Record, size: Size = PICTURE) -> Figure:
    """Draw the targets of a finished run, see `draw`."""
    found = (record.result or {}).get("targets", [])
    logged = [] if record.logged is None else [Level("logging policy", record.logged, always=True)]
    return draw([one["target"] for one in found], [np.asarray(one["returns"]) for one in found], logged, size)


def draw(
    targets: Sequence[float], reached: Sequence[np.ndarray], levels: Sequence[Level] = (), size: Size = PICTURE
) -> Figure:
    """Draw reached against asked return, with the line on which both are equal.

    Args:
        targets: raw returns that were asked for, G.
        reached: returns of the episodes, [R, E] for each target.
        levels: returns to compare with.
        size: size of the drawing.

    Raises:
        UserError: matplotlib is not installed.
    """
    drawn = figure(size)
    axes = drawn.add_subplot()
    draw_line(axes, targets, reached, "", size, COLOURS[0])
    draw_levels(axes, levels, size)
    draw_equal(axes, targets, size)
    dress(axes, size, "return asked for", "return reached", steps=False)
    return drawn


def draw_line(
    axes: Axes, targets: Sequence[float], reached: Sequence[np.ndarray], label: str, size: Size, colour: str
) -> None:
    """Draw the mean reached return of each target with its 95 % interval over seeds and episodes."""
    order = np.argsort(targets)
    found = [two_stage_interval(reached[i]) for i in order]
    mean = np.array([one.value for one in found])
    low = np.array([one.value if one.low is None else one.low for one in found])
    high = np.array([one.value if one.high is None else one.high for one in found])
    each = np.stack([reached[i].mean(1) for i in order], 1) if len(reached[0]) > 1 else None
    draw_curves(axes, [Curve(label, np.asarray(targets)[order], mean, low, high, each)], size, [colour])


def draw_equal(axes: Axes, targets: Sequence[float], size: Size) -> None:
    """Draw the line on which the reached return is the one that was asked for."""
    ends = [min(targets), max(targets)]
    axes.plot(ends, ends, color=FAINT, linewidth=0.12 * size.text, linestyle=":", zorder=1.5)
    axes.annotate("reached = asked", (ends[1], ends[1]), (-4, 4), textcoords="offset points", ha="right",
                  fontsize=0.94 * size.text, color=FAINT)  # fmt: skip
