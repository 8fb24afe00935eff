"""Agents that learn alone from logs in which their teammates acted badly (Jiang, Lu 2021, arXiv:2108.01832).

An agent's log says what followed its actions while the others acted as they did then. In matrix games, whose values are
exact here, the best joint action then looks bad to each agent, if its teammate rarely did its part: independent BCQ
chooses another one. MABCQ weighs the transitions, so that an agent expects its teammate to do its part.

Then Spread, with logs of several levels: independent BCQ and CQL, MABCQ, OMAR, and OMIGA, which learns a team together.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..algorithms import tabular_bcq, tabular_mabcq
from ..collection.teams import LEVELS, MIXED, collect_fixed, collect_level
from ..core.config import as_arrays
from ..core.errors import unknown
from ..core.noise import Noise
from ..core.spec import Batch, Cfg, State
from ..data.dataset import Dataset
from ..data.teams.dataset import TeamDataset
from ..environments.batch_mdp import BatchMDP, batch_mdp, states_of
from ..environments.deviation import solve_deviated
from ..environments.jax import games, matrix_games, spread
from .base import refuse
from .in_memory import train
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
LEARNERS: dict[str, tuple[str, Literal["independent"] | None]] = {  # label -> algorithm, and how its agents learn
    "independent BCQ": ("bcq", "independent"),
    "independent CQL": ("cql", "independent"),
    "MABCQ": ("mabcq", "independent"),
    "OMAR": ("omar", "independent"),
    "OMIGA": ("omiga", None),
}
# the authors' settings of OMAR for each level; a mixed log is closest to their medium-replay
OMAR = {"random": "spread_random", "medium": "spread_expert", "expert": "spread_expert", "mixed": "spread"}
RATE = 1e-3  # of CQL and OMIGA in the small form: the published rates need many more updates
HEADER = ("problem", "log", "learner", "team return", "best return", "estimate", "exact estimate")
NOTHING = float("nan")


@dataclasses.dataclass(frozen=True)
class Args:
    """Independent BCQ and MABCQ in matrix games, with exact values; then five learners in Spread."""

    episodes: int = 1000
    """Episodes in the log of each matrix game."""
    updates: int = 4000
    """Updates of each table."""
    levels: tuple[str, ...] = ("medium", "expert")
    """Levels of the logs of Spread: random, medium, expert, mixed. Empty: matrix games only."""
    learners: tuple[str, ...] = ("bcq", "cql", "mabcq", "omar", "omiga")
    """Learners in Spread."""
    log_episodes: int = 800
    """Episodes in each log of Spread."""
    steps: int = 1500
    """Updates of each learner in Spread."""
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
            rows.append(
                (name, label.partition(", ")[2], learner, float(payoff[chosen]), float(payoff.max()), *estimates)
            )
    return rows


def spread_rows(args: Args) -> list[Row]:
    """The rows of Spread: the mean team return of each learner and level, over seeds and episodes."""
    game = spread.spread()
    rows: list[Row] = []
    best = NOTHING
    for level in args.levels:
        log = collect_level(spread.ID, level, args.log_episodes, args.seed)
        rows.append(("spread", level, "the log", float(log.returns().mean()), best, NOTHING, NOTHING))
        for label, (name, agents) in LEARNERS.items():
            if name in args.learners:
                preset = OMAR[level] if name == "omar" else None
                reached = _reached(game, log, name, agents, preset, args)
                rows.append(("spread", level, label, reached, best, NOTHING, NOTHING))
    expert = collect_level(spread.ID, "expert", args.test_episodes, args.seed + 1).returns().mean()
    return [(*row[:4], float(expert), *row[5:]) for row in rows]


def _reached(
    game: games.Game,
    log: TeamDataset,
    name: str,
    agents: Literal["independent"] | None,
    preset: str | None,
    args: Args,
) -> float:
    """The mean return of a learner's teams."""
    steps, seeds, hidden = (100_000, 5, (256, 256)) if args.paper else (args.steps, args.seeds, args.hidden)
    settings: dict[str, Any] = {"hidden": hidden, "discount": 0.95, "batch_size": 256 if args.paper else 128}
    if name in ("bcq", "mabcq"):
        settings["vae_hidden"] = hidden
    if name == "mabcq":
        settings |= {"model_hidden": hidden, "model_steps": steps // 5}
    if name == "cql":
        settings["cloning_steps"] = steps // 5
    if name in ("cql", "omiga") and not args.paper:
        settings |= {"actor_lr": RATE, "critic_lr": RATE}
    if name == "omiga" and not args.paper:
        settings["value_lr"] = RATE
    learned = train(name, log, steps, seeds, args.seed, settings, preset, agents)

    def team(cfg: Cfg, state: State, key: jax.Array) -> jax.Array:
        memory = learned.algorithm.memory(cfg, game.env.spec, args.test_episodes)

        def behave(key: jax.Array, obs: jax.Array) -> jax.Array:
            return learned.act(cfg, state, obs, memory, key, "best")[0]

        return games.play(game, behave, key, args.test_episodes).returns.mean()

    keys = jax.random.split(jax.random.PRNGKey(args.seed + 7), seeds)
    return float(jax.jit(jax.vmap(team))(learned.cfgs, learned.state, keys).mean())


def decentralised(args: Args | None = None) -> Result:
    """Run the whole study.

    Raises:
        UserError: an unknown level or learner, or a number below its minimum.
    """
    args = Args() if args is None else args
    least = {
        name: getattr(args, name) for name in ("episodes", "updates", "log_episodes", "steps", "seeds", "test_episodes")
    }
    refuse([f"{name} is {value}, expected at least 1" for name, value in least.items() if value < 1])
    for level in args.levels:
        if level not in (*LEVELS, "mixed"):
            raise unknown("level", level, (*LEVELS, "mixed"))
    known = [name for name, _ in LEARNERS.values()]
    for learner in args.learners:
        if learner not in known:
            raise unknown("learner", learner, known)
    if args.paper:
        args = dataclasses.replace(args, levels=(*MIXED, "mixed"), log_episodes=40_000)
    rows = matrix_rows(args) + spread_rows(args)
    settings = {k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(args).items()}
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
    for problem, log in dict.fromkeys((row[0], row[1]) for row in rows if row[0] != "spread"):
        at = {row[2]: row for row in rows if row[:2] == (problem, log)}
        alone, weighted = at["independent BCQ"], at["MABCQ"]
        found.append(
            f"{problem}, {log}: the best pair is paid {alone[4]:g}; independent BCQ reaches {alone[3]:g} and expects "
            f"{alone[5]:.2f} (exact {alone[6]:.2f}), MABCQ reaches {weighted[3]:g} and expects {weighted[5]:.2f} "
            f"(exact {weighted[6]:.2f})."
        )
    for level in dict.fromkeys(row[1] for row in rows if row[0] == "spread"):
        each = [row for row in rows if row[:2] == ("spread", level)]
        texts = [f"{row[2]} {row[3]:.1f}" for row in each]
        found.append(f"spread, {level}: {', '.join(texts)}; an expert team {each[0][4]:.1f}.")
    return found


COLOURS = {"independent BCQ": "#c8502d", "MABCQ": "#1f5fa8"}
GREY = "#9aa3ad"


def draw(figure: Figure, rows: Sequence[Row]) -> None:
    """Draw the payoffs of the stag hunt over the log, the climbing game, and the team returns of Spread."""
    levels = list(dict.fromkeys(row[1] for row in rows if row[0] == "spread"))
    figure.set_size_inches(4.2 * (2 + bool(levels)), 3.8)
    axes = figure.subplots(1, 2 + bool(levels), squeeze=False)[0]
    hunts = [row for row in rows if row[0] == "stag_hunt"]
    for learner, colour in COLOURS.items():
        own = [row for row in hunts if row[2] == learner]
        x = [float(str(row[1]).split()[0]) for row in own]
        axes[0].plot(x, [row[3] for row in own], "o-", color=colour, label=learner)
        axes[0].plot(x, [row[6] for row in own], ":", color=colour, label=f"{learner}: what it expects, exact")
    axes[0].axhline(10, color=GREY, linewidth=0.8)
    axes[0].set_ylim(0, 10.5)
    axes[0].set_title("stag hunt: payoff (grey: the best pair)", loc="left", fontsize=10)
    axes[0].set_xlabel("share of hunting the stag in the log")
    climbs = [row for row in rows if row[0] == "climbing"]
    axes[1].bar([row[2] for row in climbs], [row[3] for row in climbs], color=[COLOURS[str(row[2])] for row in climbs])
    for i, row in enumerate(climbs):
        axes[1].plot([i - 0.4, i + 0.4], [row[6]] * 2, ":", color="#22272e")
    axes[1].axhline(11, color=GREY, linewidth=0.8)
    axes[1].set_title("climbing game: payoff (dotted: expected)", loc="left", fontsize=10)
    legend_below(figure, axes[0], 2, 8)
    if not levels:
        return
    axis = axes[2]
    names = list(dict.fromkeys(str(row[2]) for row in rows if row[0] == "spread"))
    width = 0.8 / len(names)
    palette = [GREY, "#c8502d", "#d9a441", "#1f5fa8", "#4a8f5b", "#7a5aa6"]
    for k, name in enumerate(names):
        found = [next(row[3] for row in rows if row[:3] == ("spread", level, name)) for level in levels]
        axis.bar(np.arange(len(levels)) + k * width, found, width, label=name, color=palette[k % len(palette)])
    axis.axhline(next(float(row[4]) for row in rows if row[0] == "spread"), color="#22272e", linewidth=0.8)
    axis.set_xticks(np.arange(len(levels)) + 0.4 - width / 2, levels)
    axis.set_title("spread: team return (line: expert)", loc="left", fontsize=10)
    axis.legend(frameon=False, fontsize=7)
