"""Three learners of one environment: SAC, IQL on SAC's own replay, and IQL that collects for itself.

This is the experiment that motivates OBAC (Luo et al. 2024, arXiv:2405.18520). SAC and the concurrent IQL are both
evaluated in runs of `iql_concurrent` with the same seeds, so that they have the same replay; the runs differ only in
whose policy is evaluated (`play`). All learners have the same networks, batch size, learning rates and random first
steps.
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import TYPE_CHECKING

from ..report.drawing import COLOURS, LINE
from ..runs.read import Record
from . import pictures, runs
from .base import sized
from .result import Result

if TYPE_CHECKING:
    from matplotlib.figure import Figure

QUICK = runs.OnlineSize(
    envs=("Pendulum-v1",), steps=15_000, seeds=5, hidden=(64, 64), batch_size=128, warmup=1_000, evaluations=20,
    episodes=5,
)  # fmt: skip
PAPER = runs.OnlineSize(
    envs=("Hopper-v5",), steps=1_000_000, seeds=5, hidden=(512, 512), batch_size=512, warmup=5_000, evaluations=100,
    episodes=5,
)  # fmt: skip

SAC = "SAC"
CONCURRENT = "IQL concurrent"
ONLINE = "IQL online"
ARMS = (
    runs.Arm(SAC, "iql_concurrent", {"play": "sac"}),
    runs.Arm(CONCURRENT, "iql_concurrent", {"play": "iql"}),
    runs.Arm(ONLINE, "iql_online", {"trunk": "normed", "expectile": 0.9}),
)
CLAIM = (
    "The paper's claim: IQL that trains on SAC's replay and never acts can do better than SAC, on some tasks and not "
    "on others; IQL that collects for itself is worse."
)


@dataclasses.dataclass(frozen=True)
class Args(runs.OnlineArgs):
    """Compare SAC, IQL on SAC's replay (IQL concurrent), and IQL that collects for itself (IQL online)."""

    runs: Path = Path("studies/runs/obac-motivation")
    """Folder of the runs. Finished runs are read, interrupted runs are resumed."""


def run(args: Args | None = None) -> Result:
    """Run the whole study.

    Raises:
        UserError: a number is out of range, an environment is unknown or has discrete actions, or `args.runs` contains
            runs with other settings.
    """
    args = Args() if args is None else args
    size = sized(args, QUICK, PAPER)
    title = "SAC, IQL on SAC's replay, and IQL on its own replay"
    return runs.OnlineStudy("obac-motivation", title, CLAIM, summary, draw).run(ARMS, size, args.runs)


def summary(env: str, found: dict[str, Record]) -> str:
    """What the runs in one environment show, in sentences."""
    sac, concurrent, online = (found[label] for label in (SAC, CONCURRENT, ONLINE))
    gaps = [gap for gap in runs.interval_means(concurrent, "gate/difference") if not math.isnan(gap)]
    last = ", ".join(f"{label} {record.returns[:, -1].mean():.1f}" for label, record in found.items())
    return (
        f"Observed in {env}, {len(sac.seeds)} seeds: last returns {last}. Mean over the run, paired by seed: "
        f"IQL concurrent less SAC {runs.verdict(runs.gain(concurrent, sac))}; "
        f"IQL online less SAC {runs.verdict(runs.gain(online, sac))}; "
        f"IQL concurrent less IQL online {runs.verdict(runs.gain(concurrent, online))}. "
        f"IQL's value of the replayed actions less SAC's value of its own actions: {gaps[0]:+.3g} at the start, "
        f"{gaps[-1]:+.3g} at the end."
    )


def draw(figure: Figure, found: dict[str, dict[str, Record]]) -> None:
    """Draw a row for each environment: the learning curves, and the difference that OBAC's gate would compare."""
    figure.set_size_inches(11, 4 * len(found) + 0.5)
    axes = figure.subplots(len(found), 2, squeeze=False, width_ratios=(3, 2))
    for (left, right), (env, by_label) in zip(axes, found.items(), strict=True):
        pictures.draw_curves(left, by_label)
        pictures.dress(left, env, "return of an episode")
        pictures.draw_metric(right, by_label[CONCURRENT], "gate/difference", COLOURS[1])
        right.axhline(0, color=LINE, linewidth=1.2)
        pictures.dress(right, "IQL's value of replayed actions less SAC's of its own", "difference of values")
    pictures.legend_below(figure, axes[0, 0], 3)
