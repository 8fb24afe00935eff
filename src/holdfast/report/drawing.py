"""Charts with Matplotlib, as a PNG file or as SVG text in a page. Needs the extra `report`.

Pictures and pages have the same drawing code. In a page the colours are variables of its style sheet, so that a dark
page has light lines, and one unit of the drawing is one CSS pixel, so that its text has the size of other text.
"""

from __future__ import annotations

import functools
import html
import io
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..core.errors import UserError, printable

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.legend import Legend

COLOURS = ("#1f5fa8", "#c8502d", "#2f8f5b", "#8a4fa3", "#b58a12", "#3aa0b4", "#a83264", "#5a6b7b")
INK = "#22272e"
FAINT = "#6b7480"
LINE = "#d9dee4"
GROUND = "#ffffff"
FILE = 160  # pixels an inch of a picture in a file
NOTEBOOK = 110  # pixels an inch of a picture in a notebook
VARIABLES = {INK: "ink", FAINT: "faint", LINE: "line", GROUND: "ground"} | {c: f"c{i}" for i, c in enumerate(COLOURS)}


class Size(NamedTuple):
    """Size of a drawing in points, which are CSS pixels in a page."""

    width: float
    height: float
    text: float  # size of the numbers on the axes


PICTURE = Size(576, 346, 9)  # 8 by 4.8 inches
WIDE = Size(820, 370, 13)
NARROW = Size(350, 310, 12)  # for a telephone
SMALL = Size(300, 190, 11.5)


class Curve(NamedTuple):
    """A line with its interval, and thin lines for the seeds."""

    label: str
    x: np.ndarray  # [T]
    y: np.ndarray  # [T]; the line has a gap at NaN
    low: np.ndarray | None = None  # [T]
    high: np.ndarray | None = None  # [T]
    each: np.ndarray | None = None  # [r, T]


class Level(NamedTuple):
    """A horizontal line with a name."""

    name: str
    value: float
    always: bool = False  # also if the axis has to be stretched for it


