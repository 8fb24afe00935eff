"""Extrapolation error in finite problems, and batch-constrained Q-learning without it, next to the exact solution.

Fujimoto, Meger, Precup 2019 (arXiv:1812.02900), sections 3 and 4.1. Q-learning on a log bootstraps from the best action
at the next state, whether the log contains it or not. A pair that the log does not contain keeps its initial value: the
entry of a table, or what a network generalises. The same log and the same update with two initial values, the lowest
and the highest possible return, therefore show how much of an answer comes from the data. With the maximum over logged
actions only (BCQL), the answer is that of the MDP that the batch describes, which this study also solves exactly.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..algorithms import tabular_bcq
from ..core.config import as_arrays
from ..core.errors import unknown
from ..core.noise import Noise
from ..core.spec import Batch
from ..environments import probes, tabular
from ..environments.batch_mdp import batch_mdp
from .base import refuse
from .pictures import legend_below
from .result import Result, Row

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LEARNERS = (("Q-learning", "low"), ("Q-learning", "high"), ("BCQL", "low"), ("BCQL", "high"))
EXACT = (("exact", "low"), ("exact", "high"))
HEADER = ("problem", "transitions", "method", "start", "estimate", "true value", "error", "from exact")


@dataclasses.dataclass(frozen=True)
class Args:
    """Compare Q-learning, batch-constrained Q-learning (BCQL) and the exact solution on logs of finite problems."""

    problems: tuple[str, ...] = ("grid", "trap_discrete", "chain")
    """Problems: grid, and the finite probes (trap_discrete, chain, arms)."""
    sizes: tuple[int, ...] = (50, 200, 1000, 5000)
    """Numbers of transitions in a log."""
    logs: int = 5
    """Number of independent logs of each size."""
    updates: int = 20_000
    """Updates of each learner."""
    discount: float = 0.9
    """Discount of all values."""
    seed: int = 0
    """Seed of the logs and of the learning."""


Column = np.ndarray | jax.Array


class Problem(NamedTuple):
    """A finite MDP and the policy that logs it."""

    mdp: tabular.Tabular
    behaviour: np.ndarray  # [S, A], probabilities
    limit: int  # steps of an episode


class Log(NamedTuple):
    """N transitions, in order; all [N]."""

    state: Column
    action: Column
    reward: Column
    next_state: Column
    terminated: Column
    first: Column  # whether this is the first transition of an episode


def grid() -> Problem:
    """Five by five cells: reward -1 for each step from one corner to the other, and one step in five slips sideways.

    In every second cell the logging policy never steps up or left, so that the log says nothing of these pairs.
    """
    side = 5
    moves = ((-1, 0), (0, 1), (1, 0), (0, -1))
    transition = np.zeros((side * side, 4, side * side))
    for cell in range(side * side):
        for action in range(4):
            for turn, share in ((0, 0.8), (1, 0.1), (3, 0.1)):
                down, right = moves[(action + turn) % 4]
                row, column = np.clip((cell // side + down, cell % side + right), 0, side - 1)
                transition[cell, action, row * side + column] += share
    behaviour = np.where(np.arange(side * side)[:, None] % 2, [0, 0.5, 0.5, 0], [0.15, 0.35, 0.35, 0.15])
    ends = np.arange(side * side) == side * side - 1
    mdp = tabular.Tabular(transition, -np.ones((side * side, 4)), ends, np.eye(side * side)[0])
    return Problem(mdp, behaviour, 60)


def problem(name: str) -> Problem:
    """The grid, or a finite probe logged by a uniform choice among the actions in its data.

    Raises:
        UserError: no finite problem of that name.
    """
    if name == "grid":
        return grid()
    finite = [n for n in probes.PROBES if probes.get(n).mdp is not None]
    if name not in finite:
        raise unknown("finite problem", name, ["grid", *finite])
    probe: Any = probes.get(name)
    return Problem(probe.mdp, probe.support / probe.support.sum(1, keepdims=True), probe.time_limit)


def write_log(given: Problem, n: int, rng: np.random.Generator) -> Log:
    """The first `n` transitions of the logging policy; the last episode may be cut short."""
    mdp = given.mdp
    rows = []
    time = 0
    state = -1
    for _ in range(n):
        first = state < 0
        if first:
            state = int(rng.choice(mdp.states, p=mdp.start))
            time = 0
        action = int(rng.choice(mdp.actions, p=given.behaviour[state]))
        following = int(rng.choice(mdp.states, p=mdp.transition[state, action]))
        ended = bool(mdp.terminal[following])
        time += 1
        rows.append((state, action, mdp.reward[state, action], following, ended, first))
        state = -1 if ended or time == given.limit else following
    return Log(*(np.array(column) for column in zip(*rows, strict=True)))


def bounds(mdp: tabular.Tabular, discount: float) -> tuple[float, float]:
    """The lowest and the highest possible return."""
    reward = mdp.reward[~mdp.terminal]
    return min(0.0, reward.min()) / (1 - discount), max(0.0, reward.max()) / (1 - discount)


def learn(given: Problem, logs: Sequence[Log], args: Args) -> np.ndarray:
    """Train every learner on every log in one program: tables [logs, LEARNERS, S, A].

    The update is that of `tabular_bcq`. Q-learning is the same update with all pairs supported.
    """
    shape = given.mdp.reward.shape
    cfg = as_arrays(tabular_bcq.TabularBCQ(states=shape[0], discount=args.discount, batch_size=32))
    codes = jnp.arange(shape[0], dtype=jnp.result_type(float))[:, None]
    low, high = (np.full(shape, x) for x in bounds(given.mdp, args.discount))
    first = jnp.asarray(np.stack([low, high, low, high]), codes.dtype)
    support = jnp.asarray(np.stack([[np.ones(shape, bool)] * 2 + [supported(log, shape)] * 2 for log in logs]))
    longest = max(len(log.state) for log in logs)  # shorter logs are padded with rows that are never drawn
    columns = Log(*(jnp.stack([np.resize(column, longest) for column in same]) for same in zip(*logs, strict=True)))
    sizes = jnp.asarray([len(log.state) for log in logs])

    def one(log: Log, size: jax.Array, support: jax.Array, first: jax.Array, key: jax.Array) -> jax.Array:
        def step(i: jax.Array, state: tabular_bcq.State) -> tabular_bcq.State:
            noise = Noise(jax.random.fold_in(key, i))
            at = noise.integers("rows", (cfg.batch_size,), size)
            reward, ended = (x[at].astype(codes.dtype) for x in (log.reward, log.terminated))
            obs = codes[log.state[at]]
            following = codes[log.next_state[at]]
            batch = Batch(obs, log.action[at], reward, following, ended, jnp.zeros_like(ended))
            return tabular_bcq.update(cfg, state, batch, noise, i)[0]

        state = tabular_bcq.State(codes, support, jnp.zeros_like(first), first)
        return jax.lax.fori_loop(0, args.updates, step, state).q

    keys = jnp.stack([jax.random.fold_in(jax.random.PRNGKey(args.seed), i) for i in range(len(logs))])
    every_learner = jax.vmap(one, (None, None, 0, 0, None))
    every_log = jax.jit(jax.vmap(every_learner, (0, 0, 0, None, 0)))
    return np.asarray(every_log(columns, sizes, support, first, keys), np.float64)


def supported(log: Log, shape: tuple[int, ...]) -> np.ndarray:
    """The pairs in a log, [S, A] booleans."""
    found = np.zeros(shape, bool)
    found[log.state, log.action] = True
    return found


def judge(mdp: tabular.Tabular, log: Log, q: np.ndarray, among: np.ndarray, discount: float) -> tuple[float, float]:
    """The estimate and the true value of a table's greedy policy, mean over the first states of the log's episodes.

    Args:
        mdp: the true problem.
        log: the log; in a state that is not in it, the policy draws its action uniformly.
        q: [S, A], the table.
        among: [S, A], the allowed actions; all actions in a state without any.
        discount: discount of the values.
    """
    among = np.where(among.any(1, keepdims=True), among, True)
    best = np.where(among, q, -np.inf)
    policy = np.eye(mdp.actions)[best.argmax(1)]
    policy[np.setdiff1d(np.arange(mdp.states), log.state)] = 1 / mdp.actions
    starts = log.state[log.first]
    return float(best.max(1)[starts].mean()), float(tabular.value(mdp, policy, discount).v[starts].mean())


def one_problem(name: str, args: Args) -> tuple[list[Row], dict[str, float]]:
    """The rows of one problem, and the values of the logging policy and of the best one within its support."""
    given = problem(name)
    mdp = given.mdp
    shape = mdp.reward.shape
    discount = args.discount
    drawn = [(n, i) for n in args.sizes for i in range(args.logs)]
    logs = [write_log(given, n, np.random.default_rng([args.seed, n, i])) for n, i in drawn]
    tables = learn(given, logs, args)
    found: dict[tuple[int, str, str], list[tuple[float, float, float]]] = {}
    for (n, _), log, learned in zip(drawn, logs, tables, strict=True):
        state, action, reward, next_state, terminated = (np.asarray(column) for column in log[:5])
        batches = [
            batch_mdp(state, action, reward, next_state, terminated, shape, start) for start in bounds(mdp, discount)
        ]
        exact = [b.solve(discount) for b in batches]
        logged = batches[0].support
        for (method, initial), q in zip((*LEARNERS, *EXACT), [*learned, *(e.q for e in exact)], strict=True):
            among = np.ones(shape, bool) if method == "Q-learning" else logged
            off = np.abs(q - exact[initial == "high"].q)[logged].max()
            found.setdefault((n, method, initial), []).append((*judge(mdp, log, q, among, discount), float(off)))
    rows: list[Row] = []
    for which, each in found.items():
        estimate, true, off = (float(x) for x in np.mean(each, 0))
        rows.append((name, *which, estimate, true, estimate - true, off))
    best = tabular.solve(mdp, discount, given.behaviour > 0)
    own = tabular.value(mdp, given.behaviour, discount)
    return rows, {"logging policy": float(mdp.start @ own.v), "best in the log's support": float(mdp.start @ best.v)}


def batch_constrained(args: Args | None = None) -> Result:
    """Run the whole study: each method's estimate, true value, error and distance to the exact table, means over logs.

    Raises:
        UserError: a problem is unknown, or a number is out of range.
    """
    args = Args() if args is None else args
    least = {"logs": args.logs, "updates": args.updates, "sizes": min(args.sizes, default=0)}
    faults = [f"{name} is {value}, expected at least 1" for name, value in least.items() if value < 1]
    faults += [] if 0 <= args.discount < 1 else [f"discount is {args.discount}, expected in [0, 1)"]
    faults += [] if args.problems else ["problems is empty, expected at least one"]
    refuse(faults)
    rows: list[Row] = []
    levels: dict[str, dict[str, float]] = {}
    for name in args.problems:
        found, levels[name] = one_problem(name, args)
        rows += found
    settings = {k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(args).items()}
    return Result(
        "batch-constrained",
        "Extrapolation error in finite problems",
        {**settings, "levels": levels},
        HEADER,
        rows,
        notes(rows, args),
        lambda figure: draw(figure, rows, levels, args),
    )


run = batch_constrained


def notes(rows: list[Row], args: Args) -> list[str]:
    """What the rows of the largest logs show, in a sentence for each problem."""
    found = []
    most = max(args.sizes)
    for name in args.problems:
        at = {row[2:4]: row[4:] for row in rows if row[:2] == (name, most)}
        free = at["Q-learning", "high"]
        bound = at["BCQL", "high"]
        found.append(
            f"{name}, {most} transitions, high initial values: Q-learning estimates {free[0]:.2f} for a policy whose "
            f"true value is {free[1]:.2f}; BCQL estimates {bound[0]:.2f} for a policy whose true value is "
            f"{bound[1]:.2f}. The largest difference between BCQL's table and the exact table of the batch is "
            f"{bound[3]:.2g}."
        )
    return found


COLOURS = {"Q-learning": "#c8502d", "BCQL": "#1f5fa8", "exact": "#22272e"}


def draw(figure: Figure, rows: list[Row], levels: dict[str, dict[str, float]], args: Args) -> None:
    """Draw each method's estimate (above) and the true value of its policy (below) over the size of the log."""
    figure.set_size_inches(3.6 * len(args.problems) + 1, 6.4)
    axes = figure.subplots(2, len(args.problems), squeeze=False, sharex=True)
    sizes = sorted(set(args.sizes))
    for column, name in enumerate(args.problems):
        for line, (what, index) in enumerate((("estimate", 4), ("true value", 5))):
            axis = axes[line, column]
            for method, start in (*LEARNERS, *EXACT[:1]):
                y = [next(r[index] for r in rows if r[:4] == (name, n, method, start)) for n in sizes]
                style = ":" if method == "exact" else "-" if start == "high" else "--"
                label = "exact on the batch" if method == "exact" else f"{method}, {start} start"
                axis.plot(sizes, y, style, color=COLOURS[method], marker="o" if start == "high" else ".", label=label)
            for label, value in levels[name].items():
                best = label.startswith("best")
                axis.axhline(value, color="#9aa3ad", linewidth=0.8, linestyle="-" if best else "-.", zorder=1)
                axis.annotate(label, (1, value), (-3, 2 if best else -8), xycoords=("axes fraction", "data"),
                              textcoords="offset points", ha="right", fontsize=7, color="#6b7480")  # fmt: skip
            axis.set_xscale("log")
            axis.set_ylabel(what if not column else "")
        axes[0, column].set_title(name, loc="left", fontsize=10)
        axes[1, column].set_xlabel("transitions in the log")
    legend_below(figure, axes[0, 0], 3, 8)
