"""Runs of a study. Each is trained once; an interrupted run is resumed, and a finished run is only read."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..algorithms import registry
from ..evaluation.statistics import Estimate, mean_interval
from ..runs.read import Record, read_run
from ..runs.settings import Settings
from ..training.hooks import Progress
from ..training.launch import ensure_finished, located
from .base import Size, refuse
from .result import Result, Row

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MILESTONES = 5  # rows of a table for each learner


class Arm(NamedTuple):
    """One learner of a study. `preset` None: the algorithm's default, which has its published settings."""

    label: str
    algorithm: str
    config: dict[str, Any]
    preset: str | None = None


# cloning that ends with a steady policy, after few updates too
CLONING: dict[str, Any] = {"actor_lr": 3e-4, "batch_size": 256, "actor_decay_steps": "run"}


def preset_of(algorithm: str, name: str) -> str | None:
    """`name` if the algorithm has a preset with this name; else None, its default."""
    return name if name in registry.get(algorithm).presets else None


# settings that count the updates of a first stage
STAGES = ("vae_steps", "behaviour_steps", "warm_start", "cloning_steps", "model_steps")


def shortened(values: Mapping[str, Any], stage: int | None, hidden: Sequence[int]) -> dict[str, Any]:
    """The settings of a method that make a run short, of those that it has.

    Args:
        values: all settings of the method.
        stage: updates of a first stage, at most; None: as they are.
        hidden: widths of the hidden layers of every network; empty: as they are.
    """
    small = {name: list(hidden) for name in values if name.endswith("hidden")} if hidden else {}
    stages = {name: min(values[name], stage) for name in STAGES if name in values} if stage is not None else {}
    return small | stages


