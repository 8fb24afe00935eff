"""BCQ, behaviour cloning and DDPG on logs of BipedalWalker: an expert's, random actions, an imperfect expert's.

The experiment of BCQ's authors (Fujimoto, Meger, Precup 2019, arXiv:1812.02900) on a walker of Box2D. The study makes
the logs with an agent that it trains online or that is given; or the logs are given.
"""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..collection import from_run, presets
from ..collection.play import mean_return
from ..core.errors import UserError
from ..data.dataset import Dataset
from ..data.sources import load_dataset
from ..environments.gym.adapter import make_env
from ..policy.policy import Policy
from ..report.drawing import FAINT
from ..runs.folder import RunFolder
from ..runs.read import Record
from ..training.hooks import Progress
from . import base, pictures, runs
from .result import Result, Row

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ENV = "BipedalWalker-v3"
LOGS = ("expert", "random", "imperfect")
CLAIM = (
    "The claim: on an expert's log BCQ reaches about the expert's return and keeps it; on random actions no learner "
    "learns to walk; DDPG, an off-policy method for its own replay, fails on each of the logs."
)
HEADER = ("log", "learner", "updates", "return", "low", "high", "of the log")


@dataclasses.dataclass(frozen=True)
class Args:
    """Compare BCQ, BC and DDPG on expert, random and imperfect logs of BipedalWalker; needs the extra box2d."""

    paper: bool = False
    """Use the paper's size: an expert of 1 000 000 steps, 1 000 000 updates, networks of 400-300; days on two cores."""
    expert: str | None = None
    """A run, a policy or a Stable-Baselines3 zip that makes the logs. Default: train an agent."""
    sb3: str | None = None
    """The class of the zip, for instance ddpg. Loading a zip runs the code that it names."""
    data: tuple[str, str, str] | None = None
    """Use these three logs: an expert's, of random actions, and an imperfect expert's."""
    expert_steps: int | None = None
    """Environment steps of the agent that the study trains. Default: 200 000."""
    steps: int | None = None
    """Steps of each log. Default: 50 000."""
    updates: int | None = None
    """Updates of each learner. Default: 30 000."""
    seeds: int | None = None
    """Number of seeds. Default: 2."""
    seed: int = 0
    """The first seed, and the seed of the logs."""
    hidden: tuple[int, ...] | None = None
    """Widths of the hidden layers of every learner. Default: 64 64."""
    runs: Path = Path("studies/runs/bcq-bipedalwalker")
    """Folder of the logs, the runs and the video. Finished runs are read, interrupted runs are resumed."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Size(base.Size):
    """The size of this study; `steps` are those of each log.

    Attributes:
        expert_steps: environment steps of the agent that makes the logs.
        expert_hidden: widths of the agent's networks.
        expert_batch: batch size of the agent.
        updates: updates of each learner.
        vae_hidden: widths of BCQ's autoencoder.
    """

    expert_steps: int
    expert_hidden: tuple[int, ...]
    expert_batch: int
    updates: int
    vae_hidden: tuple[int, ...]

    def minimum(self) -> Mapping[str, int]:
        """The smallest allowed value of each number."""
        return {"expert_steps": presets.EVALUATIONS, "steps": 1, "updates": self.evaluations, "seeds": 1, "seed": 0}


QUICK = Size(
    expert_steps=200_000, expert_hidden=(128, 128), expert_batch=128, steps=50_000, updates=30_000, seeds=2,
    hidden=(64, 64), vae_hidden=(128, 128), evaluations=10, episodes=5,
)  # fmt: skip
PAPER = Size(
    expert_steps=1_000_000, expert_hidden=(400, 300), expert_batch=256, steps=100_000, updates=1_000_000, seeds=5,
    hidden=(400, 300), vae_hidden=(750, 750), evaluations=200, episodes=10,
)  # fmt: skip


def learners(size: Size) -> tuple[runs.Arm, ...]:
    """The three learners: equal networks, and their published learning rates and batch sizes."""
    nets: dict[str, Any] = {"hidden": size.hidden}
    return (
        runs.Arm("BCQ", "bcq", {**nets, "vae_hidden": size.vae_hidden}),
        runs.Arm("BC", "bc", {**nets, **runs.CLONING, "batch_size": 100, "actor_lr": 1e-3}),
        runs.Arm("DDPG", "ddpg", nets),
    )


def logged(args: Args, size: Size) -> dict[str, str]:
    """The paths of the logs by name: the given ones, or logs that are made if they do not exist yet.

    Raises:
        UserError: a log cannot be read or made.
    """
    if args.data is not None:
        return dict(zip(LOGS, args.data, strict=True))
    regime = {"expert": "imitation", "random": "random", "imperfect": "imperfect"}
    found = {}
    by = args.expert
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
    """The best policy of the SAC run in `agent`: trained with the learning rates of rl-zoo3, resumed, or read."""
    rates = dict.fromkeys(("actor_lr", "critic_lr", "temperature_lr"), 7.3e-4)
    config: dict[str, Any] = {"discount": 0.98, "polyak": 0.02, "initial_temperature": 0.2, "warmup": 5_000, **rates}
    config |= {"hidden": size.expert_hidden, "batch_size": size.expert_batch}
    asked = presets.LogRequest(
        preset="expert", env=ENV, seed=size.seed, agent=agent, train_steps=size.expert_steps, config=config
    )
    presets.learned(asked, "sac", {}, [Progress()])
    return max(from_run.policies(agent), key=lambda kept: kept[1])[2]


def run(args: Args | None = None) -> Result:
    """Run the whole study.

    Raises:
        UserError: a number is out of range, flags contradict each other, the extra box2d is not installed, or
            `args.runs` contains runs with other settings.
    """
    args = Args() if args is None else args
    both = args.data is not None and args.expert is not None
    faults = ["--data gives logs and --expert makes logs: leave one out"] if both else []
    size = base.size_of(args, QUICK, PAPER, faults)
    make_env(ENV).close()  # names a missing package before the long part
    loggers = ["tensorboard"] if importlib.util.find_spec("tensorboard") else []
    paths = logged(args, size)
    data = {name: load_dataset(path) for name, path in paths.items()}
    found = {
        name: runs.learn_each(
            learners(size), args.runs / name, size, data=paths[name], steps=size.updates, env=ENV, loggers=loggers
        )
        for name in LOGS
    }
    return Result(
        "bcq-bipedalwalker",
        "BCQ, BC and DDPG on logs of BipedalWalker",
        {
            **dataclasses.asdict(size),
            "learners": [arm._asdict() for arm in learners(size)],
            "data": paths,
            "runs": str(args.runs),
        },
        HEADER,
        [row for name in LOGS for row in rows_of(name, found[name], data[name])],
        [CLAIM, *summary(found, data), curves_note(args.runs, bool(loggers)), video_note(found["expert"]["BCQ"], args)],
        lambda figure: draw(figure, found, data),
    )


def rows_of(log: str, found: dict[str, Record], data: Dataset) -> list[Row]:
    """A row for each learner at each milestone, with the mean return of the log."""
    return [
        (*row[: len(HEADER) - 1], mean_return(data))
        for label, record in found.items()
        for row in runs.rows_of(log, label, record)
    ]


def summary(found: dict[str, dict[str, Record]], data: dict[str, Dataset]) -> list[str]:
    """What the runs show, in a sentence for each log."""
    notes = []
    for name, each in found.items():
        ends = ", ".join(f"{label} {record.returns[:, -1].mean():.1f}" for label, record in each.items())
        top = ", ".join(f"{label} {record.returns.mean((0, 2)).max():.1f}" for label, record in each.items())
        notes.append(f"{name} log, mean return {mean_return(data[name]):.1f}: at the end {ends}; at best {top}.")
    return notes


def curves_note(folder: Path, written: bool) -> str:
    """How to look at the TensorBoard curves, or which extra writes them."""
    if written:
        return f"Curves: tensorboard --logdir {folder.resolve()}."
    return "No TensorBoard curves: pip install 'holdfast-rl[tensorboard]'."


def video_note(record: Record, args: Args) -> str:
    """Film an episode of BCQ on the expert's log, unless the film exists; its path, or why there is no film."""
    path = args.runs / "bcq-expert.mp4"
    if not path.is_file():
        from ..evaluation.video import record as film

        policy = Policy.load(RunFolder(record.path).policy_folders(record.replicas)[0])
        try:
            film(policy, path, ENV, args.seed)
        except UserError as fault:
            return f"No video: {fault}."
    return f"BCQ on the expert's log, one episode: {path}."


def draw(figure: Figure, found: dict[str, dict[str, Record]], data: dict[str, Dataset]) -> None:
    """Draw a panel for each log."""
    figure.set_size_inches(13, 4.6)
    axes = figure.subplots(1, len(LOGS), sharey=True)
    for axis, (name, each) in zip(axes, found.items(), strict=True):
        axis.axhline(mean_return(data[name]), color=FAINT, linewidth=1, linestyle=":", label="mean of the log")
        pictures.draw_curves(axis, each)
        pictures.dress(axis, f"log: {name}", "return of an episode" if name == LOGS[0] else "", "updates")
    pictures.legend_below(figure, axes[0], 4)
