"""A log with two groups of actions in every state: what each kind of policy makes of it.

At the state s in [-1, 1] the logged actions lie around +c(s) and -c(s), two points on a circle of radius 0.6 that turn
by half a circle as s goes from -1 to 1, with unequal shares. Nothing was logged between them. A Gaussian policy, fitted
by likelihood or squared error, puts its mean into this valley. Flow and diffusion policies can give both groups. BCQ's
VAE is the fourth: its decoder could, but acting draws latents within +-0.5 only.

The distance is the energy distance of sampled actions to fresh draws of the true distribution (Szekely and Rizzo 2013):
2 E|X - Y| - E|X - X'| - E|Y - Y'|. It is 0 for equal distributions only. The row "true distribution" is that of two
sets of draws, the noise of the measurement.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from ..data.dataset import Dataset
from .base import refuse
from .in_memory import train
from .result import Result, Row

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RADIUS = 0.6  # of the circle on which the groups lie
SPREAD = 0.08  # standard deviation of each group
LENGTH = 20  # steps of an episode of the log
SHARE = 0.65  # of the actions around +c(s)
VALLEY = 0.3  # actions nearer than this to the middle are between the groups
STATES = (-0.75, -0.25, 0.25, 0.75)  # where the policies are compared
HEADER = ("policy", "seed", "energy distance", "share in the valley", "share around +c")


@dataclasses.dataclass(frozen=True)
class Args:
    """Compare Gaussian, flow and diffusion policies and BCQ's VAE on a log with two groups of actions."""

    rows: int = 4_000
    """Rows of the log."""
    steps: int = 6_000
    """Updates of each learner."""
    seeds: int = 2
    """Number of seeds."""
    samples: int = 500
    """Actions that are sampled in each of four states."""
    hidden: tuple[int, ...] = (128, 128)
    """Widths of the hidden layers."""
    seed: int = 0
    """The first seed."""


def learners(hidden: tuple[int, ...]) -> dict[str, tuple[str, dict[str, Any]]]:
    """Label -> the algorithm and its settings; those with critics clone only."""
    rates = {"actor_lr": 1e-3}
    return {
        "Gaussian (bc)": ("bc", {"kind": "gaussian", "hidden": hidden, **rates}),
        "VAE (bcq)": (
            "bcq",
            {"hidden": hidden, "vae_hidden": hidden, "vae_lr": 1e-3, "phi": 0.0, "acting_candidates": 1},
        ),
        "flow (flow_bc)": ("flow_bc", {"hidden": hidden, "flow_lr": 1e-3}),
        "diffusion (idql)": (
            "idql",
            {
                "hidden": hidden,
                "block_hidden": hidden,
                "candidates": 1,
                "diffusion_steps": 10,
                "actor_dropout": 0.0,
                "actor_polyak": 0.01,
                "batch_size": 256,
                **rates,
            },
        ),
    }


def centre(state: np.ndarray | float) -> np.ndarray:
    """c(s): [...] to [..., 2]."""
    angle = 0.5 * np.pi * np.asarray(state)
    return RADIUS * np.stack([np.cos(angle), np.sin(angle)], -1)


