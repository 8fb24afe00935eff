"""The learning curve of a run as a picture, `curve.png`. Needs matplotlib (the extra `report`)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..core.errors import UserError
from ..core.files import write_atomic
from ..data.scores import normalized, raw
from ..runs.read import Record, read_run
from .drawing import (
    FAINT,
    INK,
    NARROW,
    PICTURE,
    Curve,
    Level,
    Size,
    draw_curves,
    draw_levels,
    draw_starts,
    dress,
    figure,
    legend,
    plain,
    png,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


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
    write_atomic(path, png(draw(record)))
    return path


def draw(record: Record, size: Size = PICTURE) -> Figure:
    """Draw a thin line for each seed, a thick line for their mean with its 95 % interval, and reference returns.

    Each swept value has its own colour. If reference returns are known, the axis on the right shows normalised scores.

    Args:
        record: the run.
        size: size of the drawing. Only `PICTURE` has a title.

    Raises:
        UserError: the run contains no evaluation, or matplotlib is not installed.
    """
    if not len(record.eval_steps):
        raise UserError(f"{record.path} contains no evaluation to draw: train with an environment (--env)")
    drawn = figure(size)
    axes = drawn.add_subplot()
    draw_curves(axes, [_curve(record, group.label, group.rows) for group in record.groups], size)
    draw_levels(axes, levels(record), size)
    draw_starts(axes, record.phases[1:], size)
    axes.set_xlim(0, (record.eval_steps[-1] + record.origin) * 1.02)
    dress(axes, size, axis_of(record), "return of an episode")
    if record.reference is not None and size != NARROW:
        _score_axis(axes, record.reference, size)
    legend(drawn, size)
    if size == PICTURE:
        axes.set_title(plain(subtitle(record)), loc="left", fontsize=size.text, color=FAINT, pad=10)
        axes.annotate(plain(record.title), (0, 1), (0, 28), xycoords="axes fraction", textcoords="offset points",
                      fontsize=1.45 * size.text, fontweight="bold", color=INK)  # fmt: skip
    return drawn


def _curve(record: Record, label: str, rows: list[int]) -> Curve:
    steps, mean, low, high = record.curve(rows)
    return Curve(label or "mean", steps, mean, low, high, record.each(rows)[1] if len(rows) > 1 else None)


def _score_axis(axes: Axes, reference: tuple[float, float], size: Size) -> None:
    """The axis of normalised scores on the right."""
    both = (lambda value: normalized(value, reference), lambda score: raw(score, reference))
    right = axes.secondary_yaxis("right", functions=both)
    right.set_ylabel("normalised score", color=INK, fontsize=1.05 * size.text)
    right.tick_params(colors=FAINT, length=0, labelsize=size.text)
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


def levels(record: Record) -> list[Level]:
    """The mean return of the log, and the returns of a random and an expert policy, as far as they are known."""
    found = [] if record.logged is None else [Level("logging policy", record.logged, always=True)]
    if record.reference is not None:
        found += [Level("random", record.reference[0]), Level("expert", record.reference[1])]
    return found
