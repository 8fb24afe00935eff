"""Agents that learn alone from logs in which their teammates acted badly (Jiang, Lu 2021, arXiv:2108.01832).

An agent's log says what followed its actions while the others acted as they did then. In matrix games, whose values are
exact here, the best joint action then looks bad to each agent, if its teammate rarely did its part: independent BCQ
chooses another one. MABCQ weighs the transitions, so that an agent expects its teammate to do its part.

Then Spread, with logs of several levels: independent BCQ and CQL, MABCQ, OMAR, and OMIGA, which learns a team together.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..algorithms import tabular_bcq, tabular_mabcq
from ..collection.teams import collect_fixed
from ..core.config import as_arrays
from ..core.errors import unknown
from ..core.noise import Noise
from ..core.spec import Batch, State
from ..data.dataset import Dataset
from ..environments.batch_mdp import BatchMDP, batch_mdp, states_of
from ..environments.deviation import solve_deviated
from ..environments.jax import matrix_games
from . import decentralised_spread
from .base import refuse
from .decentralised_spread import NOTHING
from .pictures import legend_below
from .result import Result, Row

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DISCOUNT = 1.0  # of the matrix games, whose episodes have two steps
UNIFORM = 1 / 3
# the probabilities of each agent's actions in the logs of the matrix games
LOGS = {
    "climbing, uniform": ("climbing", ((UNIFORM, UNIFORM, UNIFORM), (UNIFORM, UNIFORM, UNIFORM))),
    **{f"stag_hunt, {p:g} hunt": ("stag_hunt", ((p, 1 - p), (p, 1 - p))) for p in (0.05, 0.2, 0.3, 0.5, 0.8)},
}
TABLES: dict[str, ModuleType] = {"independent BCQ": tabular_bcq, "MABCQ": tabular_mabcq}
HEADER = (
    "problem", "log", "learner", "team return", "best return", "estimate", "exact estimate", "updates", "low", "high",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Args:
    """Independent BCQ and MABCQ in matrix games, with exact values; then five learners in Spread."""

    episodes: int = 1000
    """Episodes in the log of each matrix game."""
    updates: int = 4000
    """Updates of each table."""
    levels: tuple[str, ...] = ("medium", "expert")
    """Levels of the logs of Spread: random, medium, expert, mixed. Empty: matrix games only."""
    learners: tuple[str, ...] = decentralised_spread.NAMES
    """Learners in Spread."""
    log_episodes: int = 800
    """Episodes in each log of Spread."""
    steps: int = 1500
    """Updates of each learner in Spread."""
    learner_steps: tuple[str, ...] = ()
    """Updates of single learners in Spread, as NAME=N: mabcq=500 omiga=10000."""
    seeds: int = 2
    """Seeds of each learner in Spread."""
    hidden: tuple[int, ...] = (64, 64)
    """Widths of the hidden layers in Spread."""
    test_episodes: int = 200
    """Episodes of each evaluation in Spread, for each seed."""
    seed: int = 0
    """Seed of the logs and of the learning."""
    paper: bool = False
    """Train 100,000 updates with five seeds and 256 units on all levels."""
    runs: Path = Path("studies/runs/decentralised")
    """Folder of the logs and runs of Spread. Finished runs are read, interrupted runs are resumed."""


class View(NamedTuple):
    """A matrix game as the log of one agent shows it."""

    batch: BatchMDP
    paid: np.ndarray  # [S, A, S + 1] mean reward of each transition
    codes: np.ndarray  # [S, d] observations
    rows: Batch  # all rows of the log, states in place of observations
    share: np.ndarray  # [S, A, S + 1] P_B(s'|s, a); a true end is the last next state


def view_of(own: Dataset) -> View:
    """The finite problem that a log of one agent describes."""
    codes, index = states_of(np.asarray(own.observations, np.float32))
    at = own.observation_rows
    here = index[at]
    there = index[at + 1]
    shape = (len(codes), own.spec.action)
    ended = np.asarray(own.terminations)
    batch = batch_mdp(here, own.actions, own.rewards, there, ended, shape)
    paid = np.zeros((*shape, len(codes) + 1))
    seen = np.zeros_like(paid)
    after = np.where(ended, len(codes), there)
    np.add.at(paid, (here, own.actions, after), own.rewards)
    np.add.at(seen, (here, own.actions, after), 1.0)
    share = np.where(batch.support[:, :, None], batch.mdp.transition[:-1], 0.0)
    columns: Any = (here, own.actions, own.rewards, there, ended, np.zeros(len(here)))
    return View(batch, paid / np.maximum(seen, 1), codes, Batch(*columns), share)


def learn(views: Sequence[View], args: Args) -> dict[str, list[np.ndarray]]:
    """Train both tables on each view, in one program for each learner: Q [S, A] by learner and view.

    Views of the same game have the same shapes, so that they are trained together.
    """
    found: dict[str, list[np.ndarray]] = {name: [np.zeros(0)] * len(views) for name in TABLES}
    shapes = sorted({(*view.batch.support.shape, len(view.rows.reward)) for view in views})
    for shape in shapes:
        chosen = [i for i, view in enumerate(views) if (*view.batch.support.shape, len(view.rows.reward)) == shape]
        rows = jax.tree.map(lambda *x: jnp.stack([jnp.asarray(v) for v in x]), *(views[i].rows for i in chosen))
        support = jnp.asarray(np.stack([views[i].batch.support for i in chosen]))
        share = jnp.asarray(np.stack([views[i].share for i in chosen]), jnp.result_type(float))
        keys = jnp.stack([jax.random.fold_in(jax.random.PRNGKey(args.seed), i) for i in chosen])
        for name, module in TABLES.items():
            tables = _learned(module, rows, support, share, keys, args.updates)
            for i, table in zip(chosen, tables, strict=True):
                found[name][i] = np.asarray(table, np.float64)
    return found


def _learned(
    module: ModuleType, rows: Batch, support: jax.Array, share: jax.Array, keys: jax.Array, updates: int
) -> jax.Array:
    """The tables [views, S, A] of one learner, `tabular_bcq` or `tabular_mabcq`."""
    states, actions = support.shape[1:]
    config: Any = module.algorithm.Config
    cfg = as_arrays(config(states=states, discount=DISCOUNT, batch_size=32))
    codes = jnp.arange(states, dtype=jnp.result_type(float))[:, None]
    blank = jnp.zeros((states, actions), codes.dtype)

    def one(rows: Batch, support: jax.Array, share: jax.Array, key: jax.Array) -> jax.Array:
        more = {} if module is tabular_bcq else {"share": share}
        state = module.State(codes=codes, support=support, visits=blank, q=blank, **more)

        def step(i: jax.Array, state: State) -> State:
            noise = Noise(jax.random.fold_in(key, i))
            at = noise.integers("rows", (cfg.batch_size,), len(rows.reward))
            drawn = jax.tree.map(lambda x: x[at], rows)
            seen = {"obs": codes[drawn.obs], "next_obs": codes[drawn.next_obs]}
            kept = {name: jnp.asarray(getattr(drawn, name), codes.dtype) for name in ("reward", "terminated")}
            return module.update(cfg, state, Batch(**{**vars(drawn), **seen, **kept}), noise, i)[0]

        return jax.lax.fori_loop(0, updates, step, state).q

    return jax.jit(jax.vmap(one))(rows, support, share, keys)


def matrix_rows(args: Args) -> list[Row]:
    """The rows of the matrix games: what each learner chooses, and what it expects of its first action."""
    views: list[View] = []
    for i, (name, probabilities) in enumerate(LOGS.values()):
        log = collect_fixed(matrix_games.IDS[name], probabilities, args.episodes, args.seed + i)
        views += [view_of(own) for own in log.agents.values()]
    tables = learn(views, args)
    rows: list[Row] = []
    for i, (label, (name, _)) in enumerate(LOGS.items()):
        payoff = matrix_games.payoff(name)
        pair = views[2 * i : 2 * i + 2]
        first = [int((view.codes[:, 0] > 0.5).argmax()) for view in pair]
        mabcq = [solve_deviated(view.batch, view.paid, DISCOUNT) for view in pair]
        bcq = [view.batch.solve(DISCOUNT) for view in pair]
        exact = {"independent BCQ": [one.q for one in bcq], "MABCQ": [one.solution.q for one in mabcq]}
        for learner, wanted in exact.items():
            learned = [tables[learner][2 * i + k] for k in (0, 1)]
            q = [one[s] for one, s in zip(learned, first, strict=True)]
            known = [one[s] for one, s in zip(wanted, first, strict=True)]
            chosen = tuple(int(own.argmax()) for own in q)
            estimates = (float(q[0].max()), float(known[0].max()))
            paid = (float(payoff[chosen]), float(payoff.max()), *estimates)
            rows.append((name, label.partition(", ")[2], learner, *paid, args.updates, NOTHING, NOTHING))
    return rows


def spread_size(args: Args) -> decentralised_spread.Size:
    """The size of the part with Spread.

    Raises:
        UserError: a number of updates of an unknown learner.
    """
    return decentralised_spread.Size(
        levels=decentralised_spread.KNOWN_LEVELS if args.paper else args.levels,
        learners=args.learners,
        log_episodes=40_000 if args.paper else args.log_episodes,
        steps=100_000 if args.paper else args.steps,
        own_steps=decentralised_spread.own_steps(args.learner_steps),
        seeds=5 if args.paper else args.seeds,
        seed=args.seed,
        hidden=(256, 256) if args.paper else args.hidden,
        batch_size=256 if args.paper else 128,
        episodes=args.test_episodes,
        published=args.paper,
        runs=args.runs,
    )


def decentralised(args: Args | None = None) -> Result:
    """Run the whole study.

    Raises:
        UserError: an unknown level or learner, a number below its minimum, or a folder that contains runs with other
            settings.
    """
    args = Args() if args is None else args
    least = {
        name: getattr(args, name) for name in ("episodes", "updates", "log_episodes", "steps", "seeds", "test_episodes")
    }
    refuse([f"{name} is {value}, expected at least 1" for name, value in least.items() if value < 1])
    for level in args.levels:
        if level not in decentralised_spread.KNOWN_LEVELS:
            raise unknown("level", level, decentralised_spread.KNOWN_LEVELS)
    for learner in args.learners:
        if learner not in decentralised_spread.NAMES:
            raise unknown("learner", learner, decentralised_spread.NAMES)
    size = spread_size(args)
    rows = matrix_rows(args) + decentralised_spread.rows_of(size)
    settings = {k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(args).items()}
    settings["runs"] = str(args.runs)
    return Result(
        "decentralised",
        "Agents that learn alone",
        settings,
        HEADER,
        rows,
        notes(rows),
        lambda figure: draw(figure, rows),
    )


run = decentralised


def notes(rows: Sequence[Row]) -> list[str]:
    """What the rows show, a sentence for each log of a matrix game and for each level of Spread."""
    found = []
    for problem, log in dict.fromkeys((row[0], row[1]) for row in rows if row[0] != decentralised_spread.PROBLEM):
        at = {row[2]: row for row in rows if row[:2] == (problem, log)}
        alone, weighted = at["independent BCQ"], at["MABCQ"]
        found.append(
            f"{problem}, {log}: the best pair is paid {alone[4]:g}; independent BCQ reaches {alone[3]:g} and expects "
            f"{alone[5]:.2f} (exact {alone[6]:.2f}), MABCQ reaches {weighted[3]:g} and expects {weighted[5]:.2f} "
            f"(exact {weighted[6]:.2f})."
        )
    return found + decentralised_spread.notes_of(rows)


COLOURS = {"independent BCQ": "#c8502d", "MABCQ": "#1f5fa8"}


def draw(figure: Figure, rows: Sequence[Row]) -> None:
    """Draw the payoffs of the stag hunt over the log, the climbing game, and the team returns of Spread."""
    spread_panel = any(row[0] == decentralised_spread.PROBLEM for row in rows)
    figure.set_size_inches(4.2 * (2 + spread_panel), 3.8)
    axes = figure.subplots(1, 2 + spread_panel, squeeze=False)[0]
    hunts = [row for row in rows if row[0] == "stag_hunt"]
    for learner, colour in COLOURS.items():
        own = [row for row in hunts if row[2] == learner]
        x = [float(str(row[1]).split()[0]) for row in own]
        axes[0].plot(x, [row[3] for row in own], "o-", color=colour, label=learner)
        axes[0].plot(x, [row[6] for row in own], ":", color=colour, label=f"{learner}: what it expects, exact")
    axes[0].axhline(10, color=decentralised_spread.GREY, linewidth=0.8)
    axes[0].set_ylim(0, 10.5)
    axes[0].set_title("stag hunt: payoff (grey: the best pair)", loc="left", fontsize=10)
    axes[0].set_xlabel("share of hunting the stag in the log")
    climbs = [row for row in rows if row[0] == "climbing"]
    axes[1].bar([row[2] for row in climbs], [row[3] for row in climbs], color=[COLOURS[str(row[2])] for row in climbs])
    for i, row in enumerate(climbs):
        axes[1].plot([i - 0.4, i + 0.4], [row[6]] * 2, ":", color="#22272e")
    axes[1].axhline(11, color=decentralised_spread.GREY, linewidth=0.8)
    axes[1].set_title("climbing game: payoff (dotted: expected)", loc="left", fontsize=10)
    legend_below(figure, axes[0], 2, 8)
    if spread_panel:
        decentralised_spread.draw(axes[2], rows)
