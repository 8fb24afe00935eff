"""Line charts as SVG text: small, sharp at any size, and part of a page without scripts or libraries from elsewhere.

Colours come from the page's style sheet (classes c0, c1 ...), so that a dark page has light lines.
"""

from __future__ import annotations

import dataclasses
import html
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

LEFT, RIGHT, TOP, BOTTOM = 58, 14, 12, 26  # room around the plot, px


@dataclasses.dataclass(frozen=True, eq=False)
class Line:
    """One line of a chart, with a band around it where `low` and `high` are given."""

    name: str
    x: np.ndarray  # [n]
    y: np.ndarray  # [n], NaN where there is nothing: the line breaks there
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
    """An SVG element.

    Args:
        lines: drawn in order, bands first.
        levels: named horizontal lines.
        width: px, of the coordinates; the page may scale it.
        height: px, likewise.
        label: what the chart shows, for those who hear the page.
        begins: named vertical lines, where a phase begins.
    """
    values = [v for line in lines for v in (line.y, line.low, line.high) if v is not None]
    values.append(np.array([value for _, value in levels]))
    xs = np.concatenate([line.x for line in lines]) if lines else np.zeros(0)
    ticks_x, ticks_y = (
        ticks(0.0, float(xs.max(initial=1.0)), 6),
        ticks(*_range(np.concatenate(values)), max(4, height // 48)),
    )
    (x0, x1), (y0, y1) = (0.0, float(xs.max(initial=1.0))), (ticks_y[0], ticks_y[-1])

    def px(x: Any) -> Any:
        return LEFT + (x - x0) / (x1 - x0) * (width - LEFT - RIGHT)

    def py(y: Any) -> Any:
        return TOP + (y1 - y) / (y1 - y0) * (height - TOP - BOTTOM)

    hover = {
        "box": [LEFT, TOP, width - RIGHT, height - BOTTOM],
        "x": [x0, x1],
        "lines": [
            {"name": line.name, "colour": line.colour, "x": line.x.tolist(), "y": _plain(line.y)}
            for line in lines
            if line.name
        ],
    }
    out = [
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{html.escape(label)}" '
        f"data-hover='{html.escape(json.dumps(hover, separators=(',', ':')), quote=True)}'>"
    ]
    for tick in ticks_y:
        out.append(f'<path class="grid" d="M{LEFT} {py(tick):.1f}H{width - RIGHT}"/>')
        out.append(f'<text class="tick" x="{LEFT - 6}" y="{py(tick) + 4:.1f}" text-anchor="end">{number(tick)}</text>')
    for tick in [t for t in ticks_x if t <= x1]:
        out.append(f'<text class="tick" x="{px(tick):.1f}" y="{height - 8}" text-anchor="middle">{number(tick)}</text>')
    out.append(f'<path class="axis" d="M{LEFT} {height - BOTTOM}H{width - RIGHT}"/>')
    for line in lines:
        if line.low is not None and line.high is not None:
            ring = list(zip(line.x, line.high, strict=True)) + list(zip(line.x, line.low, strict=True))[::-1]
            points = " ".join(f"{px(x):.1f},{py(y):.1f}" for x, y in ring)
            out.append(f'<polygon class="band c{line.colour}" points="{points}"/>')
    for name, value in levels:
        out.append(f'<path class="level" d="M{LEFT} {py(value):.1f}H{width - RIGHT}"/>')
        out.append(
            f'<text class="level" x="{LEFT + 4}" y="{py(value) - 4:.1f}">{html.escape(name)} {value:,.4g}</text>'
        )
    for name, value in begins:
        out.append(f'<path class="level" d="M{px(value):.1f} {TOP}V{height - BOTTOM}"/>')
        out.append(f'<text class="level" x="{px(value) + 4:.1f}" y="{TOP + 10}">{html.escape(name)}</text>')
    for line in lines:
        kind = "bold" if line.bold else "thin"
        if np.isfinite(line.y).sum() == 1:
            i = int(np.flatnonzero(np.isfinite(line.y))[0])
            out.append(f'<circle class="dot c{line.colour}" cx="{px(line.x[i]):.1f}" cy="{py(line.y[i]):.1f}" r="3"/>')
        else:
            out.append(f'<path class="{kind} c{line.colour}" d="{_path(px(line.x), py(line.y))}"/>')
    out.append("</svg>")
    return "".join(out)


def ticks(low: float, high: float, count: int) -> list[float]:
    """About `count` round numbers in steps of 1, 2 or 5 times a power of ten; the first is at most `low`, the last at
    least `high`."""
    raw = (high - low) / max(1, count - 1)
    power = 10.0 ** np.floor(np.log10(raw))
    step = float(next(m for m in (1, 2, 5, 10) if m * power >= raw * (1 - 1e-9)) * power)
    first, last = int(np.floor(low / step + 1e-9)), int(np.ceil(high / step - 1e-9))
    return [step * i for i in range(first, last + 1)]


def number(x: float) -> str:
    """A number on an axis: 1.5k, 2M, 0.05, 3e-05."""
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(x) >= unit:
            return f"{x / unit:.4g}{name}"
    return f"{x:.3g}" if x else "0"


def _range(values: np.ndarray) -> tuple[float, float]:
    finite = values[np.isfinite(values)]
    if not len(finite):
        return 0.0, 1.0
    low, high = float(finite.min()), float(finite.max())
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        pad = abs(low) * 0.1 or 1.0
        return low - pad, high + pad
    return low, high


def _plain(values: np.ndarray) -> list[float | None]:
    return [float(f"{v:.5g}") if np.isfinite(v) else None for v in values]


def _path(x: np.ndarray, y: np.ndarray) -> str:
    out, pen = [], "M"
    for a, b in zip(x, y, strict=True):
        if not np.isfinite(b):
            pen = "M"
            continue
        out.append(f"{pen}{a:.1f} {b:.1f}")
        pen = "L"
    return "".join(out)