@dataclasses.dataclass(frozen=True)
class OnlineArgs:
    """The flags of a study whose learners collect in environments."""

    paper: bool = False
    """Use the paper's size: Hopper-v5, 1 000 000 steps, 5 seeds, networks of 512-512; days on two cores."""
    envs: tuple[str, ...] | None = None
    """Environments with continuous actions. Default: Pendulum-v1."""
    steps: int | None = None
    """Environment steps of each seed. Default: 15 000."""
    seeds: int | None = None
    """Number of seeds. Default: 5."""
    seed: int = 0
    """The first seed."""
    hidden: tuple[int, ...] | None = None
    """Widths of the hidden layers. Default: 64 64."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class OnlineSize(Size):
    """The size of a study whose learners collect in environments.

    Attributes:
        envs: ids of the environments.
        batch_size: rows of a batch of every learner.
        warmup: random steps before the first update.
    """

    envs: tuple[str, ...]
    batch_size: int
    warmup: int

    def minimum(self) -> Mapping[str, int]:
        """The smallest allowed value of each number."""
        return {"seeds": 1, "steps": self.warmup + MILESTONES}

    def faults(self) -> list[str]:
        """One sentence for each fault."""
        return [*super().faults(), *([] if self.envs else ["envs is empty, expected at least one environment"])]

    @property
    def config(self) -> dict[str, Any]:
        """Settings that every learner has: networks, batch and warm-up."""
        return {"hidden": self.hidden, "batch_size": self.batch_size, "warmup": self.warmup}


def learn(
    arm: Arm,
    folder: Path,
    size: Size,
    *,
    data: str | None = None,
    steps: int | None = None,
    evaluations: int | None = None,
    **settings: str | float | list[str],
) -> Record:
    """The finished run of one learner: trained, resumed, or read.

    Args:
        arm: the learner.
        folder: the run's folder.
        size: number of seeds, and the evaluations.
        data: name or path of the log; None: learn in an environment alone.
        steps: steps of the run; None: those of `size`.
        evaluations: number of evaluations; None: that of `size`.
        settings: more arguments of `train`.

    Raises:
        UserError: `folder` contains a run with other settings, or `train` refuses the settings.
    """
    length = size.steps if steps is None else steps
    every = max(1, length // (evaluations or size.evaluations))
    asked: dict[str, Any] = {"steps": length, "seeds": size.seeds, "seed": size.seed, **settings}
    asked |= {"eval_every": every, "eval_episodes": size.episodes}
    if data is None:
        asked["block"] = min(1000, every)
    else:
        asked["data"] = located(data)
    return finished(Settings.of(arm.algorithm, preset=arm.preset, config=arm.config, **asked), folder)


def finished(settings: Settings, folder: Path) -> Record:
    """The finished run in `folder`: started if there is none, resumed if it was interrupted.

    Raises:
        UserError: `folder` contains a run with other settings.
    """
    ensure_finished(settings, folder, "--runs", [Progress()])
    return read_run(folder)


def learn_each(
    arms: Sequence[Arm],
    folder: Path,
    size: Size,
    *,
    data: str | None = None,
    steps: int | None = None,
    **settings: str | float | list[str],
) -> dict[str, Record]:
    """The run of each learner, `{label: run}`, in `folder/LABEL`. The arguments are those of `learn`."""
    found = {}
    for arm in arms:
        own = folder / arm.label.replace(" ", "-")
        found[arm.label] = learn(arm, own, size, data=data, steps=steps, evaluations=None, **settings)
    return found


def learn_all(arms: Sequence[Arm], size: OnlineSize, folder: Path) -> dict[str, dict[str, Record]]:
    """Every learner in every environment: `{environment: {label: run}}`, in `folder/ENV/LABEL`.

    Raises:
        UserError: the size is out of range, or anything that `learn` raises.
    """
    refuse(size.faults())
    arms = [arm._replace(config={**size.config, **arm.config}) for arm in arms]
    return {env: learn_each(arms, folder / env.replace("/", "-"), size, env=env) for env in size.envs}


def milestones(run: Record) -> list[int]:
    """Indices into `run.eval_steps` at equal distances; the last evaluation is always one of them."""
    steps = run.eval_steps
    marks = [steps[-1] * (i + 1) / MILESTONES for i in range(MILESTONES)]
    return sorted({int(np.abs(steps - mark).argmin()) for mark in marks})


HEADER = ("env", "learner", "steps", "return", "low", "high", "mean so far")


def rows_of(env: str, label: str, run: Record) -> list[Row]:
    """(env, learner, steps, return, low, high, mean so far) at each milestone.

    `low` and `high` bound the 95 % interval over seeds and episodes. The mean so far is the mean of all evaluations up
    to this one: the area under the learning curve.
    """
    mean, low, high = run.over_seeds(list(range(len(run.replicas))))
    return [
        (env, label, int(run.eval_steps[t]), *(float(x[t]) for x in (mean, low, high)), float(mean[: t + 1].mean()))
        for t in milestones(run)
    ]


def interval_means(run: Record, metric: str) -> list[float]:
    """The mean of a metric over seeds and the steps from one milestone to the next; NaN before the first update."""
    edges = [0, *(int(run.eval_steps[t]) for t in milestones(run))]
    steps = run.metric_steps
    values = run.metrics[metric]
    found = []
    for low, high in itertools.pairwise(edges):
        inside = values[:, (steps > low) & (steps <= high)]
        found.append(float(np.nanmean(inside)) if np.isfinite(inside).any() else float("nan"))
    return found


def gain(one: Record, other: Record) -> Estimate:
    """Mean over the run of `one` minus `other`, paired by seed, with its 95 % interval over seeds."""
    return mean_interval((one.returns.mean(2) - other.returns.mean(2)).mean(1))


def verdict(difference: Estimate) -> str:
    """A difference in words, as far as its interval allows."""
    if difference.low is None or difference.high is None:
        return f"{difference.value:+.1f} (one seed: its spread is not known)"
    bounds = f"{difference.value:+.1f} [{difference.low:+.1f}, {difference.high:+.1f}]"
    if difference.low > 0:
        return f"{bounds}: above"
    return f"{bounds}: below" if difference.high < 0 else f"{bounds}: no difference that these seeds show"


class OnlineStudy(NamedTuple):
    """A study whose learners collect in environments: its texts and what it shows of the runs."""

    name: str
    title: str
    claim: str  # the paper's claim
    summary: Callable[[str, dict[str, Record]], str]  # (environment, {label: run}) -> what the runs show, in sentences
    draw: Callable[[Figure, dict[str, dict[str, Record]]], None]
    header: tuple[str, ...] = HEADER
    rows_of: Callable[[str, str, Record], list[Row]] = rows_of  # (environment, label, run) -> rows of the table

    def run(self, arms: Sequence[Arm], size: OnlineSize, folder: Path) -> Result:
        """Train every learner in every environment.

        Raises:
            UserError: the size is out of range, or anything that `learn` raises.
        """
        found = learn_all(arms, size, folder)
        settings = {**dataclasses.asdict(size), "arms": [arm._asdict() for arm in arms], "runs": str(folder)}
        rows = [row for env, each in found.items() for arm, run in each.items() for row in self.rows_of(env, arm, run)]
        notes = [self.claim, *(self.summary(env, by_label) for env, by_label in found.items())]
        return Result(
            self.name, self.title, settings, self.header, rows, notes, lambda figure: self.draw(figure, found)
        )
