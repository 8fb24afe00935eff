"""The learning curve of a run as a picture, `curve.png`. Needs matplotlib (the extra `report`)."""

from __future__ import annotations

import functools
import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..core.errors import UserError, printable
from ..core.files import write_atomic
from ..data.scores import normalized, raw
from ..runs.read import Record, read_run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#1f5fa8", "#c8502d", "#2f8f5b", "#8a4fa3", "#b58a12", "#3aa0b4", "#a83264", "#5a6b7b")
INK = "#22272e"
FAINT = "#6b7480"
LINE = "#d9dee4"


def write_curve(run: str | Path | Record, path: str | Path | None = None) -> Path:
    """Draw the evaluation returns of a run and write the picture as a PNG file.

    The file is written atomically.

    Args:
        run: the run's folder, or its record.
        path: path of the picture; None: `curve.png` in the run's folder.

    Returns:
        The path of the picture.

    Raises:
        UserError: `run` is not a run folder or contains no evaluation, matplotlib is not installed, or the file cannot
            be written.
    """
    record = run if isinstance(run, Record) else read_run(run)
    path = record.path / "curve.png" if path is None else Path(path)
    write_atomic(path, png(draw(record), dpi=160))
    return path


def draw(record: Record) -> Figure:
    """Draw a thin line for each seed, a thick line for their mean with its 95 % interval, and reference returns.

    Each swept value has its own colour. If reference returns are known, the axis on the right shows normalised scores.

    Raises:
        UserError: the run contains no evaluation, or matplotlib is not installed.
    """
    if not len(record.eval_steps):
        raise UserError(f"{record.path} contains no evaluation to draw: train with an environment (--env)")
    try:
        from matplotlib.figure import Figure  # not pyplot, which opens windows and shares state
        from matplotlib.layout_engine import ConstrainedLayoutEngine
        from matplotlib.ticker import FuncFormatter, MaxNLocator
    except ImportError:
        raise UserError("pictures need matplotlib: pip install 'holdfast-rl[report]'") from None

    figure = Figure(figsize=(8, 4.8), layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12))
    axes = figure.add_subplot()
    _curves(axes, record)
    _levels(axes, record)
    for name, start in record.phases[1:]:
        axes.axvline(start, color=LINE, linewidth=1, linestyle=":")
        axes.annotate(_plain(name), (start, 1), (3, -3), xycoords=("data", "axes fraction"), textcoords="offset points",
                      va="top", fontsize=8, color=FAINT)  # fmt: skip
    axes.set_xlim(0, (record.eval_steps[-1] + record.origin) * 1.02)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: short(x)))
    axes.set_xlabel(axis_of(record), color=INK)
    axes.set_ylabel("return of an episode", color=INK)
    _dress(axes)
    _score_axis(axes, record)
    groups = len(record.groups)
    if groups > 1:
        columns = 2 if groups <= 4 else 3  # four long labels are wider than the picture
        figure.legend(frameon=False, fontsize=9, loc="outside lower center", ncols=columns, labelcolor=INK)
    axes.set_title(_plain(subtitle(record)), loc="left", fontsize=9, color=FAINT, pad=10)
    axes.annotate(_plain(record.title), (0, 1), (0, 28), xycoords="axes fraction", textcoords="offset points",
                  fontsize=13, fontweight="bold", color=INK)  # fmt: skip
    # a notebook shows a figure of pyplot only, unless the figure itself gives its picture
    figure._repr_png_ = functools.partial(png, figure)  # type: ignore[attr-defined]
    return figure


def png(figure: Figure, dpi: int = 110) -> bytes:
    """A figure as the bytes of a PNG file."""
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=dpi)
    return data.getvalue()


def _plain(text: str) -> str:
    """A text that Matplotlib does not read as a formula."""
    return printable(text).replace("$", r"\$")