def figure(size: Size) -> Figure:
    """An empty figure.

    Raises:
        UserError: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure  # not pyplot, which opens windows and shares state
        from matplotlib.layout_engine import ConstrainedLayoutEngine
    except ImportError:
        raise UserError("pictures need matplotlib: pip install 'holdfast-rl[report]'") from None
    pad = size.text / 72
    made = Figure(
        figsize=(size.width / 72, size.height / 72), dpi=72, layout=ConstrainedLayoutEngine(w_pad=pad, h_pad=pad)
    )
    FigureCanvasAgg(made)  # becomes the figure's canvas, which measures texts
    # a notebook shows a figure of pyplot only, unless the figure itself gives its picture
    made._repr_png_ = functools.partial(png, made, NOTEBOOK)  # type: ignore[attr-defined]
    return made


def png(drawn: Figure, dpi: int = FILE) -> bytes:
    """A figure as the bytes of a PNG file.

    Args:
        drawn: the figure.
        dpi: pixels an inch.
    """
    data = io.BytesIO()
    drawn.savefig(data, format="png", dpi=dpi, facecolor=GROUND)
    return data.getvalue()


def svg(drawn: Figure, label: str) -> str:
    """A figure as an SVG element of a page, which fetches nothing.

    Args:
        drawn: the figure.
        label: description for screen readers.
    """
    from matplotlib import rc_context

    data = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": label}):
        drawn.savefig(data, format="svg", transparent=True, metadata=nothing)
    text = data.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", text, flags=re.DOTALL)
    used = set(re.findall(r"(?:url\(#|href=\"#)([^)\"]*)", text))
    text = re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in used else "", text)
    text = re.sub(r"\s*\n\s*", " ", re.sub(r" font-family: [^\";]*(?:'[^']*'[^\";]*)*;?", "", text))
    text = re.sub(r'style="[^"]*"', lambda style: _variables(style[0]), text)
    name = html.escape(printable(label), quote=True)
    start = f'<svg viewBox="0 0 {drawn.bbox.width:g} {drawn.bbox.height:g}" role="img" aria-label="{name}">'
    return start + text[text.index(">") + 1 :].strip()


def _variables(style: str) -> str:
    for colour, name in VARIABLES.items():
        style = style.replace(colour, f"var(--{name})")
    return style


LONGEST = 120  # characters of a text in a picture


def plain(text: str) -> str:
    """A text that Matplotlib does not read as a formula, cut to `LONGEST` characters, which a picture has room for."""
    text = printable(text)
    text = text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
    return text.replace("$", r"\$")


def colours(count: int) -> list[str]:
    """A colour for each of `count` lines: distinct colours for up to eight lines, else a colour ramp."""
    if count <= len(COLOURS):
        return list(COLOURS[:count])
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    return [to_hex(colormaps["viridis"](x)) for x in np.linspace(0, 0.92, count)]


def short(x: float) -> str:
    """A number of steps in few characters: 500, 10k, 1.5M."""
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(x) >= unit:
            return f"{x / unit:g}{name}"
    return f"{x:g}"


def value_text(value: float) -> str:
    """The text of a level: no digits after the point from 10, a power of ten from a billion."""
    return f"{value:,.0f}" if 10 <= abs(value) < 1e9 else f"{value:.3g}"


def draw_curves(axes: Axes, curves: Sequence[Curve], size: Size, shades: Sequence[str] | None = None) -> None:
    """Draw a bold line for each curve, a band for its interval, and thin lines for its seeds.

    Args:
        axes: where to draw.
        curves: the curves; those with a label are in the legend.
        size: size of the figure.
        shades: a colour for each curve; None: those of `colours`.
    """
    shades = colours(len(curves)) if shades is None else shades
    alpha = 0.16 if len(curves) < 3 else 0.08
    for curve, colour in zip(curves, shades, strict=True):
        if curve.low is not None and curve.high is not None:
            axes.fill_between(curve.x, curve.low, curve.high, color=colour, alpha=alpha, linewidth=0)
        if curve.each is not None:
            axes.plot(curve.x, curve.each.T, color=colour, alpha=0.45, linewidth=0.1 * size.text)
        axes.plot(curve.x, curve.y, color=colour, linewidth=0.25 * size.text, label=plain(curve.label),
                  marker="o" if np.isfinite(curve.y).sum() <= 30 else "", markersize=0.55 * size.text,
                  markeredgecolor=GROUND)  # fmt: skip


def draw_levels(axes: Axes, levels: Sequence[Level], size: Size) -> None:
    """Draw horizontal lines with their names.

    A level far outside the range of the curves is not drawn, because the curves would become flat. Its value and an
    arrow are at the edge instead.
    """
    from matplotlib.patheffects import withStroke

    always = [level.value for level in levels if level.always]
    low, high = axes.get_ylim()
    low = min(low, *always) if always else low
    high = max(high, *always) if always else high
    near = [level for level in levels if level.always or 2 * low - high <= level.value <= 2 * high - low]
    low = min([low, *(level.value for level in near)])
    high = max([high, *(level.value for level in near)])
    pad = 0.05 * (high - low)
    axes.set_ylim(low - pad, high + pad)
    halo = [withStroke(linewidth=0.28 * size.text, foreground=GROUND)]
    above = 0
    below = 0
    for level in levels:
        text = f"{plain(level.name)} {value_text(level.value)}"
        colour = INK if level.always else FAINT
        if level in near:
            style = "--" if level.always else ":"
            place = 0.0 if level.always else 0.5  # so that the names of two close levels do not overlap
            axes.axhline(level.value, color=colour, linewidth=0.12 * size.text, linestyle=style, zorder=1.5)
            axes.annotate(text, (place, level.value), (4, 3), xycoords=("axes fraction", "data"),
                          textcoords="offset points", fontsize=0.94 * size.text, color=colour,
                          path_effects=halo)  # fmt: skip
        else:
            up = level.value > high
            at = -3 - 1.3 * size.text * above if up else 3 + 1.3 * size.text * below
            above += up
            below += not up
            axes.annotate(f"{text} {'↑' if up else '↓'}", (1, int(up)), (-4, at), xycoords="axes fraction",
                          textcoords="offset points", ha="right", va="top" if up else "bottom", color=colour,
                          fontsize=0.94 * size.text, path_effects=halo)  # fmt: skip


def draw_starts(axes: Axes, starts: Sequence[tuple[str, int]], size: Size) -> None:
    """Draw a vertical line with a name where each phase starts."""
    for name, start in starts:
        axes.axvline(start, color=LINE, linewidth=0.12 * size.text, linestyle=":")
        axes.annotate(plain(name), (start, 1), (3, -3), xycoords=("data", "axes fraction"), textcoords="offset points",
                      va="top", fontsize=0.9 * size.text, color=FAINT)  # fmt: skip


def dress(axes: Axes, size: Size, x: str = "", y: str = "", steps: bool = True) -> None:
    """Set the grid, the ticks and the names of the axes.

    Args:
        axes: the axes.
        size: size of the figure.
        x: name of the x axis.
        y: name of the y axis.
        steps: whether the x axis counts steps.
    """
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(nbins=max(3, int(size.width / 75)), integer=steps, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value) if steps else tick_text(value)))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 2.5, 5, 10]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: tick_text(value)))
    axes.grid(axis="y", color=LINE, linewidth=0.08 * size.text)
    axes.set_axisbelow(True)
    axes.set_facecolor("none")
    axes.tick_params(colors=FAINT, length=0, labelsize=size.text)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(LINE)
    axes.set_xlabel(plain(x), color=INK, fontsize=1.05 * size.text)
    axes.set_ylabel(plain(y), color=INK, fontsize=1.05 * size.text)


def tick_text(value: float) -> str:
    """A number on the y axis: 12,500, 0.05, 3e-05."""
    if value == 0 or 1e-4 <= abs(value) < 1e6:
        return f"{value:,.6g}"
    return f"{value:.3g}"


def legend(drawn: Figure, size: Size) -> None:
    """Put the legend of all axes below the figure, in as many columns as fit into its width.

    The figure becomes higher by the height of the legend. A label that is wider than the figure is wrapped.
    """
    import textwrap

    entries: dict[str, Artist] = {}
    for axes in drawn.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    if len(entries) < 2:
        return
    wide = int(size.width / (0.62 * size.text)) - 8  # characters that fit
    labels = ["\n".join(textwrap.wrap(label, wide)) or label for label in entries]
    renderer = drawn.canvas.get_renderer()  # type: ignore[attr-defined]  # of the Agg canvas
    for columns in range(min(4, len(labels)), 0, -1):
        made: Legend = drawn.legend(
            list(entries.values()), labels, frameon=False, fontsize=size.text, loc="outside lower center",
            ncols=columns, labelcolor=INK, columnspacing=1.5, borderaxespad=0,
        )  # fmt: skip
        extent = made.get_window_extent(renderer)
        if columns == 1 or extent.width <= drawn.bbox.width:
            drawn.set_figheight(drawn.get_figheight() + extent.height / drawn.dpi)
            return
        made.remove()
