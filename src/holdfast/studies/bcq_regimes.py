"""BCQ's four regimes: what offline learners make of the same task logged in four ways (Fujimoto, Meger, Precup 2019).

arXiv:1812.02900, section 5, figure 5. *Final buffer*: DDPG learned with large noise, and its whole replay is the log.
*Concurrent*: DDPG learns with small noise, and the offline learner beside it sees what has been collected so far.
*Imitation*: transitions of an expert. *Imperfect demonstrations*: the expert with 30 % uniform actions and noise.

Beside the return stands what the learner believes of its actions: in DDPG's the extrapolation error shows.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..collection import from_run, presets
from ..collection.play import mean_return
from ..core.errors import UserError
from ..data.dataset import Dataset
from ..environments.gym.adapter import make_env
from ..report.curves import COLOURS, FAINT
from ..runs.read import Record
from ..training.hooks import Progress
from . import runs
from .result import Result

REGIMES = ("final-buffer", "concurrent", "imitation", "imperfect")
CLAIM = (
    "The paper's claim: DDPG, though off-policy, fails on logs that it did not collect itself, even where it learns "
    "beside their author on the same stream; BCQ learns from all four, matches or exceeds its demonstrator, and its "
    "value estimates stay sound; cloning does well on an expert's log only."
)
HEADER = ("regime", "learner", "return", "low", "high", "of the log", "value believed", "of the log's steps")
DISCOUNT = 0.99


@dataclasses.dataclass(frozen=True)
class Args:
    """DDPG, BC, VAE-BC and BCQ on a final buffer, beside the behaviour, on an expert's log and on an imperfect one."""

    paper: bool = False
    """The paper's size: Hopper-v5, 1 000 000 steps, 5 seeds, networks of 400-300; days on two cores."""
    env: str | None = None
    """An environment; Pendulum-v1 where not given. With discrete actions: DQN, BC and discrete BCQ."""
    steps: int | None = None
    """Of the logs: 12 000; imperfect demonstrations are a quarter of that (the paper: a tenth)."""
    seeds: int | None = None
    """Of the offline learners, how many; 3. The logs are of one behaviour."""
    seed: int = 0
    """The first, and the behaviour's."""
    hidden: tuple[int, ...] | None = None
    """Widths of the hidden layers of every learner; 64 64."""
    runs: Path = Path("studies/runs/bcq-regimes")
    """Where logs and runs stand: finished ones are read, stopped ones go on."""


class Size(NamedTuple):
    """How large the study is."""

    env: str
    steps: int
    imperfect: float  # steps of the imperfect demonstrations, as a share of `steps`
    seeds: int
    seed: int
    warmup: int  # random steps at the behaviour's start
    hidden: tuple[int, ...]
    vae_hidden: tuple[int, ...]
    evaluations: int
    episodes: int


QUICK = Size("Pendulum-v1", 12_000, 0.25, 3, 0, 1_000, (64, 64), (64, 64), 8, 10)
PAPER = Size("Hopper-v5", 1_000_000, 0.1, 5, 0, 25_000, (400, 300), (750, 750), 50, 10)


