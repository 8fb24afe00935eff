"""Line charts as SVG text, which a page contains without other files.

The colours are classes of the page's style sheet (c0, c1 ...), so that a dark page has light lines.
"""

from __future__ import annotations

import dataclasses
import html
import json
from collections.abc import Sequence
from typing import NamedTuple, overload

import numpy as np

LEFT, RIGHT, TOP, BOTTOM = 58, 14, 12, 26  # margins of the plot, px


@dataclasses.dataclass(frozen=True, eq=False)
class Line:
    """One line of a chart, with a band between `low` and `high` if both are given."""

    name: str
    x: np.ndarray  # [n]
    y: np.ndarray  # [n]; the line has a gap at NaN
    colour: int = 0
    bold: bool = True
    low: np.ndarray | None = None  # [n]
    high: np.ndarray | None = None  # [n]


def chart(
    lines: Sequence[Line],
    levels: Sequence[tuple[str, float]] = (),
    width: int = 420,
    height: int = 220,
    label: str = "",
    begins: Sequence[tuple[str, float]] = (),
) -> str:
    """A chart as an SVG element.

    Args:
        lines: the lines, drawn in this order above all bands.
        levels: names and values of horizontal lines.
        width: width of the coordinate system in px; the page may scale it.
        height: height of the coordinate system in px.
        label: description of the chart for screen readers.
        begins: names and first steps of phases, drawn as vertical lines.
    """
    values = [v for line in lines for v in (line.y, line.low, line.high) if v is not None]
    values.append(np.array([value for _, value in levels]))
    x1 = float(np.concatenate([line.x for line in lines]).max(initial=1.0)) if lines else 1.0
    ticks_y = ticks(*_range(np.concatenate(values)), max(4, height // 48))
    plot = Plot(width, height, x1, ticks_y[0], ticks_y[-1])
    out = [_opening(plot, lines, label), *_axes(plot, ticks_y)]
    out += [_band(plot, line) for line in lines if line.low is not None and line.high is not None]
    out += [part for name, value in levels for part in _level(plot, name, value)]
    out += [part for name, value in begins for part in _begin(plot, name, value)]
    out += [_line(plot, line) for line in lines]
    return "".join([*out, "</svg>"])


class Plot(NamedTuple):
    """The coordinate system of a chart: size in px, and the range of the data; x starts at 0."""

    width: int
    height: int
    x1: float
    y0: float
    y1: float

    @overload
    def px(self, x: float) -> float: ...
    @overload
    def px(self, x: np.ndarray) -> np.ndarray: ...
    def px(self, x: float | np.ndarray) -> float | np.ndarray:
        """Data to px from the left."""
        return LEFT + x / self.x1 * (self.width - LEFT - RIGHT)

    @overload
    def py(self, y: float) -> float: ...
    @overload
    def py(self, y: np.ndarray) -> np.ndarray: ...
    def py(self, y: float | np.ndarray) -> float | np.ndarray:
        """Data to px from the top."""
        return TOP + (self.y1 - y) / (self.y1 - self.y0) * (self.height - TOP - BOTTOM)


def _opening(plot: Plot, lines: Sequence[Line], label: str) -> str:
    """The opening tag, with the data that the page's script shows under the pointer."""
    named = [line for line in lines if line.name]
    hover = {
        "box": [LEFT, TOP, plot.width - RIGHT, plot.height - BOTTOM],
        "x": [0.0, plot.x1],
        "lines": [{"name": x.name, "colour": x.colour, "x": x.x.tolist(), "y": _plain(x.y)} for x in named],
    }
    return (
        f'<svg viewBox="0 0 {plot.width} {plot.height}" role="img" aria-label="{html.escape(label)}" '
        f"data-hover='{html.escape(json.dumps(hover, separators=(',', ':')), quote=True)}'>"
    )


def _axes(plot: Plot, ticks_y: Sequence[float]) -> list[str]:
    out = []
    for tick in ticks_y:
        y = plot.py(tick)
        out.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{plot.width - RIGHT}"/>')
        out.append(f'<text class="tick" x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{number(tick)}</text>')
    for tick in ticks(0.0, plot.x1, 6):
        if tick <= plot.x1:
            at = f'x="{plot.px(tick):.1f}" y="{plot.height - 8}"'
            out.append(f'<text class="tick" {at} text-anchor="middle">{number(tick)}</text>')
    out.append(f'<path class="axis" d="M{LEFT} {plot.height - BOTTOM}H{plot.width - RIGHT}"/>')
    return out


def _band(plot: Plot, line: Line) -> str:
    upper = zip(line.x, () if line.high is None else line.high, strict=True)
    lower = zip(line.x, () if line.low is None else line.low, strict=True)
    outline = [*upper, *reversed(list(lower))]
    points = " ".join(f"{plot.px(x):.1f},{plot.py(y):.1f}" for x, y in outline)
    return f'<polygon class="band c{line.colour}" points="{points}"/>'


def _level(plot: Plot, name: str, value: float) -> list[str]:
    y = plot.py(value)
    text = f"{html.escape(name)} {value:,.4g}"
    return [
        f'<path class="level" d="M{LEFT} {y:.1f}H{plot.width - RIGHT}"/>',
        f'<text class="level" x="{LEFT + 4}" y="{y - 4:.1f}">{text}</text>',
    ]


def _begin(plot: Plot, name: str, step: float) -> list[str]:
    x = plot.px(step)
    return [
        f'<path class="level" d="M{x:.1f} {TOP}V{plot.height - BOTTOM}"/>',
        f'<text class="level" x="{x + 4:.1f}" y="{TOP + 10}">{html.escape(name)}</text>',
    ]


def _line(plot: Plot, line: Line) -> str:
    """The path of a line; a dot if there is only one point."""
    kind = "bold" if line.bold else "thin"
    finite = np.flatnonzero(np.isfinite(line.y))
    if len(finite) == 1:
        x = plot.px(float(line.x[finite[0]]))
        y = plot.py(float(line.y[finite[0]]))
        return f'<circle class="dot c{line.colour}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>'
    return f'<path class="{kind} c{line.colour}" d="{_path(plot.px(line.x), plot.py(line.y))}"/>'


def ticks(low: float, high: float, count: int) -> list[float]:
    """About `count` numbers in steps of 1, 2 or 5 times a power of ten.

    The first number is at most `low`, the last number is at least `high`.
    """
    raw = (high - low) / max(1, count - 1)
    power = 10.0 ** np.floor(np.log10(raw))
    step = float(next(m for m in (1, 2, 5, 10) if m * power >= raw * (1 - 1e-9)) * power)
    first = int(np.floor(low / step + 1e-9))
    last = int(np.ceil(high / step - 1e-9))
    return [step * i for i in range(first, last + 1)]


def number(x: float) -> str:
    """The text of a number on an axis: 1.5k, 2M, 0.05, 3e-05."""
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(x) >= unit:
            return f"{x / unit:.4g}{name}"
    return f"{x:.3g}" if x else "0"


def _range(values: np.ndarray) -> tuple[float, float]:
    finite = values[np.isfinite(values)]
    if not len(finite):
        return 0.0, 1.0
    low = float(finite.min())
    high = float(finite.max())
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        pad = abs(low) * 0.1 or 1.0
        return low - pad, high + pad
    return low, high


def _plain(values: np.ndarray) -> list[float | None]:
    return [float(f"{v:.5g}") if np.isfinite(v) else None for v in values]


def _path(x: np.ndarray, y: np.ndarray) -> str:
    out = []
    pen = "M"
    for a, b in zip(x, y, strict=True):
        if not np.isfinite(b):
            pen = "M"
            continue
        out.append(f"{pen}{a:.1f} {b:.1f}")
        pen = "L"
    return "".join(out)
