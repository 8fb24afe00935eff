"""Decision Transformer against %BC, BC and IQL on a mixed log, as it is and with rewards that come with the last step.

Chen et al. 2021 (arXiv:2106.01345), sections 5.1, 5.3 and 5.5. In the second log each episode's return is the reward of
its last step, and all other rewards are 0. A Decision Transformer is then asked for the same return at every step.

The study also asks the Decision Transformer of the log as it is for several returns, and compares them with those that
it reaches (section 5.3).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.trust import environment_in
from ..data.convert import convert
from ..data.dataset import Dataset
from ..data.sources import load_dataset
from ..evaluation.evaluate import Evaluation, evaluate
from ..evaluation.statistics import Estimate, two_stage_interval
from ..policy.policy import Policy
from ..report import asked
from ..report.drawing import COLOURS, FAINT, PICTURE
from ..runs.folder import RunFolder
from ..runs.read import Record
from ..training.launch import located
from . import base, pictures, runs
from .result import Result, Row

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DT = "DT"
LOGGED = "as logged"
DELAYED = "delayed"
CLAIM = (
    "The paper's claim: a Decision Transformer equals or exceeds the best methods that learn values, and %BC; it "
    "reaches returns close to those that it is asked for; and it loses little if all reward comes with the last step, "
    "with which methods that learn values lose most of their return."
)
HEADER = ("rewards", "learner", "asked", "return", "low", "high")


@dataclasses.dataclass(frozen=True)
class Args:
    """Compare DT, %BC, BC and IQL on a mixed log with immediate and with delayed rewards; reached and asked returns."""

    paper: bool = False
    """Use the paper's size: Hopper medium-replay, 100 000 updates, 3 seeds, published networks; days on two cores."""
    data: str | None = None
    """A log of mixed quality with a known environment. Default: bundled/pendulum-mixed."""
    steps: int | None = None
    """Updates of each learner. Default: 3 000."""
    seeds: int | None = None
    """Number of seeds. Default: 3."""
    seed: int = 0
    """The first seed."""
    hidden: tuple[int, ...] | None = None
    """Widths of the hidden layers of %BC, BC and IQL. Default: 64 64."""
    width: int | None = None
    """Width of the tokens of DT. Default: 32."""
    runs: Path = Path("studies/runs/sequence")
    """Folder of the delayed log and the runs. Finished runs are read, interrupted runs are resumed."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Size(base.Size):
    """The size of this study.

    Attributes:
        data: name or path of the log.
        width: width of the tokens of DT.
        context: steps of a window of DT.
        layers: blocks of DT.
        targets: number of returns that DT is asked for.
    """

    data: str
    width: int
    context: int
    layers: int
    targets: int

    def minimum(self) -> Mapping[str, int]:
        """The smallest allowed value of each number."""
        return {"steps": self.evaluations, "seeds": 1, "seed": 0, "width": 1, "targets": 2}


QUICK = Size(
    data="bundled/pendulum-mixed", steps=3_000, seeds=3, hidden=(64, 64), width=32, context=10, layers=2, targets=5,
    evaluations=3, episodes=10,
)  # fmt: skip
PAPER = Size(
    data="mujoco/hopper/medium-replay-v0", steps=100_000, seeds=3, hidden=(256, 256), width=128, context=20, layers=3,
    targets=8, evaluations=10, episodes=100,
)  # fmt: skip


def learners(size: Size, delayed: bool) -> tuple[runs.Arm, ...]:
    """The learners for one of the two logs. A short run of DT has a higher rate and a shorter warm-up."""
    own: dict[str, Any] = {"width": size.width, "context": size.context, "layers": size.layers, "delayed": delayed}
    if size.steps < 10 * QUICK.steps:
        own |= {"actor_lr": 1e-3, "warmup_updates": size.steps / 10, "actor_decay_steps": "run"}
    nets = {"hidden": size.hidden}
    return (
        runs.Arm(DT, "decision_transformer", own, "gym"),
        runs.Arm("%BC", "filtered_bc", nets, runs.preset_of("filtered_bc", "tuned_100k")),
        runs.Arm("BC", "bc", {**nets, **runs.CLONING}),
        runs.Arm("IQL", "iql", nets, "tuned_mixed"),
    )


def delayed(data: Dataset) -> Dataset:
    """The same log with the return of each episode as the reward of its last step, and no other reward."""
    rewards = np.zeros(data.n_steps)
    rewards[data.offsets[1:] - 1] = data.returns()
    return dataclasses.replace(data, rewards=rewards, id=f"{data.id}-delayed")


def delayed_log(data: Dataset, folder: Path) -> str:
    """The path of the delayed log; it is written if it does not exist yet."""
    path = folder / "delayed.npz"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        convert(delayed(data), path)
    return str(path)


def asked_for(data: Dataset, size: Size) -> list[float]:
    """The returns to ask for: from the worst to the best return of the log, at equal distances."""
    returns = data.returns()
    return np.linspace(returns.min(), returns.max(), size.targets).tolist()


def followed(record: Record, targets: list[float], size: Size, env: str) -> Evaluation:
    """What the policies of a run reach for each target."""
    folders = RunFolder(record.path).policy_folders(record.replicas)
    return evaluate([Policy.load(folder) for folder in folders], env, size.episodes, size.seed, target_return=targets)


def run(args: Args | None = None) -> Result:
    """Run the whole study.

    Raises:
        UserError: a number is out of range, the log names no environment, or `args.runs` contains runs with other
            settings.
    """
    args = Args() if args is None else args
    size = base.size_of(args, QUICK, PAPER)
    name = located(size.data)
    data = load_dataset(name)
    env = environment_in(data.env_spec, name, "choose another data set")
    base.refuse([] if env else [f"{name} names no environment, in which policies could be evaluated"])
    logs = {LOGGED: name, DELAYED: delayed_log(data, args.runs)}
    found = {
        kind: runs.learn_each(
            learners(size, kind == DELAYED), args.runs / kind.replace(" ", "-"), size, data=log, env=env
        )
        for kind, log in logs.items()
    }
    targets = asked_for(data, size)
    reached = followed(found[LOGGED][DT], targets, size, str(env))
    by_target = [reached.returns[reached.targets == target] for target in targets]
    return Result(
        "sequence",
        "Decision Transformer, with immediate and with delayed rewards",
        {**dataclasses.asdict(size), "runs": str(args.runs)},
        HEADER,
        [*rows_of(found), *target_rows(targets, by_target)],
        [CLAIM, *summary(found, targets, by_target)],
        lambda figure: draw(figure, found, targets, by_target, float(data.returns().mean())),
    )


def last(record: Record) -> Estimate:
    """The last mean return of a run, with its 95 % interval over seeds and episodes."""
    return two_stage_interval(record.returns[:, -1])


def row(kind: str, learner: str, target: float | str, value: Estimate) -> Row:
    """A row of the table."""
    low, high = (value.value if bound is None else bound for bound in (value.low, value.high))
    return (kind, learner, target, value.value, low, high)


def rows_of(found: Mapping[str, Mapping[str, Record]]) -> list[Row]:
    """A row for each learner on each log. DT is asked for the best return of the log."""
    return [row(kind, label, "", last(record)) for kind, each in found.items() for label, record in each.items()]


def target_rows(targets: list[float], reached: list[np.ndarray]) -> list[Row]:
    """A row for each return that DT was asked for; `reached` has the returns [R, E] of each."""
    each = zip(targets, reached, strict=True)
    return [row(LOGGED, f"{DT}, asked", target, two_stage_interval(returns)) for target, returns in each]


def summary(found: Mapping[str, Mapping[str, Record]], targets: list[float], reached: list[np.ndarray]) -> list[str]:
    """What the runs show, in sentences."""
    changes = []
    for label, record in found[LOGGED].items():
        late = found[DELAYED][label]
        paired = late.returns[:, -1].mean(1) - record.returns[:, -1].mean(1)
        changes.append(f"{label} {last(record).value:.1f} and {last(late).value:.1f} ({paired.mean():+.1f})")
    means = [float(x.mean()) for x in reached]
    ranks = np.corrcoef(np.argsort(np.argsort(targets)), np.argsort(np.argsort(means)))[0, 1]
    pairs = ", ".join(f"{target:.0f}: {mean:.0f}" for target, mean in zip(targets, means, strict=True))
    return [
        f"Observed, mean return with immediate and with delayed rewards (change): {'; '.join(changes)}.",
        f"Return that DT reached for each return that it was asked for: {pairs}. Rank correlation {ranks:.2f}.",
    ]


def draw(
    figure: Figure,
    found: Mapping[str, Mapping[str, Record]],
    targets: list[float],
    reached: list[np.ndarray],
    logged: float,
) -> None:
    """Draw the returns of the learners on both logs, and reached against asked return."""
    figure.set_size_inches(11, 4.2)
    left, right = figure.subplots(1, 2)
    labels = list(found[LOGGED])
    for k, (kind, colour) in enumerate(zip(found, COLOURS, strict=False)):
        values = [last(found[kind][label]) for label in labels]
        mean = np.array([one.value for one in values])
        ends = [[one.value if bound is None else bound for bound in (one.low, one.high)] for one in values]
        around = np.abs(np.array(ends).T - mean)
        place = np.arange(len(labels)) + 0.18 * (2 * k - 1)
        left.errorbar(place, mean, around, fmt="o", color=colour, label=kind, capsize=3)
    left.axhline(logged, color=FAINT, linestyle="--", linewidth=1, label="logging policy")
    pictures.dress(left, "return at the end, 95 % interval", "return of an episode", "")
    left.set_xticks(range(len(labels)), labels)
    left.legend(frameon=False, fontsize=9)
    asked.draw_line(right, targets, reached, "", PICTURE, COLOURS[0])
    asked.draw_equal(right, targets, PICTURE)
    pictures.dress(right, "DT: reached against asked return", "return reached", "return asked for")