def size_of(args: Args) -> Size:
    """The size that the flags ask for.

    Raises:
        UserError: numbers out of range.
    """
    base = PAPER if args.paper else QUICK
    given = {name: getattr(args, name) for name in ("env", "steps", "seeds", "seed", "hidden")}
    size = base._replace(**{name: value for name, value in given.items() if value is not None})
    size = size._replace(warmup=min(size.warmup, size.steps // 4))
    least = {"steps": 20 * size.evaluations, "seeds": 1, "seed": 0}
    faults = [
        f"{n} is {getattr(size, n)}, expected at least {low}" for n, low in least.items() if getattr(size, n) < low
    ]
    if faults:
        raise UserError("; ".join(faults))
    return size


def learners(size: Size) -> tuple[runs.Arm, ...]:
    """The offline learners, with equal networks.

    VAE-BC acts by decoding one latent: BCQ with one candidate and no perturbation, whose critics decide nothing then.
    """
    env = make_env(size.env)
    discrete = not hasattr(env.action_space, "low")
    env.close()
    nets: dict[str, Any] = {"hidden": size.hidden}
    cloning = runs.Arm("BC", "bc", {**nets, "batch_size": 100} | ({} if discrete else {"actor_lr": 1e-3}))
    if discrete:
        return runs.Arm("DQN", "dqn", nets), cloning, runs.Arm("BCQ", "discrete_bcq", nets)
    vae = {**nets, "vae_hidden": size.vae_hidden}
    one = {"acting_candidates": 1, "candidates": 1, "phi": 0.0}
    return (
        runs.Arm("DDPG", "ddpg", nets),
        cloning,
        runs.Arm("VAE-BC", "bcq", {**vae, **one}),
        runs.Arm("BCQ", "bcq", vae),
    )


class Regime(NamedTuple):
    """One log, the behaviour's curve where it learned on the way, and what was learned from it."""

    data: Dataset
    behaviour: Record | None
    runs: dict[str, Record]


def written(regime: str, size: Size, folder: Path) -> Dataset:
    """The log of a regime, made where it is not there yet.

    Raises:
        UserError: anything that making it refuses.
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
    """Every learner on the log of a regime; as many updates as the behaviour made."""
    data = written(regime, size, folder)
    updates = size.steps - size.warmup
    found = {}
    for arm in learners(size):
        growing = {"growing": 1.0} if regime == "concurrent" else {}
        found[arm.label] = runs.learn_offline(
            arm,
            str(folder / "logs" / f"{regime}.npz"),
            folder / regime / arm.label,
            steps=updates,
            seeds=size.seeds,
            seed=size.seed,
            evaluations=size.evaluations,
            eval_episodes=size.episodes,
            **growing,
        )
    behaviour = runs.read_run(folder / f"behaviour-{regime}") if regime in presets.REPLAYS else None
    return Regime(data, behaviour, found)


def believed(run: Record) -> float:
    """What a learner's critic says of its own actions at the end, mean over seeds; NaN where it has none."""
    for name in ("actor/q", "critic/q", "critic/value"):
        if name in run.metrics:
            return float(np.nanmean(run.metrics[name][:, -1]))
    return float("nan")


def rows_of(regime: str, found: Regime) -> list[tuple[Any, ...]]:
    """A row for each learner: its last return, the log's, and the value believed beside that of the log's steps."""
    logged = mean_return(found.data)
    steps = value_of_steps(found.data)
    rows = []
    for label, run in found.runs.items():
        mean, low, high = (float(x[-1]) for x in run.over_seeds(list(range(len(run.replicas)))))
        q = float("nan") if label in ("BC", "VAE-BC") else believed(run)
        rows.append((regime, label, mean, low, high, logged, q, steps))
    return rows


def value_of_steps(data: Dataset) -> float:
    """Mean discounted return from each logged step to its episode's end: what the logging policy's critic would say.

    Where time limits cut episodes it is too near zero: nothing is counted beyond them.
    """
    value, ahead = np.zeros(data.n_steps), 0.0
    last = set((data.offsets[1:] - 1).tolist())
    for i in range(data.n_steps - 1, -1, -1):
        ahead = data.rewards[i] + (0.0 if i in last else DISCOUNT * ahead)
        value[i] = ahead
    return float(value.mean())


def run(args: Args | None = None) -> Result:
    """The whole study.

    Raises:
        UserError: numbers out of range, an environment that is unknown, or runs of other settings where these would
            stand.
    """
    args = Args() if args is None else args
    size = size_of(args)
    found = {
        regime: learn(regime, size, args.runs) for regime in ("concurrent", *(r for r in REGIMES if r != "concurrent"))
    }
    found = {regime: found[regime] for regime in REGIMES}
    rows = [row for regime, each in found.items() for row in rows_of(regime, each)]
    return Result(
        "bcq-regimes",
        f"BCQ's four regimes, {size.env}",
        {**size._asdict(), "learners": [arm._asdict() for arm in learners(size)], "runs": str(args.runs)},
        HEADER,
        rows,
        [CLAIM, *seen(found)],
        lambda figure: draw(figure, found),
    )


def seen(found: dict[str, Regime]) -> list[str]:
    """What the runs say, regime by regime."""
    said = []
    for regime, each in found.items():
        ends = {label: run.returns[:, -1].mean() for label, run in each.runs.items()}
        order = sorted(ends, key=lambda label: -ends[label])
        off = [label for label in each.runs if label in ("DDPG", "DQN")]
        gains = {label: last_gain(each.runs["BCQ"], each.runs[label]) for label in off}
        differences = "; ".join(
            f"BCQ less {label}, last returns seed by seed, {runs.verdict(gain)}" for label, gain in gains.items()
        )
        beliefs = "; ".join(f"{label} believes {believed(each.runs[label]):.3g}" for label in (*off, "BCQ"))
        listed = ", ".join(f"{label} {ends[label]:.1f}" for label in order)
        logged = mean_return(each.data)
        beside = (
            ""
            if each.behaviour is None
            else f", the behaviour's policy at its end {each.behaviour.returns[:, -1].mean():.1f}"
        )
        said.append(f"{regime}: {listed}; the log {logged:.1f}{beside}. {differences}. Values: {beliefs}.")
    return said


def last_gain(one: Record, other: Record) -> Any:
    """By how much the last return of `one` is above that of `other`, with its interval over seeds."""
    return runs.mean_interval(one.returns[:, -1].mean(1) - other.returns[:, -1].mean(1))


def draw(figure: Any, found: dict[str, Regime]) -> None:
    """A panel for each regime: the learners' curves, the behaviour's where it learned, the log's mean return."""
    figure.set_size_inches(12, 7)
    axes = figure.subplots(2, 2, sharey=True)
    for axis, (regime, each) in zip(axes.flat, found.items(), strict=True):
        logged = mean_return(each.data)
        axis.axhline(logged, color=FAINT, linewidth=1, linestyle=":", label="mean of the log")
        if each.behaviour is not None:
            mean = each.behaviour.returns.mean((0, 2))
            updates = each.behaviour.eval_steps - each.behaviour.config["config"]["warmup"]
            axis.plot(
                updates[updates >= 0], mean[updates >= 0], "--", color=FAINT, linewidth=1.6, label="behaviour, learning"
            )
        for (label, run_), colour in zip(each.runs.items(), COLOURS, strict=False):
            runs.draw_curve(axis, run_, label, colour)
        runs.dress(axis, regime.replace("-", " "), "return of an episode")
        axis.set_xlabel("updates")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=6, frameon=False)
