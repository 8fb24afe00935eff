"""BCQ, cloning and DDPG on BipedalWalker's logs of an expert, of random actions, and of an imperfect expert.

The experiment of BCQ's authors (Fujimoto, Meger, Precup 2019, arXiv:1812.02900) on a walker of Box2D. The logs are made
here: by an agent that learns online first, by one that is given, or they are given themselves.
"""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path
from typing import Any, NamedTuple

from ..collection import from_run, presets
from ..collection.play import mean_return
from ..core.errors import UserError
from ..data.dataset import Dataset
from ..data.sources import load_dataset
from ..environments.gym.adapter import make_env
from ..policy.policy import Policy
from ..report.curves import COLOURS, FAINT
from ..runs.folder import RunFolder
from ..runs.read import Record
from ..training.hooks import Progress
from . import runs
from .result import Result

ENV = "BipedalWalker-v3"
LOGS = ("expert", "random", "imperfect")
CLAIM = (
    "The claim: from an expert's log BCQ comes near the expert and stays there; from random actions nobody learns to "
    "walk; DDPG, made to learn from its own actions, fails on each of the logs."
)
HEADER = ("log", "learner", "updates", "return", "low", "high", "of the log")


@dataclasses.dataclass(frozen=True)
class Args:
    """BCQ, BC and DDPG on expert, random and imperfect logs of BipedalWalker; needs the extra box2d."""

    paper: bool = False
    """The paper's size: an expert of 1 000 000 steps, 1 000 000 updates, networks of 400-300; days on two cores."""
    expert: str | None = None
    """A run, a policy or a Stable-Baselines3 zip that makes the logs; an agent is trained where not given."""
    sb3: str | None = None
    """The class of that zip, ddpg for instance; loading it runs code that it names."""
    data: tuple[str, str, str] | None = None
    """Three logs instead: an expert's, of random actions, and an imperfect expert's."""
    expert_steps: int | None = None
    """Environment steps of the agent that is trained; 200 000."""
    steps: int | None = None
    """Of each log; 50 000."""
    updates: int | None = None
    """Of each learner; 30 000."""
    seeds: int | None = None
    """How many; 2."""
    seed: int = 0
    """The first, and that of the logs."""
    hidden: tuple[int, ...] | None = None
    """Widths of the hidden layers of every learner; 64 64."""
    runs: Path = Path("studies/runs/bcq-bipedalwalker")
    """Where logs, runs and the video stand: finished ones are read, stopped ones go on."""


class Size(NamedTuple):
    """How large the study is."""

    expert_steps: int
    expert_hidden: tuple[int, ...]
    expert_batch: int
    steps: int
    updates: int
    seeds: int
    seed: int
    hidden: tuple[int, ...]
    vae_hidden: tuple[int, ...]
    evaluations: int
    episodes: int


QUICK = Size(200_000, (128, 128), 128, 50_000, 30_000, 2, 0, (64, 64), (128, 128), 10, 5)
PAPER = Size(1_000_000, (400, 300), 256, 100_000, 1_000_000, 5, 0, (400, 300), (750, 750), 200, 10)


def size_of(args: Args) -> Size:
    """The size that the flags ask for.

    Raises:
        UserError: numbers out of range, or flags that contradict each other.
    """
    base = PAPER if args.paper else QUICK
    given = {name: getattr(args, name, None) for name in Size._fields}
    size = base._replace(**{name: value for name, value in given.items() if value is not None})
    least = {"expert_steps": presets.EVALUATIONS, "steps": 1, "updates": size.evaluations, "seeds": 1, "seed": 0}
    faults = [
        f"{n} is {getattr(size, n)}, expected at least {low}" for n, low in least.items() if getattr(size, n) < low
    ]
    if args.data is not None and args.expert is not None:
        faults.append("--data are logs and --expert makes them: leave one out")
    if faults:
        raise UserError("; ".join(faults))
    return size


def learners(size: Size) -> tuple[runs.Arm, ...]:
    """The three, with equal networks and their published rates and batches."""
    nets: dict[str, Any] = {"hidden": size.hidden}
    return (
        runs.Arm("BCQ", "bcq", {**nets, "vae_hidden": size.vae_hidden}),
        runs.Arm("BC", "bc", {**nets, "batch_size": 100, "actor_lr": 1e-3}),
        runs.Arm("DDPG", "ddpg", nets),
    )


def logged(args: Args, size: Size) -> dict[str, str]:
    """The logs by name: those given, or made where they are not there yet.

    Raises:
        UserError: anything that reading or making them refuses.
    """
    if args.data is not None:
        return dict(zip(LOGS, args.data, strict=True))
    regime = {"expert": "imitation", "random": "random", "imperfect": "imperfect"}
    found, by = {}, args.expert
    for name in LOGS:
        path = args.runs / "logs" / f"{name}.npz"
        found[name] = str(path)
        asked = presets.LogRequest(preset=regime[name], env=ENV, steps=size.steps, seed=size.seed)
        if name != "random":
            by = by or str(learned(size, args.runs / "agent"))
            asked = dataclasses.replace(asked, by=by, sb3=args.sb3)
        presets.load_or_make(asked, f"bipedalwalker-{name}", path, [Progress()])
    return found