def draws(state: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Logged actions at the states [n]: [n, 2]."""
    sign = np.where(rng.random(len(state)) < SHARE, 1.0, -1.0)
    return np.clip(sign[:, None] * centre(state) + SPREAD * rng.normal(size=(len(state), 2)), -1, 1)


def log(args: Args) -> Dataset:
    """The log: episodes of random states without reward."""
    rng = np.random.default_rng(args.seed)
    episodes = []
    for _ in range(args.rows // LENGTH):
        state = rng.uniform(-1, 1, LENGTH + 1)
        episodes.append(
            {
                "observations": state[:, None].astype(np.float32),
                "actions": draws(state[:-1], rng).astype(np.float32),
                "rewards": np.zeros(LENGTH),
                "terminations": np.zeros(LENGTH, bool),
                "truncations": np.arange(LENGTH) == LENGTH - 1,
            }
        )
    return Dataset.from_episodes(episodes, action_bounds=(-1.0, 1.0), id="two-groups")


def energy_distance(x: np.ndarray, y: np.ndarray) -> float:
    """Energy distance of two samples [n, A] and [m, A], without bias."""

    def between(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.linalg.norm(a[:, None] - b[None], axis=-1)

    within = sum(between(a, a).sum() / (len(a) * (len(a) - 1)) for a in (x, y))
    return float(2 * between(x, y).mean() - within)


def compared(action: np.ndarray, rng: np.random.Generator) -> tuple[float, float, float]:
    """Energy distance, share in the valley and share around +c of actions [states, n, 2], as means over the states."""
    distance = []
    for state, own in zip(STATES, action, strict=True):
        distance.append(energy_distance(own, draws(np.full(len(own), state), rng)))
    middle = np.linalg.norm(action, axis=-1) < VALLEY
    positive = (action * centre(np.array(STATES))[:, None]).sum(-1) > 0
    return float(np.mean(distance)), float(middle.mean()), float((positive & ~middle).mean())


def sampled(label: str, args: Args, data: Dataset) -> np.ndarray:
    """Actions of one learner: [seeds, states, samples, 2]."""
    name, settings = learners(args.hidden)[label]
    found = train(name, data, args.steps, args.seeds, args.seed, settings)
    obs = np.repeat(np.array(STATES, np.float32), args.samples)[None, :, None]
    obs = np.repeat(obs, args.seeds, 0)
    memory = found.memory(data.spec, obs.shape[1])
    action, _ = found.actor("sample")(obs, memory, jax.random.PRNGKey(args.seed))
    return np.asarray(action, np.float64).reshape(args.seeds, len(STATES), args.samples, 2)


def multimodal(args: Args | None = None) -> Result:
    """Run the whole study.

    Raises:
        UserError: a number is out of range.
    """
    args = Args() if args is None else args
    least = {"rows": 100, "steps": 1, "seeds": 1, "samples": 10}
    faults = [f"{n} is {getattr(args, n)}, expected at least {m}" for n, m in least.items() if getattr(args, n) < m]
    faults += [] if args.hidden and min(args.hidden) > 0 else ["hidden is empty or not positive, expected widths"]
    refuse(faults)
    data = log(args)
    rng = np.random.default_rng(args.seed + 1)
    truth = np.stack([draws(np.full(args.samples, state), rng) for state in STATES])
    found = {"true distribution": truth[None]}
    found |= {label: sampled(label, args, data) for label in learners(args.hidden)}
    rows: list[Row] = [
        (label, args.seed + i, *compared(own, rng)) for label, actions in found.items() for i, own in enumerate(actions)
    ]
    return Result(
        "multimodal",
        "Policies on a log with two groups of actions",
        {k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(args).items()},
        HEADER,
        rows,
        notes(rows),
        lambda figure: draw(figure, found),
    )


run = multimodal


def notes(rows: list[Row]) -> list[str]:
    """What the rows show."""

    def mean(label: str, column: int) -> float:
        return float(np.mean([float(row[column]) for row in rows if row[0] == label]))

    labels = list(dict.fromkeys(str(row[0]) for row in rows))
    parts = [f"{label} {mean(label, 2):.3f} ({mean(label, 3):.0%})" for label in labels]
    return [f"Energy distance to the logged actions, and share of actions in the valley: {', '.join(parts)}."]


def draw(figure: Figure, found: dict[str, np.ndarray]) -> None:
    """Draw the actions that each policy of the first seed samples at one state, over the true density."""
    figure.set_size_inches(2.6 * len(found), 3.0)
    axes = figure.subplots(1, len(found), sharex=True, sharey=True)
    grid = np.linspace(-1, 1, 121)
    x, y = np.meshgrid(grid, grid)
    own = centre(STATES[2])
    density = sum(
        share * np.exp(-((x - sign * own[0]) ** 2 + (y - sign * own[1]) ** 2) / (2 * SPREAD**2))
        for share, sign in ((SHARE, 1), (1 - SHARE, -1))
    )
    for axis, (label, action) in zip(axes, found.items(), strict=True):
        axis.contourf(x, y, density, levels=[0.05, 0.2, 0.4, 0.7], cmap="Greys", alpha=0.6, extend="max")
        axis.scatter(*action[0, 2].T, s=4, color="#c8502d", alpha=0.5, linewidths=0)
        axis.set_title(label, loc="left", fontsize=10)
        axis.set_aspect("equal")
        axis.set_xlabel("action 1")
    axes[0].set_ylabel("action 2")
