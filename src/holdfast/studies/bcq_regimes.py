"""BCQ's four regimes: offline learners on the same task logged in four ways (Fujimoto, Meger, Precup 2019).

arXiv:1812.02900, section 5, figure 5. *Final buffer*: DDPG learned with large noise, and its whole replay is the log.
*Concurrent*: DDPG learns with small noise, and each update of the offline learner draws from what DDPG had collected by
then. *Imitation*: transitions of an expert. *Imperfect demonstrations*: the expert with 30 % uniform actions and noise.

The table shows the return and the value that a learner estimates for its own actions: DDPG's estimates show the
extrapolation error.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..collection import from_run, presets
from ..collection.play import mean_return
from ..data.dataset import Dataset
from ..environments.gym.adapter import make_env
from ..evaluation.statistics import Estimate, mean_interval
from ..report.drawing import FAINT
from ..runs.read import Record
from ..training.hooks import Progress
from . import base, pictures, runs
from .result import Result, Row

if TYPE_CHECKING:
    from matplotlib.figure import Figure

REGIMES = ("final-buffer", "concurrent", "imitation", "imperfect")
CLAIM = (
    "The paper's claim: DDPG, an off-policy method, fails on logs that it did not collect itself, even if it learns "
    "concurrently with the behaviour on the same stream; BCQ learns from all four logs, matches or exceeds the "
    "behaviour, and its value estimates stay close to the returns; cloning does well on an expert's log only."
)
HEADER = ("regime", "learner", "return", "low", "high", "of the log", "value estimate", "of the log's steps")
DISCOUNT = 0.99


@dataclasses.dataclass(frozen=True)
class Args:
    """Compare DDPG, BC, VAE-BC and BCQ on a final buffer, a growing log, an expert's log and an imperfect one."""

    paper: bool = False
    """Use the paper's size: Hopper-v5, 1 000 000 steps, 5 seeds, networks of 400-300; days on two cores."""
    env: str | None = None
    """The environment. With discrete actions: DQN, BC and discrete BCQ. Default: Pendulum-v1."""
    steps: int | None = None
    """Steps of the logs; imperfect demonstrations have a quarter of that (paper: a tenth). Default: 12 000."""
    seeds: int | None = None
    """Number of seeds of the offline learners; the logs are of one behaviour. Default: 3."""
    seed: int = 0
    """The first seed, and the seed of the behaviour."""
    hidden: tuple[int, ...] | None = None
    """Widths of the hidden layers of every learner. Default: 64 64."""
    runs: Path = Path("studies/runs/bcq-regimes")
    """Folder of the logs and the runs. Finished runs are read, interrupted runs are resumed."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Size(base.Size):
    """The size of this study; `steps` are those of the logs.

    Attributes:
        env: id of the environment.
        imperfect: steps of the imperfect demonstrations, as a share of `steps`.
        warmup: random steps of the behaviour before its first update.
        vae_hidden: widths of BCQ's autoencoder.
    """

    env: str
    imperfect: float
    warmup: int
    vae_hidden: tuple[int, ...]

    def minimum(self) -> Mapping[str, int]:
        """The smallest allowed value of each number."""
        return {"steps": 20 * self.evaluations, "seeds": 1, "seed": 0}

    @property
    def updates(self) -> int:
        """Updates of each learner: as many as the behaviour made."""
        return self.steps - self.warmup


QUICK = Size(
    env="Pendulum-v1", steps=12_000, imperfect=0.25, seeds=3, warmup=1_000, hidden=(64, 64), vae_hidden=(64, 64),
    evaluations=8, episodes=10,
)  # fmt: skip
PAPER = Size(
    env="Hopper-v5", steps=1_000_000, imperfect=0.1, seeds=5, warmup=25_000, hidden=(400, 300), vae_hidden=(750, 750),
    evaluations=50, episodes=10,
)  # fmt: skip


def size_of(args: Args) -> Size:
    """The size that the flags ask for; the warm-up is at most a quarter of the steps.

    Raises:
        UserError: a number is out of range.
    """
    size = base.size_of(args, QUICK, PAPER)
    return dataclasses.replace(size, warmup=min(size.warmup, size.steps // 4))


def learners(size: Size) -> tuple[runs.Arm, ...]:
    """The offline learners, with equal networks.

    VAE-BC decodes one latent and takes that action. It is BCQ with one candidate and no perturbation, so that its
    critics have no influence on the action.
    """
    env = make_env(size.env)
    discrete = not hasattr(env.action_space, "low")
    env.close()
    nets: dict[str, Any] = {"hidden": size.hidden}
    own = {**nets, "batch_size": 100} | ({} if discrete else {"actor_lr": 1e-3})
    cloning = runs.Arm("BC", "bc", {**runs.CLONING, **own})
    if discrete:
        tuned = runs.preset_of("discrete_bcq", "tuned_100k")
        return runs.Arm("DQN", "dqn", nets), cloning, runs.Arm("BCQ", "discrete_bcq", nets, tuned)
    vae = {**nets, "vae_hidden": size.vae_hidden}
    one = {"acting_candidates": 1, "candidates": 1, "phi": 0.0}
    return (
        runs.Arm("DDPG", "ddpg", nets),
        cloning,
        runs.Arm("VAE-BC", "bcq", {**vae, **one}),
        runs.Arm("BCQ", "bcq", vae),
    )


class Regime(NamedTuple):
    """One log and the runs on it."""

    data: Dataset
    behaviour: Record | None  # the run that wrote the log; None: the log is of a fixed policy
    runs: dict[str, Record]


def written(regime: str, size: Size, folder: Path) -> Dataset:
    """The log of a regime; it is made if it does not exist yet.

    Raises:
        UserError: the log cannot be made.
    """
    agents = {name: folder / f"behaviour-{name}" for name in presets.REPLAYS}
    asked = presets.LogRequest(preset=regime, env=size.env, seed=size.seed)
    config = {"hidden": size.hidden, "warmup": size.warmup}
    if regime in agents:
        asked = dataclasses.replace(asked, steps=size.steps, agent=agents[regime], config=config)
    else:
        steps = size.steps if regime == "imitation" else max(1, round(size.steps * size.imperfect))
        expert = max(from_run.policies(agents["concurrent"]), key=lambda kept: kept[1])[2]
        asked = dataclasses.replace(asked, by=str(expert), steps=steps)
    return presets.load_or_make(asked, regime, folder / "logs" / f"{regime}.npz", [Progress()])


def learn(regime: str, size: Size, folder: Path) -> Regime:
    """Train every learner on the log of a regime, with as many updates as the behaviour made."""
    data = written(regime, size, folder)
    log = str(folder / "logs" / f"{regime}.npz")
    growing = {"growing": 1.0} if regime == "concurrent" else {}
    found = runs.learn_each(learners(size), folder / regime, size, data=log, steps=size.updates, **growing)
    behaviour = runs.read_run(folder / f"behaviour-{regime}") if regime in presets.REPLAYS else None
    return Regime(data, behaviour, found)


def estimate(run: Record) -> float:
    """The critic's value of the learner's own actions at the end, mean over seeds; NaN if there is no critic."""
    for name in ("actor/q", "critic/q", "critic/value"):
        if name in run.metrics:
            return float(np.nanmean(run.metrics[name][:, -1]))
    return float("nan")


def rows_of(regime: str, found: Regime) -> list[Row]:
    """A row for each learner: its last return, the log's return, its value estimate, the value of the log's steps."""
    logged = mean_return(found.data)
    steps = value_of_steps(found.data)
    rows: list[Row] = []
    for label, run in found.runs.items():
        mean, low, high = (float(x[-1]) for x in run.over_seeds(list(range(len(run.replicas)))))
        q = float("nan") if label in ("BC", "VAE-BC") else estimate(run)
        rows.append((regime, label, mean, low, high, logged, q, steps))
    return rows


def value_of_steps(data: Dataset) -> float:
    """Mean discounted return from each logged step to the end of its episode.

    Rewards after a time limit are not counted, so that the value of a truncated episode is too close to zero.
    """
    value = np.zeros(data.n_steps)
    ahead = 0.0
    last = set((data.offsets[1:] - 1).tolist())
    for i in range(data.n_steps - 1, -1, -1):
        ahead = data.rewards[i] + (0.0 if i in last else DISCOUNT * ahead)
        value[i] = ahead
    return float(value.mean())


def run(args: Args | None = None) -> Result:
    """Run the whole study.

    Raises:
        UserError: a number is out of range, the environment is unknown, or `args.runs` contains runs with other
            settings.
    """
    args = Args() if args is None else args
    size = size_of(args)
    order = ("concurrent", *(r for r in REGIMES if r != "concurrent"))  # the expert is a policy of that behaviour
    trained = {regime: learn(regime, size, args.runs) for regime in order}
    found = {regime: trained[regime] for regime in REGIMES}
    return Result(
        "bcq-regimes",
        f"BCQ's four regimes, {size.env}",
        {**dataclasses.asdict(size), "learners": [arm._asdict() for arm in learners(size)], "runs": str(args.runs)},
        HEADER,
        [row for regime, each in found.items() for row in rows_of(regime, each)],
        [CLAIM, *summary(found)],
        lambda figure: draw(figure, found),
    )


def summary(found: dict[str, Regime]) -> list[str]:
    """What the runs show, in a sentence for each regime."""
    notes = []
    for regime, each in found.items():
        ends = {label: run.returns[:, -1].mean() for label, run in each.runs.items()}
        listed = ", ".join(f"{label} {ends[label]:.1f}" for label in sorted(ends, key=lambda label: -ends[label]))
        off_policy = [label for label in each.runs if label in ("DDPG", "DQN")]
        differences = "; ".join(
            f"BCQ less {label}, last returns paired by seed, "
            f"{runs.verdict(last_gain(each.runs['BCQ'], each.runs[label]))}"
            for label in off_policy
        )
        values = ", ".join(f"{label} {estimate(each.runs[label]):.3g}" for label in (*off_policy, "BCQ"))
        behaviour = ""
        if each.behaviour is not None:
            behaviour = f", the behaviour's last policy {each.behaviour.returns[:, -1].mean():.1f}"
        notes.append(
            f"{regime}: {listed}; the log {mean_return(each.data):.1f}{behaviour}. {differences}. "
            f"Value estimates: {values}."
        )
    return notes


def last_gain(one: Record, other: Record) -> Estimate:
    """The last return of `one` minus that of `other`, paired by seed, with its interval over seeds."""
    return mean_interval(one.returns[:, -1].mean(1) - other.returns[:, -1].mean(1))


def draw(figure: Figure, found: dict[str, Regime]) -> None:
    """Draw a panel for each regime: the learners' curves, the behaviour's curve, and the log's mean return."""
    figure.set_size_inches(12, 7)
    axes = figure.subplots(2, 2, sharey=True)
    for axis, (regime, each) in zip(axes.flat, found.items(), strict=True):
        axis.axhline(mean_return(each.data), color=FAINT, linewidth=1, linestyle=":", label="mean of the log")
        if each.behaviour is not None:
            mean = each.behaviour.returns.mean((0, 2))
            updates = each.behaviour.eval_steps - each.behaviour.config["config"]["warmup"]
            learning = updates >= 0
            axis.plot(
                updates[learning], mean[learning], "--", color=FAINT, linewidth=1.6, label="behaviour, learning"
            )  # fmt: skip
        pictures.draw_curves(axis, each.runs)
        pictures.dress(axis, regime.replace("-", " "), "return of an episode", "updates")
    pictures.legend_below(figure, axes[0, 0], 6)