def learned(size: Size, agent: Path) -> Path:
    """The best policy of a SAC run in `agent`, which is made, taken up or read; with the rates of rl-zoo3."""
    rates = dict.fromkeys(("actor_lr", "critic_lr", "temperature_lr"), 7.3e-4)
    config: dict[str, Any] = {"discount": 0.98, "polyak": 0.02, **rates}
    config |= {"hidden": size.expert_hidden, "batch_size": size.expert_batch}
    asked = presets.LogRequest(
        preset="expert", env=ENV, seed=size.seed, agent=agent, train_steps=size.expert_steps, config=config
    )
    presets.learned(asked, "sac", {}, [Progress()])
    return max(from_run.policies(agent), key=lambda kept: kept[1])[2]


def run(args: Args | None = None) -> Result:
    """The whole study.

    Raises:
        UserError: numbers out of range, the extra box2d is missing, or runs of other settings where these would stand.
    """
    args = Args() if args is None else args
    size = size_of(args)
    make_env(ENV).close()  # says what to install, before the long part
    told = ["tensorboard"] if importlib.util.find_spec("tensorboard") else []
    given = logged(args, size)
    data = {name: load_dataset(path) for name, path in given.items()}
    found: dict[str, dict[str, Record]] = {name: {} for name in LOGS}
    for name, arm in ((name, arm) for name in LOGS for arm in learners(size)):
        found[name][arm.label] = runs.learn_offline(
            arm,
            given[name],
            args.runs / name / arm.label,
            steps=size.updates,
            seeds=size.seeds,
            seed=size.seed,
            evaluations=size.evaluations,
            eval_episodes=size.episodes,
            env=ENV,
            loggers=told,
        )
    rows = [row for name in LOGS for row in rows_of(name, found[name], data[name])]
    notes = [CLAIM, *seen(found, data), *shown(found, args, bool(told))]
    return Result(
        "bcq-bipedalwalker",
        "BCQ, BC and DDPG on logs of BipedalWalker",
        {
            **size._asdict(),
            "learners": [arm._asdict() for arm in learners(size)],
            "data": given,
            "runs": str(args.runs),
        },
        HEADER,
        rows,
        notes,
        lambda figure: draw(figure, found, data),
    )


def rows_of(log: str, found: dict[str, Record], data: Dataset) -> list[tuple[Any, ...]]:
    """A row for each learner at each milestone."""
    rows = []
    for label, record in found.items():
        mean, low, high = record.over_seeds(list(range(len(record.replicas))))
        for t in runs.milestones(record):
            at = (float(x[t]) for x in (mean, low, high))
            rows.append((log, label, int(record.eval_steps[t]), *at, mean_return(data)))
    return rows


def seen(found: dict[str, dict[str, Record]], data: dict[str, Dataset]) -> list[str]:
    """What the runs say, log by log."""
    said = []
    for name, each in found.items():
        ends = ", ".join(f"{label} {record.returns[:, -1].mean():.1f}" for label, record in each.items())
        top = ", ".join(f"{label} {record.returns.mean((0, 2)).max():.1f}" for label, record in each.items())
        said.append(f"{name} log of mean return {mean_return(data[name]):.1f}: at the end {ends}; at best {top}.")
    return said


def shown(found: dict[str, dict[str, Record]], args: Args, told: bool) -> list[str]:
    """Where the curves stand, and the video of BCQ on the expert's log, made where the extra `video` is there."""
    base = args.runs.resolve()
    said = (
        [f"Curves: tensorboard --logdir {base}."]
        if told
        else ["No TensorBoard curves: pip install 'holdfast[tensorboard]'."]
    )
    record = found["expert"]["BCQ"]
    path = args.runs / "bcq-expert.mp4"
    if not path.is_file():
        from ..evaluation.video import record as film

        policy = Policy.load(RunFolder(record.path).policy_folders(record.replicas)[0])
        try:
            film(policy, path, ENV, args.seed)
        except UserError as fault:
            return [*said, f"No video: {fault}."]
    return [*said, f"BCQ on the expert's log, one episode: {path}."]


def draw(figure: Any, found: dict[str, dict[str, Record]], data: dict[str, Dataset]) -> None:
    """A panel for each log."""
    figure.set_size_inches(13, 4.6)
    axes = figure.subplots(1, len(LOGS), sharey=True)
    for axis, (name, each) in zip(axes, found.items(), strict=True):
        axis.axhline(mean_return(data[name]), color=FAINT, linewidth=1, linestyle=":", label="mean of the log")
        for (label, record), colour in zip(each.items(), COLOURS, strict=False):
            runs.draw_curve(axis, record, label, colour)
        runs.dress(axis, f"log: {name}", "return of an episode" if name == LOGS[0] else "")
        axis.set_xlabel("updates")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
