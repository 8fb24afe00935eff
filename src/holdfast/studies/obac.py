"""OBAC against SAC, with the course of its gate (Luo et al. 2024, arXiv:2405.18520).

SAC is OBAC with its gate shut, and the fixed constraint OBAC with its gate open: networks, rates, batches, random first
steps and seeds are the same, and only the constraint differs.
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

from ..core.errors import unknown
from ..report.curves import COLOURS, LINE
from ..runs.read import Record
from . import runs
from .obac_motivation import PAPER, QUICK, size_of
from .result import Result

OBAC, SAC, FIXED = "OBAC", "SAC", "fixed constraint"
CLAIM = (
    "The paper's claim: OBAC learns faster than SAC and ends above it, and a constraint that the gate switches does "
    "better than one that always holds."
)


@dataclasses.dataclass(frozen=True)
class Args:
    """OBAC, SAC with the same networks, and OBAC whose constraint always holds; with the course of the gate."""

    paper: bool = False
    """The paper's size: Hopper-v5, 1 000 000 steps, 5 seeds, networks of 512-512; days on two cores."""
    gate: str = "batch"
    """Of OBAC: batch (authors' code) or state (paper)."""
    log_density: str = "raw"
    """Of replayed actions: raw (authors' code) or exact (paper)."""
    inverse_temperature: float = 0.0
    """Weights replayed actions by exp(beta A); 0: all alike (authors' code)."""
    envs: tuple[str, ...] | None = None
    """Environments with continuous actions; Pendulum-v1 where not given."""
    steps: int | None = None
    """Environment steps of each seed; 15 000."""
    seeds: int | None = None
    """How many; 5."""
    seed: int = 0
    """The first."""
    hidden: tuple[int, ...] | None = None
    """Widths of the hidden layers; 64 64."""
    runs: Path = Path("studies/runs/obac")
    """Where the runs stand: finished ones are read, stopped ones go on."""


def run(args: Args | None = None) -> Result:
    """The whole study.

    Raises:
        UserError: numbers out of range, an environment that is unknown or has discrete actions, or runs of other
            settings where these would stand.
    """
    args = Args() if args is None else args
    if args.gate not in ("batch", "state"):
        raise unknown("gate", args.gate, ("batch", "state"))
    if args.log_density not in ("raw", "exact"):
        raise unknown("log density", args.log_density, ("raw", "exact"))
    size = size_of(args, QUICK, PAPER)
    own = {"log_density": args.log_density, "inverse_temperature": args.inverse_temperature}
    gates = {OBAC: args.gate, SAC: "off", FIXED: "always"}
    arms = [runs.Arm(label, "obac", {"gate": gate, **own}) for label, gate in gates.items()]
    found = runs.learn_all(arms, size, args.runs)
    rows = []
    for env, by_label in found.items():
        for label, record in by_label.items():
            more = zip(*(runs.stretch(record, f"gate/{name}") for name in ("on", "difference")), strict=True)
            told = [tuple("" if math.isnan(x) else x for x in pair) for pair in more]
            rows += [(*row, *pair) for row, pair in zip(runs.rows_of(env, label, record), told, strict=True)]
    return Result(
        "obac",
        "OBAC against SAC",
        {**size._asdict(), "arms": [arm._asdict() for arm in arms], "runs": str(args.runs)},
        (*runs.HEADER, "gate on", "difference"),
        rows,
        [CLAIM, *(seen(env, by_label) for env, by_label in found.items())],
        lambda figure: draw(figure, found),
    )


def seen(env: str, found: dict[str, Record]) -> str:
    """What the runs of one environment say."""
    obac, sac, fixed = (found[label] for label in (OBAC, SAC, FIXED))
    on = [100 * share for share in runs.stretch(obac, "gate/on") if not math.isnan(share)]
    last = ", ".join(f"{label} {record.returns[:, -1].mean():.1f}" for label, record in found.items())
    return (
        f"Seen in {env}, {len(obac.seeds)} seeds: last returns {last}. Mean over the run, seed by seed: OBAC less SAC "
        f"{runs.verdict(runs.gain(obac, sac))}; OBAC less the fixed constraint {runs.verdict(runs.gain(obac, fixed))}. "
        f"OBAC's gate was on for {on[0]:.0f} % of the updates at first and {on[-1]:.0f} % at last."
    )


def draw(figure: Any, found: dict[str, dict[str, Record]]) -> None:
    """For each environment the learning curves; beside them how often the gate is on, and what it compares."""
    figure.set_size_inches(11, 4.4 * len(found) + 0.5)
    grid = figure.add_gridspec(2 * len(found), 2, width_ratios=(3, 2))
    for i, (env, by_label) in enumerate(found.items()):
        left = figure.add_subplot(grid[2 * i : 2 * i + 2, 0])
        share, values = (figure.add_subplot(grid[2 * i + k, 1]) for k in range(2))
        for (label, record), colour in zip(by_label.items(), COLOURS, strict=False):
            runs.draw_curve(left, record, label, colour, "--" if label == FIXED else "-")
        runs.dress(left, env, "return of an episode")
        runs.draw_metric(share, by_label[OBAC], "gate/on", COLOURS[0])
        share.set_ylim(-0.05, 1.05)
        runs.dress(share, "OBAC's gate: share of updates with the constraint", "on")
        for name, colour in (("policy_value", COLOURS[0]), ("behaviour_value", COLOURS[3])):
            runs.draw_metric(values, by_label[OBAC], f"gate/{name}", colour, name.replace("_", " "))
        values.axhline(0, color=LINE, linewidth=1)
        values.legend(frameon=False, fontsize=8)
        runs.dress(values, "what the gate compares", "value")
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
