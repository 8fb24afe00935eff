"""A corridor with one reward at its end: how far values travel in a given number of updates.

The corridor has 25 cells, and an observation says which one it is (one-hot), so that a network does not see that cells
are neighbours. A positive action leads one cell to the right, a negative one to the left. Leaving the last cell to the
right ends the episode with reward 1; every other step has reward 0. The best value in the first cell is discount^24 and
every best action is positive: known without learning. The log comes from a policy that keeps a random direction for
eight steps and prefers none, so that cloning goes nowhere.

A target of one step moves the reward by one cell when the target network has followed. Targets of n steps, and chunks
of n actions, move it by n. The study compares learners that clone with a flow and choose its best action: IFQL with one
step and with n steps, and QC, which chooses chunks of n (Li, Zhou and Levine 2025, arXiv:2507.07969, make this
argument). A choice of the best works with differences of any size, which are small far from the goal.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np

from ..data.dataset import Dataset
from ..report.drawing import COLOURS
from .base import refuse
from .in_memory import train
from .pictures import legend_below
from .result import Result, Row

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CELLS = 25
LIMIT = 100  # steps of an episode
STRETCH = 8  # steps in one direction in the log
EPISODES = 8  # played by each policy
PANELS = ("reaches the goal", "discounted return")
HEADER = ("learner", "updates", "seed", "reaches the goal", "steps to the goal", "discounted return", "best return")


@dataclasses.dataclass(frozen=True)
class Args:
    """Compare one-step, n-step and chunked learners in a corridor with one reward at its end."""

    updates: tuple[int, ...] = (250, 500, 1000, 2000)
    """Numbers of updates; each is a training of its own."""
    length: int = 5
    """Steps of the n-step targets and of the chunks."""
    episodes: int = 300
    """Episodes of the log."""
    seeds: int = 2
    """Number of seeds."""
    discount: float = 0.97
    """Discount of all values."""
    hidden: tuple[int, ...] = (64, 64)
    """Widths of the hidden layers."""
    seed: int = 0
    """Seed of the log, and the first seed of the learners."""


class Played(NamedTuple):
    """Episodes of one policy."""

    reached: float  # share that reached the goal
    steps: float  # mean number of steps of those; NaN if there are none
    discounted: float  # mean discounted return


def moved(cell: np.ndarray, action: np.ndarray) -> np.ndarray:
    """Cells after one step, `CELLS` beyond the end: [...] integers and actions [...]."""
    return np.maximum(cell + np.where(action > 0, 1, -1), 0)


def observed(cell: np.ndarray) -> np.ndarray:
    """One-hot codes [..., CELLS] of cells [...]; beyond the end, of the last one."""
    return np.eye(CELLS, dtype=np.float32)[np.minimum(cell, CELLS - 1)]


def best_return(discount: float) -> float:
    """Discounted return of the best policy from the first cell."""
    return float(discount ** (CELLS - 1))


def log(args: Args) -> Dataset:
    """Episodes from random cells, in stretches of one random direction."""
    rng = np.random.default_rng(args.seed)
    episodes = []
    for _ in range(args.episodes):
        cells = [np.array(rng.integers(CELLS))]
        actions: list[float] = []
        while len(actions) < LIMIT and cells[-1] < CELLS:
            if len(actions) % STRETCH == 0:
                sign = rng.choice((-1.0, 1.0))
            actions.append(float(sign * rng.uniform(0.2, 1)))
            cells.append(moved(cells[-1], np.array(actions[-1])))
        last = np.arange(len(actions)) == len(actions) - 1
        goal = bool(cells[-1] == CELLS)
        episodes.append(
            {
                "observations": observed(np.array(cells)),
                "actions": np.array(actions, np.float32)[:, None],
                "rewards": (last & goal).astype(float),
                "terminations": last & goal,
                "truncations": last & (not goal),
            }
        )
    return Dataset.from_episodes(episodes, action_bounds=(-1.0, 1.0), id="corridor")


def learners(args: Args) -> dict[str, tuple[str, dict[str, Any]]]:
    """Label -> the algorithm and its settings."""
    shared = {"hidden": args.hidden, "discount": args.discount, "candidates": 16, "flow_lr": 1e-3, "critic_lr": 1e-3}
    implicit = {**shared, "value_lr": 1e-3}
    n = args.length
    return {
        "IFQL, 1 step": ("ifql", implicit),
        f"IFQL, {n} steps": ("ifql", {**implicit, "n_step": n}),
        f"QC, chunks of {n}": ("qc", {**shared, "horizon": n}),
    }


def play(label: str, updates: int, args: Args, data: Dataset) -> list[Played]:
    """Train one learner and play it from the start: one result a seed."""
    name, settings = learners(args)[label]
    found = train(name, data, updates, args.seeds, args.seed, settings)
    act = found.actor("sample")
    memory = found.memory(data.spec, EPISODES)
    cell = np.zeros((args.seeds, EPISODES), int)
    arrived = np.full(cell.shape, np.inf)
    for step in range(LIMIT):
        key = jax.random.fold_in(jax.random.PRNGKey(args.seed), step)
        action, memory = act(observed(cell), memory, key)
        cell = np.minimum(moved(cell, np.asarray(action)[..., 0]), CELLS)
        arrived = np.where(cell == CELLS, np.minimum(arrived, step + 1), arrived)
        cell = np.where(np.isfinite(arrived), CELLS, cell)
    results = []
    for own in arrived:
        there = own[np.isfinite(own)]
        steps = float(there.mean()) if len(there) else float("nan")
        results.append(Played(len(there) / len(own), steps, float((args.discount ** (there - 1)).sum() / len(own))))
    return results


def chunks(args: Args | None = None) -> Result:
    """Run the whole study.

    Raises:
        UserError: a number is out of range.
    """
    args = Args() if args is None else args
    least = {"length": 2, "episodes": 1, "seeds": 1}
    faults = [f"{n} is {getattr(args, n)}, expected at least {m}" for n, m in least.items() if getattr(args, n) < m]
    faults += [] if args.updates and min(args.updates) > 0 else ["updates is empty or not positive, expected numbers"]
    faults += [] if 0 < args.discount < 1 else [f"discount is {args.discount}, expected in (0, 1)"]
    refuse(faults)
    data = log(args)
    best = best_return(args.discount)
    rows: list[Row] = []
    for label in learners(args):
        for updates in args.updates:
            for i, result in enumerate(play(label, updates, args, data)):
                rows.append((label, updates, args.seed + i, *result, best))
    return Result(
        "chunks",
        "One step, n steps and chunks in a corridor with one reward",
        {k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(args).items()},
        HEADER,
        rows,
        notes(rows),
        lambda figure: draw(figure, rows, best),
    )


run = chunks


def means(rows: list[Row], column: int) -> dict[str, dict[int, float]]:
    """Means over seeds of a column by learner and number of updates."""
    found: dict[str, dict[int, list[float]]] = {}
    for row in rows:
        found.setdefault(str(row[0]), {}).setdefault(int(row[1]), []).append(float(row[column]))
    return {label: {n: float(np.mean(x)) for n, x in each.items()} for label, each in found.items()}


def notes(rows: list[Row]) -> list[str]:
    """The share of episodes that reach the goal after each number of updates."""
    reached = means(rows, 3)
    parts = [f"{label} {', '.join(f'{x:.0%}' for x in each.values())}" for label, each in reached.items()]
    counts = ", ".join(map(str, next(iter(reached.values()))))
    return [f"Share of episodes that reach the goal after {counts} updates: {'; '.join(parts)}."]


def draw(figure: Figure, rows: list[Row], best: float) -> None:
    """Draw the share of episodes that reach the goal, and the discounted return, over the number of updates."""
    figure.set_size_inches(8, 3.6)
    for axis, column, name in zip(figure.subplots(1, 2), (3, 5), PANELS, strict=True):
        for (label, each), colour in zip(means(rows, column).items(), COLOURS, strict=False):
            style = "--" if label.endswith("1 step") else "-"
            axis.plot(list(each), list(each.values()), style, color=colour, marker="o", label=label)
        if column == 5:
            axis.axhline(best, color="#9aa3ad", linewidth=0.8)
            axis.annotate("best", (1, best), (-3, 2), xycoords=("axes fraction", "data"), textcoords="offset points",
                          ha="right", fontsize=7, color="#6b7480")  # fmt: skip
        axis.set_title(name, loc="left", fontsize=10)
        axis.set_xlabel("updates")
        axis.set_ylim(bottom=-0.03)
    legend_below(figure, figure.axes[0], 3, 8)
