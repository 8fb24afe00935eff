"""Studies made of training runs: each is trained once, taken up where it was stopped, and read where it stands."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..core.errors import UserError
from ..evaluation.statistics import Estimate, mean_interval
from ..report.curves import FAINT, LINE, short
from ..runs.read import Record, read_run
from ..runs.settings import Settings
from ..training.hooks import Progress
from ..training.run import ensure_finished, located

MILESTONES = 5  # rows of a table for each learner
EPISODES = 5  # of an evaluation, for each seed; as in OBAC's code


class Arm(NamedTuple):
    """One learner of a study."""

    label: str
    algorithm: str
    config: dict[str, Any]
    preset: str | None = None  # whose settings and treatment it starts from; None: the algorithm's first


class Size(NamedTuple):
    """How large the runs of a study are."""

    envs: tuple[str, ...]
    steps: int  # of the environment, for each seed
    seeds: int
    seed: int  # the first
    evaluations: int  # in the course of a run
    config: dict[str, Any]  # networks, batch, warm-up: the same for every learner

    def check(self) -> None:
        """Refuse what cannot be trained.

        Raises:
            UserError: all faults in one line.
        """
        least = {"seeds": 1, "steps": self.config["warmup"] + MILESTONES}
        faults = [
            f"{name} is {getattr(self, name)}, expected at least {lowest}"
            for name, lowest in least.items()
            if getattr(self, name) < lowest
        ]
        faults += [] if self.envs else ["envs is empty, expected at least one environment"]
        if faults:
            raise UserError("; ".join(faults))


def learn(arm: Arm, env: str, size: Size, folder: Path) -> Record:
    """The run of one learner in `folder`: trained, resumed, or read where it is finished.

    Raises:
        UserError: another run stands there, or anything that `train` refuses.
    """
    every = max(1, size.steps // size.evaluations)
    settings = Settings.of(
        arm.algorithm,
        config={**size.config, **arm.config},
        env=env,
        steps=size.steps,
        seeds=size.seeds,
        seed=size.seed,
        eval_episodes=EPISODES,
        eval_every=every,
        block=min(1000, every),
    )
    return finished(settings, folder)


def learn_offline(
    arm: Arm, data: str, folder: Path, *, steps: int, seeds: int, seed: int, evaluations: int, **settings: Any
) -> Record:
    """The run of one learner on a log, in `folder`: trained, resumed, or read where it is finished.

    Args:
        arm: the learner.
        data: the log's name or path.
        folder: of the run.
        steps: updates of each seed.
        seeds: how many.
        seed: the first.
        evaluations: in the course of the run.
        settings: others of `train`.

    Raises:
        UserError: another run stands there, or anything that `train` refuses.
    """
    asked = {"steps": steps, "seeds": seeds, "seed": seed, "eval_every": max(1, steps // evaluations), **settings}
    made = Settings.of(arm.algorithm, preset=arm.preset, config=arm.config, data=located(data), **asked)
    return finished(made, folder)


def finished(settings: Settings, folder: Path) -> Record:
    """The finished run in `folder`: started if there is none, resumed if it was interrupted."""
    ensure_finished(settings, folder, "--runs", [Progress()])
    return read_run(folder)


def learn_all(arms: Sequence[Arm], size: Size, folder: Path) -> dict[str, dict[str, Record]]:
    """Every learner in every environment: {environment: {label: run}}; the runs stand in `folder/ENV/LABEL`."""
    size.check()
    found: dict[str, dict[str, Record]] = {}
    for env in size.envs:
        base = folder / env.replace("/", "-")
        found[env] = {arm.label: learn(arm, env, size, base / arm.label.replace(" ", "-")) for arm in arms}
    return found


def milestones(run: Record) -> list[int]:
    """Evaluations at equal distances, the last among them: indices into `run.eval_steps`."""
    steps = run.eval_steps
    marks = [steps[-1] * (i + 1) / MILESTONES for i in range(MILESTONES)]
    return sorted({int(np.abs(steps - mark).argmin()) for mark in marks})


def rows_of(env: str, label: str, run: Record) -> list[tuple[Any, ...]]:
    """(env, learner, steps, return, low, high, mean so far) at each milestone.

    `low` and `high` bound the 95 % interval over seeds and episodes; the mean so far is that of all evaluations up to
    there, the area under the learning curve.
    """
    everyone = list(range(len(run.replicas)))
    mean, low, high = run.over_seeds(everyone)
    return [
        (env, label, int(run.eval_steps[t]), *(float(x[t]) for x in (mean, low, high)), float(mean[: t + 1].mean()))
        for t in milestones(run)
    ]


HEADER = ("env", "learner", "steps", "return", "low", "high", "mean so far")


def stretch(run: Record, metric: str) -> list[float]:
    """The mean of a metric over seeds and the steps between one milestone and the next; NaN before the first update."""
    edges = [0, *(int(run.eval_steps[t]) for t in milestones(run))]
    steps, values, found = run.metric_steps, run.metrics[metric], []
    for lo, hi in itertools.pairwise(edges):
        inside = values[:, (steps > lo) & (steps <= hi)]
        found.append(float(np.nanmean(inside)) if np.isfinite(inside).any() else float("nan"))
    return found


def gain(one: Record, other: Record) -> Estimate:
    """By how much `one` is above `other` on average over the run, seed by seed, with its 95 % interval over seeds."""
    return mean_interval((one.returns.mean(2) - other.returns.mean(2)).mean(1))


def verdict(difference: Estimate) -> str:
    """What a difference with its interval allows to say."""
    if difference.low is None or difference.high is None:
        return f"{difference.value:+.1f} (one seed says nothing of its spread)"
    bounds = f"{difference.value:+.1f} [{difference.low:+.1f}, {difference.high:+.1f}]"
    if difference.low > 0:
        return f"{bounds}: above"
    return f"{bounds}: below" if difference.high < 0 else f"{bounds}: no difference that these seeds show"


def draw_curve(axis: Any, run: Record, label: str, colour: str, style: str = "-") -> None:
    """The learning curve of a run: a thin line for each seed, their mean in its 95 % interval."""
    mean, low, high = run.over_seeds(list(range(len(run.replicas))))
    axis.fill_between(run.eval_steps, low, high, color=colour, alpha=0.15, linewidth=0)
    axis.plot(run.eval_steps, run.returns.mean(2).T, color=colour, alpha=0.3, linewidth=0.7, linestyle=style)
    axis.plot(run.eval_steps, mean, style, color=colour, linewidth=2.2, label=label)


def draw_metric(axis: Any, run: Record, metric: str, colour: str, label: str = "") -> None:
    """A metric over the run: a thin line for each seed, and their mean."""
    values = run.metrics[metric]
    told = np.isfinite(values).any(0)
    axis.plot(run.metric_steps[told], values[:, told].T, color=colour, alpha=0.3, linewidth=0.7)
    axis.plot(run.metric_steps[told], np.nanmean(values[:, told], 0), color=colour, linewidth=2, label=label)


def dress(axis: Any, title: str, ylabel: str) -> None:
    """Axes in the style of the other pictures."""
    axis.set_title(title, loc="left", fontsize=10)
    axis.set_ylabel(ylabel)
    axis.set_xlabel("environment steps")
    axis.xaxis.set_major_formatter(lambda x, _: short(x))
    axis.grid(axis="y", color=LINE, linewidth=0.7)
    axis.set_axisbelow(True)
    axis.tick_params(colors=FAINT, length=0)
    for side in ("top", "right", "left"):
        axis.spines[side].set_visible(False)
