"""What the study of duality shows: sentences and the picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .result import Row

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PRESETS = ("best_dice", "dual_dice", "gen_dice")
QUANTITIES = ("primal", "dual", "lagrangian")


class Curve(NamedTuple):
    """What one preset of `dice` has estimated."""

    steps: list[int]  # [T]
    estimates: np.ndarray  # [T, seeds, 3] primal, dual, Lagrangian
    ratio: np.ndarray  # [seeds, S, A] at the end


def notes(rows: list[Row]) -> list[str]:
    """What the rows show."""
    lines = []
    for preset in PRESETS:
        own = [row for row in rows if row[1] == preset]
        last = max(int(row[3]) for row in own)

        def mean(name: str, own: list[Row] = own, last: int = last) -> float:
            return float(np.mean([float(row[5]) for row in own if row[3] == last and row[4] == name]))

        parts = ", ".join(f"{name} {mean(name):.3f}" for name in QUANTITIES)
        lines.append(f"{preset}: {parts}; exact {float(own[0][6]):.3f}; error of ratios {mean('error of ratios'):.0%}.")
    own = [row for row in rows if row[1] == "OptiDICE" and row[4] == "value"]
    if own:
        lines.append(
            f"OptiDICE: value {np.mean([float(r[5]) for r in own]):.3f}, exact solution {float(own[0][6]):.3f}."
        )
    played = [row for row in rows if row[0] == "pendulum-mixed"]
    if played:
        lines.append("Pendulum: " + ", ".join(f"{row[1]} {float(row[5]):.0f}" for row in played) + ".")
    return lines


def draw(
    figure: Figure,
    curves: dict[str, Curve],
    truth: float,
    points: list[tuple[str, np.ndarray, np.ndarray]],
    rows: list[Row],
) -> None:
    """Draw estimates over updates, learned over exact ratios, and the returns on the log, for the first seed."""
    played = [row for row in rows if row[0] == "pendulum-mixed"]
    figure.set_size_inches(4.2 * (len(curves) + 1 + bool(played)), 3.6)
    axes = figure.subplots(1, len(curves) + 1 + bool(played))
    for axis, (preset, curve) in zip(axes, curves.items(), strict=False):
        for i, name in enumerate(QUANTITIES):
            axis.plot(curve.steps, curve.estimates[:, 0, i], label=name)
        axis.axhline(truth, color="black", linestyle=":", label="exact")
        spread = max(1.0, abs(truth))
        axis.set_ylim(truth - 2 * spread, truth + 2 * spread)
        axis.set_title(preset, loc="left", fontsize=10)
        axis.set_xlabel("updates")
    axes[0].legend(fontsize=8)
    axis = axes[len(curves)]
    for label, exact, ratio in points:
        axis.scatter(exact.reshape(-1), ratio.reshape(-1), s=12, alpha=0.6, label=label)
    top = max(float(exact.max()) for _, exact, _ in points)
    axis.plot([0, top], [0, top], color="black", linewidth=0.8)
    axis.set_ylim(-0.1 * top, 1.5 * top)
    axis.set_title("learned over exact ratios", loc="left", fontsize=10)
    axis.legend(fontsize=8)
    if played:
        axes[-1].barh([str(row[1]) for row in played], [float(row[5]) for row in played], color="#3b6ea5")
        axes[-1].set_title("return on Pendulum", loc="left", fontsize=10)
