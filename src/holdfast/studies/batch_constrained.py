"""Extrapolation error in finite problems, and batch-constrained Q-learning without it, beside the exact solution.

Fujimoto, Meger, Precup 2019 (arXiv:1812.02900), sections 3 and 4.1. Q-learning on a log bootstraps from the best action
at the next state, tried or not. What was never tried keeps whatever value it began with: in a table its initial value,
in a network what generalisation makes of it. So the same log, the same update and two initial values, the lowest and the
highest return that is possible, show how much of an answer comes from the data. The maximum over logged actions only
(BCQL) makes the answer that of the MDP that the batch describes, which is solved exactly beside it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..algorithms import tabular_bcq
from ..core.config import as_arrays
from ..core.errors import UserError, unknown
from ..core.noise import Noise
from ..core.spec import Batch
from ..environments import probes, tabular
from ..environments.batch_mdp import batch_mdp
from .result import Result

LEARNERS = ("Q-learning, low start", "Q-learning, high start", "BCQL, low start", "BCQL, high start")
EXACT = ("exact, low start", "exact, high start")
HEADER = ("problem", "transitions", "method", "estimate", "true value", "error", "from exact")


@dataclasses.dataclass(frozen=True)
class Args:
    """Q-learning and batch-constrained Q-learning (BCQL) on logs of finite problems, beside the exact solution."""

    problems: tuple[str, ...] = ("grid", "trap_discrete", "chain")
    """Which: grid, and the finite probes (trap_discrete, chain, arms)."""
    sizes: tuple[int, ...] = (50, 200, 1000, 5000)
    """Transitions in a log."""
    logs: int = 5
    """Logs of each size, drawn apart."""
    updates: int = 20_000
    """Updates of each learner."""
    discount: float = 0.9
    """Of all values."""
    seed: int = 0
    """Of the logs and of the learning."""


class Problem(NamedTuple):
    """A finite MDP and who logs it."""

    mdp: tabular.Tabular
    behaviour: np.ndarray  # [S, A], probabilities
    limit: int  # steps of an episode


class Log(NamedTuple):
    """N transitions, in order; all [N]."""

    state: np.ndarray
    action: np.ndarray
    reward: np.ndarray
    next_state: np.ndarray
    terminated: np.ndarray
    first: np.ndarray  # whether an episode begins here


def grid() -> Problem:
    """Five by five cells, -1 a step from one corner to the other, one step in five slips to the side.

    The log never steps up or left in every second cell: values of these pairs are nobody's business.
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
    probe = probes.get(name)
    assert probe.mdp is not None and probe.support is not None  # noqa: PT018
    return Problem(probe.mdp, probe.support / probe.support.sum(1, keepdims=True), probe.time_limit)


def write_log(given: Problem, n: int, rng: np.random.Generator) -> Log:
    """The first `n` transitions of the logging policy; the last episode may be cut short."""
    mdp, rows, time, state = given.mdp, [], 0, -1
    for _ in range(n):
        first = state < 0
        if first:
            state, time = int(rng.choice(mdp.states, p=mdp.start)), 0
        action = int(rng.choice(mdp.actions, p=given.behaviour[state]))
        following = int(rng.choice(mdp.states, p=mdp.transition[state, action]))
        ended, time = bool(mdp.terminal[following]), time + 1
        rows.append((state, action, mdp.reward[state, action], following, ended, first))
        state = -1 if ended or time == given.limit else following
    return Log(*(np.array(column) for column in zip(*rows, strict=True)))


def bounds(mdp: tabular.Tabular, discount: float) -> tuple[float, float]:
    """The lowest and the highest return that there can be."""
    reward = mdp.reward[~mdp.terminal]
    return min(0.0, reward.min()) / (1 - discount), max(0.0, reward.max()) / (1 - discount)


def learn(logs: Sequence[Log], shape: tuple[int, int], args: Args) -> np.ndarray:
    """The tables of every learner on every log, [logs, learners, S, A], all in one program.

    The update is `tabular_bcq`'s; Q-learning is the same update with every pair counted as supported.
    """
    (states, actions), longest = shape, max(len(log.state) for log in logs)
    cfg = as_arrays(tabular_bcq.TabularBCQ(states=states, discount=args.discount))
    codes = jnp.arange(states, dtype=jnp.result_type(float))[:, None]

    def padded(column: np.ndarray) -> np.ndarray:
        return np.resize(column, longest)  # rows beyond the log's own are never drawn

    columns = Log(*(jnp.stack([padded(c) for c in same]) for same in zip(*logs, strict=True)))
    sizes = jnp.asarray([len(log.state) for log in logs])
    begin = [_starts(log, shape, args) for log in logs]
    support, first = (jnp.stack([jnp.asarray(b[i]) for b in begin]) for i in (0, 1))

    def one(log: Log, size: Any, support: Any, first: Any, key: Any) -> Any:
        def step(i: Any, state: tabular_bcq.State) -> tabular_bcq.State:
            noise = Noise(jax.random.fold_in(key, i))
            at = noise.integers("rows", (cfg.batch_size,), size)
            obs, following = (codes[x[at]] for x in (log.state, log.next_state))
            ended = log.terminated[at].astype(first.dtype)
            reward = log.reward[at].astype(first.dtype)
            batch = Batch(obs, log.action[at], reward, following, ended, jnp.zeros_like(ended))
            return tabular_bcq.update(cfg, state, batch, noise, i)[0]

        state = tabular_bcq.State(codes, support, jnp.zeros_like(first), first)
        return jax.lax.fori_loop(0, args.updates, step, state).q

    keys = jax.vmap(lambda i: jax.random.fold_in(jax.random.PRNGKey(args.seed), i))(jnp.arange(len(logs)))
    learners = jax.vmap(one, (None, None, 0, 0, None))
    return np.asarray(jax.jit(jax.vmap(learners))(columns, sizes, support, first, keys), np.float64)


def _starts(log: Log, shape: tuple[int, int], args: Args) -> tuple[np.ndarray, np.ndarray]:
    """Support and first table of each learner on a log, [learners, S, A] each."""
    logged = np.zeros(shape, bool)
    logged[log.state, log.action] = True
    return np.stack([np.ones_like(logged)] * 2 + [logged] * 2), np.zeros((4, *shape), np.float32)


def batch_constrained(args: Args | None = None) -> Result:
    """The whole study.

    Raises:
        UserError: no problem of that name, or numbers out of range.
    """
    args = Args() if args is None else args
    faults = [f"{n} is {getattr(args, n)}, expected at least 1" for n in ("logs", "updates") if getattr(args, n) < 1]
    faults += [f"sizes holds {n}, expected at least 1" for n in args.sizes if n < 1]
    faults += [] if 0 <= args.discount < 1 else [f"discount is {args.discount}, expected in [0, 1)"]
    faults += [] if args.sizes and args.problems else ["name at least one size and one problem"]
    if faults:
        raise UserError("; ".join(faults))
    rows: list[tuple[Any, ...]] = []
    levels: dict[str, dict[str, float]] = {}
    for name in args.problems:
        found, levels[name] = _one_problem(problem(name), args)
        rows += [(name, *row) for row in found]
    settings = {k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(args).items()}
    title = "Extrapolation error in finite problems"
    notes = _notes(rows, args)
    draw = lambda figure: _draw(figure, rows, levels, args)  # noqa: E731
    return Result("batch-constrained", title, {**settings, "levels": levels}, HEADER, rows, notes, draw)
