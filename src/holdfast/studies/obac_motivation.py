"""Three learners of one environment: SAC, IQL on SAC's own replay, and IQL that collects for itself.

Luo et al. 2024 (arXiv:2405.18520) start from this experiment. SAC's policy is judged on the very runs whose replay the
concurrent IQL reads: both curves are of `iql_concurrent`, with the same seeds, updates and episodes, and differ only in
whose policy is played (its `play`). All learners have the same networks, batch, rates and random first steps.
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

from ..report.curves import COLOURS, LINE
from ..runs.read import Record
from . import runs
from .result import Result

QUICK = runs.Size(("Pendulum-v1",), 15_000, 5, 0, 20, {"hidden": (64, 64), "batch_size": 128, "warmup": 1_000})
PAPER = runs.Size(("Hopper-v5",), 1_000_000, 5, 0, 100, {"hidden": (512, 512), "batch_size": 512, "warmup": 5_000})

SAC, CONCURRENT, ONLINE = "SAC", "IQL concurrent", "IQL online"
ARMS = (
    runs.Arm(SAC, "iql_concurrent", {"play": "sac"}),
    runs.Arm(CONCURRENT, "iql_concurrent", {"play": "iql"}),
    runs.Arm(ONLINE, "iql_online", {"trunk": "normed", "expectile": 0.9}),
)
CLAIM = (
    "The paper's claim: IQL trained beside SAC, on SAC's replay and without acting, can do better than SAC, on some "
    "tasks and not on others; IQL that has to collect for itself stays behind."
)


@dataclasses.dataclass(frozen=True)
class Args:
    """SAC, IQL trained beside it on its replay (IQL concurrent), and IQL that collects for itself (IQL online)."""

    paper: bool = False
    """The paper's size: Hopper-v5, 1 000 000 steps, 5 seeds, networks of 512-512; days on two cores."""
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
    runs: Path = Path("studies/runs/obac-motivation")
    """Where the runs stand: finished ones are read, stopped ones go on."""


def size_of(args: Any, quick: runs.Size, paper: runs.Size) -> runs.Size:
    """The size that the flags ask for."""
    base = paper if args.paper else quick
    given = {name: getattr(args, name) for name in ("envs", "steps", "seeds", "seed")}
    hidden = {} if args.hidden is None else {"hidden": args.hidden}
    return base._replace(
        config={**base.config, **hidden}, **{name: value for name, value in given.items() if value is not None}
    )


def run(args: Args | None = None) -> Result:
    """The whole study.

    Raises:
        UserError: numbers out of range, an environment that is unknown or has discrete actions, or runs of other
            settings where these would stand.
    """
    args = Args() if args is None else args
    size = size_of(args, QUICK, PAPER)
    found = runs.learn_all(ARMS, size, args.runs)
    rows = []
    for env, by_label in found.items():
        for label, record in by_label.items():
            rows += runs.rows_of(env, label, record)
    return Result(
        "obac-motivation",
        "SAC, IQL on SAC's replay, and IQL on its own",
        {**size._asdict(), "arms": [arm._asdict() for arm in ARMS], "runs": str(args.runs)},
        runs.HEADER,
        rows,
        [CLAIM, *(seen(env, by_label) for env, by_label in found.items())],
        lambda figure: draw(figure, found),
    )


def seen(env: str, found: dict[str, Record]) -> str:
    """What the runs of one environment say."""
    sac, concurrent, online = (found[label] for label in (SAC, CONCURRENT, ONLINE))
    gaps = [gap for gap in runs.stretch(concurrent, "gate/difference") if not math.isnan(gap)]
    last = ", ".join(f"{label} {record.returns[:, -1].mean():.1f}" for label, record in found.items())
    return (
        f"Seen in {env}, {len(sac.seeds)} seeds: last returns {last}. Mean over the run, seed by seed: "
        f"IQL concurrent less SAC {runs.verdict(runs.gain(concurrent, sac))}; "
        f"IQL online less SAC {runs.verdict(runs.gain(online, sac))}; "
        f"IQL concurrent less IQL online {runs.verdict(runs.gain(concurrent, online))}. "
        f"IQL's value of the replayed actions less SAC's of its own: {gaps[0]:+.3g} at first, {gaps[-1]:+.3g} at last."
    )


def draw(figure: Any, found: dict[str, dict[str, Record]]) -> None:
    """For each environment the learning curves, and beside them what OBAC's gate would see."""
    figure.set_size_inches(11, 4 * len(found) + 0.5)
    axes = figure.subplots(len(found), 2, squeeze=False, width_ratios=(3, 2))
    for (left, right), (env, by_label) in zip(axes, found.items(), strict=True):
        for (label, record), colour in zip(by_label.items(), COLOURS, strict=False):
            runs.draw_curve(left, record, label, colour)
        runs.dress(left, env, "return of an episode")
        runs.draw_metric(right, by_label[CONCURRENT], "gate/difference", COLOURS[1])
        right.axhline(0, color=LINE, linewidth=1.2)
        runs.dress(right, "IQL's value of replayed actions less SAC's of its own", "difference of values")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
