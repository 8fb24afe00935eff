"""Duality: estimates and ratios of DICE methods against exact solutions, and their policies on a log.

Part 1 is a small random MDP that can end, with a log of random episodes. A cloned policy is evaluated by the presets of
`dice`: the primal, the dual and the Lagrangian estimate are followed during training, with the exact value, and the
learned ratios are compared with the exact ones. Part 2 trains OptiDICE on the same log and compares its ratios and its
policy with the exact solution (`environments.tabular_dice`). Part 3 compares OptiDICE and AlgaeDICE with cloning, IQL
and CQL on a log of Pendulum.
"""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..algorithms import dice, dice_losses, opti_dice
from ..core.contract import Treatment
from ..core.noise import Noise
from ..core.spec import Batch
from ..data.dataset import Dataset
from ..data.feed import row_sources
from ..environments import tabular
from ..environments.batch_mdp import batch_mdp
from ..environments.tabular import Tabular
from ..environments.tabular_dice import Optimum
from ..environments.tabular_dice import opti_dice as exact_optimum
from ..runs.settings import Settings
from ..training.in_memory import Moment, train_in_memory
from ..training.run import train
from . import runs
from .base import Size, refuse
from .duality_summary import PRESETS, QUANTITIES, Curve, draw, notes
from .result import Result, Row

DISCOUNT = 0.9
LENGTH = 40  # steps after which an episode of the log is cut
MARKS = 10  # estimates of a run
ALPHA = 0.1  # of OptiDICE
HEADER = ("problem", "learner", "seed", "updates", "quantity", "value", "exact")


@dataclasses.dataclass(frozen=True)
class Args:
    """Compare DICE estimators and OptiDICE with exact solutions, and dual policies with others on a log."""

    steps: int = 6_000
    """Updates of each learner on the random MDP."""
    log_steps: int = 20_000
    """Updates of each learner on the log of Pendulum; 0 leaves that part out."""
    states: int = 8
    """States of the random MDP."""
    episodes: int = 500
    """Episodes of its log."""
    seeds: int = 2
    """Number of seeds of every learner."""
    seed: int = 0
    """The first seed, and that of the MDP and its log."""
    hidden: tuple[int, ...] = (64, 64)
    """Widths of the hidden layers."""
    runs: Path = Path("studies/runs/duality")
    """Folder of the runs on the log of Pendulum. Finished runs are read, interrupted runs are resumed."""


class Problem(NamedTuple):
    """The random MDP, its log, and what the log says of it."""

    mdp: Tabular
    log: Dataset
    counts: np.ndarray  # [S, A] rows of each pair
    ends: int  # rows that end
    behaviour: np.ndarray  # [S, A] probabilities


def problem(args: Args) -> Problem:
    """Draw the MDP and play its log with a random behaviour policy."""
    rng = np.random.default_rng(args.seed)
    shape = (args.states, 3)
    transition = rng.dirichlet(np.full(args.states, 0.3), shape)
    terminal = np.arange(args.states) == args.states - 1
    reward = rng.normal(size=shape)
    start = np.eye(args.states)[0]
    mdp = Tabular(transition, reward, terminal, start)
    behaviour = rng.dirichlet(np.full(3, 2.0), args.states)
    counts = np.zeros(shape)
    episodes = []
    eye = np.eye(args.states, dtype=np.float32)
    for _ in range(args.episodes):
        states: list[int] = [0]
        actions: list[int] = []
        while len(actions) < LENGTH and not terminal[states[-1]]:
            actions.append(int(rng.choice(3, p=behaviour[states[-1]])))
            states.append(int(rng.choice(args.states, p=transition[states[-1], actions[-1]])))
        last = np.arange(len(actions)) == len(actions) - 1
        ended = bool(terminal[states[-1]])
        np.add.at(counts, (states[:-1], actions), 1)
        found = {"observations": eye[states], "actions": np.array(actions), "rewards": reward[states[:-1], actions]}
        episodes.append({**found, "terminations": last & ended, "truncations": last & (not ended)})
    log = Dataset.from_episodes(episodes, id="random-mdp")
    return Problem(mdp, log, counts, int(log.terminations.sum()), behaviour)


def settings_of(name: str, preset: str, args: Args, config: dict[str, Any], policy: Path | None = None) -> Settings:
    """Settings of a run in memory, without treatment."""
    values = {"discount": DISCOUNT, "hidden": list(args.hidden), **config}
    more: dict[str, Any] = {"treatment": Treatment()._asdict(), "seeds": args.seeds, "seed": args.seed}
    if policy is not None:
        more["inputs"] = {"policy": str(policy)}
    return Settings.of(name, data="random-mdp", preset=preset, config=values, steps=args.steps, evaluate=False, **more)


