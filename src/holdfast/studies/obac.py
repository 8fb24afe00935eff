"""OBAC against SAC, and how often OBAC's gate is on (Luo et al. 2024, arXiv:2405.18520).

SAC is OBAC with the gate always off, and the fixed constraint is OBAC with the gate always on. Networks, learning
rates, batches, random first steps and seeds are the same; only the constraint differs.
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.errors import unknown
from ..report.drawing import COLOURS, LINE
from ..runs.read import Record
from . import pictures, runs
from .base import sized
from .obac_motivation import PAPER, QUICK
from .result import Result, Row

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OBAC = "OBAC"
SAC = "SAC"
FIXED = "fixed constraint"
CLAIM = (
    "The paper's claim: OBAC learns faster than SAC and ends above it, and a constraint that the gate switches on and "
    "off does better than a constraint that is always on."
)


@dataclasses.dataclass(frozen=True)
class Args(runs.OnlineArgs):
    """Compare OBAC, SAC with the same networks, and OBAC whose constraint is always on; show the gate over time."""

    gate: str = "batch"
    """Gate of OBAC: batch (as in the authors' code) or state (as in the paper)."""
    log_density: str = "raw"
    """Log density of replayed actions: raw (authors' code) or exact (paper)."""
    inverse_temperature: float = 0.0
    """Weight replayed actions by exp(beta A) with this beta. 0: equal weights (authors' code)."""
    runs: Path = Path("studies/runs/obac")
    """Folder of the runs. Finished runs are read, interrupted runs are resumed."""


def run(args: Args | None = None) -> Result:
    """Run the whole study.

    Raises:
        UserError: a number is out of range, an environment is unknown or has discrete actions, or `args.runs` contains
            runs with other settings.
    """
    args = Args() if args is None else args
    for name, choices in (("gate", ("batch", "state")), ("log_density", ("raw", "exact"))):
        if getattr(args, name) not in choices:
            raise unknown(name.replace("_", " "), getattr(args, name), choices)
    size = sized(args, QUICK, PAPER)
    own = {"log_density": args.log_density, "inverse_temperature": args.inverse_temperature}
    gates = {OBAC: args.gate, SAC: "off", FIXED: "always"}
    arms = [runs.Arm(label, "obac", {"gate": gate, **own}) for label, gate in gates.items()]
    header = (*runs.HEADER, "gate on", "difference")
    study = runs.OnlineStudy("obac", "OBAC against SAC", CLAIM, summary, draw, header, rows_of)
    return study.run(arms, size, args.runs)


def rows_of(env: str, label: str, record: Record) -> list[Row]:
    """The rows of `runs.rows_of` with the gate: its share of "on" and the difference that it compares.

    Both cells are empty before the first update.
    """
    gate = zip(*(runs.interval_means(record, f"gate/{name}") for name in ("on", "difference")), strict=True)
    cells = [tuple("" if math.isnan(x) else x for x in pair) for pair in gate]
    return [(*row, *pair) for row, pair in zip(runs.rows_of(env, label, record), cells, strict=True)]


def summary(env: str, found: dict[str, Record]) -> str:
    """What the runs in one environment show, in sentences."""
    obac, sac, fixed = (found[label] for label in (OBAC, SAC, FIXED))
    on = [100 * share for share in runs.interval_means(obac, "gate/on") if not math.isnan(share)]
    last = ", ".join(f"{label} {record.returns[:, -1].mean():.1f}" for label, record in found.items())
    return (
        f"Observed in {env}, {len(obac.seeds)} seeds: last returns {last}. Mean over the run, paired by seed: "
        f"OBAC less SAC {runs.verdict(runs.gain(obac, sac))}; OBAC less the fixed constraint "
        f"{runs.verdict(runs.gain(obac, fixed))}. OBAC's gate was on for {on[0]:.0f} % of the updates at the start and "
        f"{on[-1]:.0f} % at the end."
    )


def draw(figure: Figure, found: dict[str, dict[str, Record]]) -> None:
    """Draw for each environment the learning curves, how often the gate is on, and the values that it compares."""
    figure.set_size_inches(11, 4.4 * len(found) + 0.5)
    grid = figure.add_gridspec(2 * len(found), 2, width_ratios=(3, 2))
    for i, (env, by_label) in enumerate(found.items()):
        left = figure.add_subplot(grid[2 * i : 2 * i + 2, 0])
        share, values = (figure.add_subplot(grid[2 * i + k, 1]) for k in range(2))
        pictures.draw_curves(left, by_label, dashed=FIXED)
        pictures.dress(left, env, "return of an episode")
        pictures.draw_metric(share, by_label[OBAC], "gate/on", COLOURS[0])
        share.set_ylim(-0.05, 1.05)
        pictures.dress(share, "OBAC's gate: share of updates with the constraint", "on")
        for name, colour in (("policy_value", COLOURS[0]), ("behaviour_value", COLOURS[3])):
            pictures.draw_metric(values, by_label[OBAC], f"gate/{name}", colour, name.replace("_", " "))
        values.axhline(0, color=LINE, linewidth=1)
        values.legend(frameon=False, fontsize=8)
        pictures.dress(values, "values that the gate compares", "value")
    pictures.legend_below(figure, figure.axes[0], 3)