def _curves(axes: Axes, record: Record) -> None:
    groups = record.groups
    alpha = 0.16 if len(groups) < 3 else 0.08
    for group, colour in zip(groups, colours(len(groups)), strict=True):
        steps, mean, low, high = record.curve(group.rows)
        axes.fill_between(steps, low, high, color=colour, alpha=alpha, linewidth=0)
        if len(group.rows) > 1:
            axes.plot(steps, record.each(group.rows)[1].T, color=colour, alpha=0.45, linewidth=0.9)
        axes.plot(steps, mean, color=colour, linewidth=2.4, label=_plain(group.label),
                  marker="o" if len(steps) <= 30 else "", markersize=5.5, markeredgecolor="white")  # fmt: skip


def _dress(axes: Axes) -> None:
    axes.grid(axis="y", color=LINE, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(colors=FAINT, length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(LINE)


def _score_axis(axes: Axes, record: Record) -> None:
    """The axis of normalised scores on the right, if reference returns are known."""
    if record.reference is None:
        return
    reference = record.reference
    both = (lambda value: normalized(value, reference), lambda score: raw(score, reference))
    right = axes.secondary_yaxis("right", functions=both)
    right.set_ylabel("normalised score", color=INK)
    right.tick_params(colors=FAINT, length=0)
    right.spines["right"].set_visible(False)


def axis_of(record: Record) -> str:
    """The unit of the steps on the x axis."""
    if record.origin:
        return "updates offline, then environment steps"
    collected = (
        record.config["data"] is None or "collect/episodes" in record.metrics
    )  # a run may learn from data and an environment
    return "environment steps" if collected else "updates"


def subtitle(record: Record) -> str:
    """One line that describes the picture: environment, seeds, episodes, and the kind of interval."""
    episodes = record.returns.shape[2]
    seeds = len(set(record.seeds))
    mean = "bold: mean, 95 % interval over seeds and episodes" if seeds > 1 else "band: 95 % interval over episodes"
    many = f"{seeds} seed{'s' * (seeds > 1)}, {episodes} episode{'s' * (episodes > 1)} an evaluation"
    return f"{record.environment or 'environment unknown'} · {many} · {mean}"


def levels(record: Record) -> list[tuple[str, float, str]]:
    """Reference returns: (name, return, line style)."""
    found = [] if record.logged is None else [("logging policy", record.logged, "--")]
    if record.reference is not None:
        found += [("random", record.reference[0], ":"), ("expert", record.reference[1], ":")]
    return found


def colours(count: int) -> list[str]:
    """A colour for each of `count` swept values: distinct colours for up to eight values, else a colour ramp."""
    if count <= len(COLOURS):
        return list(COLOURS[:count])
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    return [to_hex(colormaps["viridis"](x)) for x in np.linspace(0, 0.92, count)]


def short(x: float) -> str:
    """A number of steps in few characters: 500, 10k, 1.5M."""
    for unit, name in ((1e6, "M"), (1e3, "k")):
        if abs(x) >= unit:
            return f"{x / unit:g}{name}"
    return f"{x:g}"


def _levels(axes: Axes, record: Record) -> None:
    from matplotlib.patheffects import withStroke

    low, high = axes.get_ylim()
    values = [value for _, value, _ in levels(record)]
    span = max([high, *values]) - min([low, *values])
    axes.set_ylim(min([low, *(v - 0.03 * span for v in values)]), max([high, *(v + 0.07 * span for v in values)]))
    for name, value, style in levels(record):
        colour = INK if name == "logging policy" else FAINT
        axes.axhline(value, color=colour, linewidth=1.1, linestyle=style, zorder=1.5)
        text = f"{name} {value:,.0f}" if abs(value) >= 10 else f"{name} {value:.3g}"
        halo = withStroke(linewidth=2.5, foreground="white")
        axes.annotate(text, (0, value), (4, 3), xycoords=("axes fraction", "data"), textcoords="offset points",
                      fontsize=8.5, color=colour, path_effects=[halo])  # fmt: skip