def pairs(shape: tuple[int, int]) -> Batch:
    """All S A pairs of states and actions as rows."""
    state, action = np.divmod(np.arange(shape[0] * shape[1]), shape[1])
    obs = jnp.eye(shape[0])[state]
    zero = jnp.zeros(len(state))
    return Batch(obs, jnp.asarray(action), zero, obs, zero, zero)


def followed(preset: str, args: Args, found: Problem, policy: Path) -> Curve:
    """Train one preset of `dice` on the log, and estimate from all rows of the log."""
    rates = dict.fromkeys(("nu_lr", "zeta_lr", "multiplier_lr"), 1e-3)
    settings = settings_of("dice", preset, args, {**rates, "batch_size": 512}, policy)
    everything = pairs(found.counts.shape)
    steps: list[int] = []
    each: list[np.ndarray] = []
    ratio = np.zeros(0)

    def estimated(cfg: dice.DICE, state: dice.State, batch: Batch) -> jax.Array:
        rows = dice.rows_of(cfg, state.policy, batch, Noise(jax.random.PRNGKey(0)))
        values = dice.estimates(cfg, state, rows)
        return jnp.stack([values[f"value/{name}"] for name in QUANTITIES])

    def ratios(cfg: dice.DICE, state: dice.State) -> jax.Array:
        return dice_losses.ratios(cfg, state.zeta.net, everything)[0].reshape(found.counts.shape)

    of_all = jax.jit(jax.vmap(estimated, (0, 0, None)))
    for moment in train_in_memory(settings, found.log, max(1, args.steps // MARKS)):
        columns: Any = moment.plan.programs[-1].ctx.data
        batch = row_sources.rows(columns, jnp.arange(found.log.n_steps))
        steps.append(moment.step)
        each.append(np.asarray(of_all(moment.cfgs, moment.state, batch)))
        ratio = np.asarray(jax.vmap(ratios)(moment.cfgs, moment.state))
    return Curve(steps, np.stack(each), ratio)


def optimum(found: Problem) -> Optimum:
    """The exact solution of OptiDICE for the MDP that the log describes; its last state is the end."""
    data = found.log
    state = data.observations[data.observation_rows].argmax(1)
    following = data.observations[data.observation_rows + 1].argmax(1)
    given = (state, data.actions, data.rewards, following, data.terminations)
    described = batch_mdp(*given, shape=found.counts.shape).mdp
    start = np.append(found.mdp.start, 0.0)
    share = np.vstack([found.counts, np.zeros(3)]) / found.counts.sum()
    behaviour = np.vstack([found.behaviour, np.full(3, 1 / 3)])
    return exact_optimum(dataclasses.replace(described, start=start), share, DISCOUNT, ALPHA, behaviour)


def learned_optimum(args: Args, found: Problem) -> tuple[np.ndarray, np.ndarray]:
    """Ratios and policy of OptiDICE after training, [seeds, S, A] each."""
    config = {
        "alpha": ALPHA, "divergence": "chi", "normalise_value": False, "normalise_advantage": False, "lr": 1e-3,
        "standardise_rewards": False, "reward_factor": 1.0, "entropy_constraint": False,
    }  # fmt: skip
    last: Moment | None = None
    for moment in train_in_memory(settings_of("opti_dice", "d4rl", args, config), found.log, args.steps):
        last = moment
    assert last is not None  # the state at the start is yielded at least
    obs = jnp.eye(args.states)

    def one(state: opti_dice.State) -> tuple[jax.Array, jax.Array]:
        ratio = jax.nn.relu(state.advantage.net.all(obs)[0] / ALPHA + 1)
        return ratio, jnp.exp(state.actor.net(obs).log_probs())

    ratio, policy = jax.vmap(one)(last.state)
    return np.asarray(ratio), np.asarray(policy, np.float64)


def arms(hidden: tuple[int, ...]) -> tuple[runs.Arm, ...]:
    """The learners on the log of Pendulum."""
    nets = {"hidden": hidden}
    return (
        runs.Arm("BC", "bc", {**nets, **runs.CLONING}),
        runs.Arm("IQL", "iql", nets, "tuned_mixed"),
        runs.Arm("CQL", "cql", nets, "tuned_100k"),
        runs.Arm("OptiDICE", "opti_dice", nets, "tuned_100k"),
        runs.Arm("AlgaeDICE", "algae_dice", nets),
    )


def duality(args: Args | None = None) -> Result:
    """Run the whole study.

    Raises:
        UserError: a number is out of range.
    """
    args = Args() if args is None else args
    least = {"steps": 1, "log_steps": 0, "states": 3, "episodes": 10, "seeds": 1}
    faults = [f"{n} is {getattr(args, n)}, expected at least {m}" for n, m in least.items() if getattr(args, n) < m]
    faults += [] if args.hidden and min(args.hidden) > 0 else ["hidden is empty or not positive, expected widths"]
    refuse(faults)
    found = problem(args)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "cloned"
        config = {"hidden": list(args.hidden)}
        cloned = train("bc", found.log, steps=500, out=out, config=config, progress=False, evaluate=False)
        policy = cloned.policy().probabilities(np.eye(args.states, dtype=np.float32))
        curves = {preset: followed(preset, args, found, out) for preset in PRESETS}
    rows = estimator_rows(args, found, policy.astype(np.float64), curves)
    exact = optimum(found)
    ratio, learned = learned_optimum(args, found)
    rows += optimum_rows(args, found, exact, ratio, learned)
    played = {}
    if args.log_steps:
        size = Size(
            steps=args.log_steps, seeds=args.seeds, seed=args.seed, hidden=args.hidden, evaluations=4, episodes=10
        )
        played = runs.learn_each(arms(args.hidden), args.runs, size, data="bundled/pendulum-mixed")
    for label, run in played.items():
        value = float(run.over_seeds(list(range(len(run.replicas))))[0][-1])
        rows.append(("pendulum-mixed", label, "all", args.log_steps, "return", value, ""))
    settings = {k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(args).items()}
    points = [("OptiDICE", exact.ratio[:-1], ratio[0])]
    truth = exact_ratios(found, policy.astype(np.float64))
    points += [(preset, truth, curve.ratio[0]) for preset, curve in curves.items()]
    return Result(
        "duality",
        "Estimates and policies by duality",
        settings | {"runs": str(args.runs)},
        HEADER,
        rows,
        notes(rows),
        lambda figure: draw(figure, curves, worth(found.mdp, policy), points, rows),
    )


run = duality


def worth(mdp: Tabular, policy: np.ndarray) -> float:
    """The exact value of a policy from the start."""
    return float(tabular.value(mdp, policy, DISCOUNT).v @ mdp.start)


def exact_ratios(found: Problem, policy: np.ndarray) -> np.ndarray:
    """Visits of the policy divided by the shares of the rows, those of the absorbing state included: [S, A]."""
    visits = (1 - DISCOUNT) * tabular.occupancy(found.mdp, policy, DISCOUNT)
    share = found.counts / (found.counts.sum() + found.ends)
    return np.where(share > 0, visits / np.where(share > 0, share, 1.0), 0.0)


def ratio_error(weight: np.ndarray, ratio: np.ndarray, exact: np.ndarray) -> float:
    """Mean absolute difference of ratios over the rows of the log; 1 would be that of no knowledge."""
    return float((weight * np.abs(ratio - exact)).sum() / (weight * np.abs(1 - exact)).sum())


def estimator_rows(args: Args, found: Problem, policy: np.ndarray, curves: dict[str, Curve]) -> list[Row]:
    """Estimates of each preset at each mark, and the error of its ratios at the end."""
    truth = worth(found.mdp, policy)
    exact = exact_ratios(found, policy)
    rows: list[Row] = []
    for preset, curve in curves.items():
        for t, seed in np.ndindex(len(curve.steps), args.seeds):
            at = ("random MDP", preset, args.seed + seed, curve.steps[t])
            values = curve.estimates[t, seed]
            rows += [(*at, name, float(value), truth) for name, value in zip(QUANTITIES, values, strict=True)]
        for seed, ratio in enumerate(curve.ratio):
            error = ratio_error(found.counts, ratio, exact)
            rows.append(("random MDP", preset, args.seed + seed, curve.steps[-1], "error of ratios", error, 0.0))
    return rows


def optimum_rows(args: Args, found: Problem, exact: Optimum, ratio: np.ndarray, learned: np.ndarray) -> list[Row]:
    """Values of the policies of OptiDICE, and the error of its ratios."""
    best = worth(found.mdp, exact.policy[:-1])
    rows: list[Row] = [
        ("random MDP", "behaviour", "", 0, "value", worth(found.mdp, found.behaviour), best),
        ("random MDP", "optimum", "", 0, "value", float(tabular.solve(found.mdp, DISCOUNT).v @ found.mdp.start), best),
        ("random MDP", "OptiDICE, exact", "", 0, "violation of the flow", exact.residual, 0.0),
    ]
    for seed in range(args.seeds):
        at = ("random MDP", "OptiDICE", args.seed + seed, args.steps)
        rows.append((*at, "value", worth(found.mdp, learned[seed]), best))
        rows.append((*at, "error of ratios", ratio_error(found.counts, ratio[seed], exact.ratio[:-1]), 0.0))
    return rows
