"""The value that a method estimates for its policy during training, against the return of that policy.

Fujimoto, Meger, Precup 2019 (arXiv:1812.02900), figure 1: on a fixed log, an off-policy learner assigns values to
actions that the log does not contain, and its estimates move away from the returns of its policy. Here every method
trains on the same logs: probes whose best policy is known exactly, and logs of real environments. At intervals the
study compares two numbers: the method's estimate for the action that it would take at first observations, and the
discounted return of its policy from there, played past time limits. On the probes `runaway` the values of the unseen
actions have no finite fixed point, so that only a method that stays close to the data converges.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..algorithms import registry
from ..core import config
from ..core.contract import Algorithm
from ..core.errors import Diverged, UserError
from ..core.noise import Noise
from ..core.spec import Seen
from ..core.tree import PyTree
from ..core.trust import environment_in
from ..data.dataset import Dataset
from ..data.sources import load_dataset
from ..environments import probes as probes_of
from ..evaluation.discounted import discounted_returns, horizon
from ..policy.acting import Replicas
from ..policy.q_values import estimated_value, has_value
from ..runs.presets import TUNED
from ..runs.settings import Settings
from ..training.in_memory import Moment, train_in_memory
from ..training.plan.plan import Plan
from .base import refuse
from .overestimation_summary import Found, Levels, Point, draw, notes
from .result import Result
from .runs import shortened

HEADER = ("problem", "method", "step", "estimate", "true return", "overestimate", "low", "high")
QUICK = ("ddpg", "td3", "sac", "td3_bc", "bcq", "bear", "cql", "iql")
QUICK_DISCRETE = ("dqn", "rem", "qr_dqn", "discrete_sac", "discrete_bcq", "discrete_cql", "iql", "awac")


@dataclasses.dataclass(frozen=True)
class Args:
    """Compare the estimates of every method during training with the returns of its policy (figure 1 of BCQ)."""

    algorithms: tuple[str, ...] = ()
    """Methods. Default: eight for each kind of action; with --paper all methods that learn values."""
    probes: tuple[str, ...] = ("trap", "runaway", "runaway_discrete")
    """Probes with known answers."""
    data: tuple[str, ...] = ("bundled/pendulum-mixed",)
    """Data sets with a known environment."""
    steps: int = 0
    """Updates of each seed. 0: 3000 on probes and 6000 on data, with --paper 100 000."""
    seeds: int = 2
    """Seeds of each method, in one program."""
    points: int = 8
    """Number of comparisons during the training."""
    episodes: int = 8
    """First observations in the environments of data sets, and episodes played from them."""
    hidden: tuple[int, ...] = (64, 64)
    """Widths of all networks. With --paper: the published widths."""
    discount: float = 0.9
    """Discount on the probes. On data sets: the discount of each method."""
    paper: bool = False
    """Use published networks and stages, and 100 000 updates: hours."""
    seed: int = 0
    """Seed of logs, learning and episodes."""


class Task(NamedTuple):
    """A problem: a log and its environment."""

    name: str
    data: Dataset
    env: str
    best: float | None  # value of the best policy within the data, in units of raw rewards; None: not known
    discount: float | None  # None: the discount of the method
    steps: int
    episodes: int


def tasks(args: Args) -> Iterator[Task]:
    """The problems.

    Raises:
        UserError: a probe or a data set is unknown, or a data set names no environment.
    """
    for name in args.probes:
        probe = probes_of.get(name)
        log = probes_of.collect(probe, 300, args.seed)
        data = Dataset.from_arrays(**log, id=name, max_episode_steps=probe.time_limit, action_bounds=_bounds(probe))
        first = probe.start(np.random.default_rng(args.seed), 1000)
        best = float(probe.value(first, args.discount).mean())
        yield Task(name, data, probe.env_id, best, args.discount, args.steps or (100_000 if args.paper else 3000), 32)
    for name in args.data:
        data = load_dataset(name)
        if data.env_spec is None:
            raise UserError(
                f"{name} names no environment, which is needed to play the policies: choose another data set"
            )
        env = environment_in(data.env_spec, name, "choose another data set")
        yield Task(name, data, env, None, None, args.steps or (100_000 if args.paper else 6000), args.episodes)


def _bounds(probe: probes_of.Probe) -> tuple[float, float] | None:
    return None if probe.spec.discrete else (-1.0, 1.0)


def methods(args: Args, task: Task) -> list[str]:
    """The methods for a problem: of the requested ones, or of all, those that can learn from its data alone."""
    kind = "discrete" if task.data.discrete else "continuous"
    if args.algorithms:
        return [n for n in args.algorithms if kind in registry.get(n).actions]
    quick = QUICK_DISCRETE if task.data.discrete else QUICK
    every = [n for n in registry.names() if kind in registry.get(n).actions and learns_from(registry.get(n), task.data)]
    return every if args.paper else [n for n in quick if n in every]


def learns_from(algorithm: Algorithm, data: Dataset) -> bool:
    """Whether an algorithm needs nothing else than these data. A tabular method refuses data with many states."""
    cfg = next(iter(algorithm.presets.values())).config
    if algorithm.inputs or any(phase.collect for phase in algorithm.phases(cfg)):
        return False
    try:
        if algorithm.filter is not None:
            algorithm.filter(cfg, data)
    except UserError:
        return False
    return True


def settings_of(name: str, task: Task, args: Args) -> Settings:
    """The settings of a run.

    With `--paper`: the published settings. Otherwise: the preset `tuned_100k` if the method has it, with small
    networks, short first stages and a fast target network.
    """
    algorithm = registry.get(name)
    preset = next(iter(algorithm.presets.values()))
    if not args.paper:
        preset = algorithm.presets.get(TUNED, preset)
    values: dict[str, Any] = config.to_dict(preset.config)
    if not args.paper:
        values |= shortened(values, task.steps // 6, args.hidden)
        values |= {k: min(values[k], 128) for k in ("batch_size",)}
        values |= {k: 16 for k in ("heads", "quantiles") if k in values}
        values |= {k: max(values[k], 0.02) for k in ("polyak",) if k in values}
    if task.discount is not None and "discount" in values:
        values["discount"] = task.discount
    made: dict[str, Any] = {
        "algorithm": name,
        "data": task.data.id,
        "steps": task.steps,
        "config": values,
        "evaluate": False,
    }
    treatment = preset.treatment._asdict() | ({} if task.discount is None else {"return_scale": None})
    return Settings(**made, treatment=treatment, seeds=args.seeds, seed=args.seed, in_memory=True)


Estimate = Callable[[Any, PyTree, Seen], jax.Array]


def estimator(plan: Plan, seed: int) -> Estimate:
    """`(configs, states, first observations) -> [R, n]`: what each replica estimates for the action that it takes."""
    algorithm = plan.algorithm

    def one(cfg: Any, state: PyTree, seen: Seen) -> jax.Array:
        memory = algorithm.memory(cfg, plan.task.spec, len(seen.reward))
        action, _ = algorithm.act(cfg, state, seen, memory, Noise(jax.random.PRNGKey(seed)), "best")
        return estimated_value(algorithm, cfg, state, seen.obs, action)

    return jax.jit(jax.vmap(one, (0, 0, None)))


def compare(moment: Moment, estimate: Estimate, task: Task, args: Args) -> Point:
    """The estimates at one moment of the training, and the returns of the policies."""
    plan = moment.plan
    fitted = plan.task.fitted
    discount = float(getattr(plan.cfg, "discount", 0.99))
    policies = Replicas(plan.algorithm, moment.cfgs, moment.state, plan.task.spec, fitted, moment.step)
    played = discounted_returns(task.env, policies, task.episodes, discount, args.seed)
    mask = None if played.mask is None else jnp.asarray(played.mask)
    seen = Seen(jnp.asarray(fitted.observe(played.obs)), jnp.zeros(len(played.obs)), mask, jnp.int32(moment.step))
    estimates = np.asarray(estimate(moment.cfgs, moment.state, seen), np.float64) / fitted.reward_scale
    true = played.returns / fitted.reward_scale
    over = (estimates - true).mean(1)
    return Point(moment.step, float(estimates.mean()), float(true.mean()), float(over.min()), float(over.max()))


def follow(name: str, task: Task, args: Args) -> list[Point]:
    """The points of one method: fewer if it diverged, none if it learns no values."""
    points: list[Point] = []
    estimate: Estimate | None = None
    try:
        for moment in train_in_memory(settings_of(name, task, args), task.data, max(1, task.steps // args.points)):
            if not has_value(moment.plan.algorithm, moment.state):
                return []
            estimate = estimate or estimator(moment.plan, args.seed)
            points.append(compare(moment, estimate, task, args))
    except Diverged:
        points.append(Point(task.steps, np.inf, np.nan, np.inf, np.inf))
    return points


def overestimation(args: Args | None = None) -> Result:
    """Run the whole study.

    Raises:
        UserError: a method, a probe or a data set is unknown, or a number is out of range.
    """
    args = Args() if args is None else args
    refuse(faults(args))
    horizon(args.discount)
    for name in args.algorithms:
        registry.get(name)
    found: dict[tuple[str, str], list[Point]] = {}
    levels: dict[str, float | None] = {}
    from rich.console import Console

    console = Console(stderr=True, highlight=False, soft_wrap=True)
    for task in list(tasks(args)):
        levels[task.name] = task.best
        for name in methods(args, task):
            console.print(f"{task.name}: {name}")
            points = follow(name, task, args)
            if points:
                found[task.name, name] = points
    if not found:
        raise UserError(f"none of {', '.join(args.algorithms)} learns action values in these problems: name others")
    return result_of(args, found, levels)


def faults(args: Args) -> list[str]:
    """One sentence for each flag that is out of range."""
    least = {"seeds": args.seeds, "points": args.points, "episodes": args.episodes}
    least["hidden"] = min(args.hidden, default=0)
    found = [f"{name} is {value}, expected at least 1" for name, value in least.items() if value < 1]
    if 0 != args.steps < args.points:
        found.append(f"steps is {args.steps}, expected at least {args.points}")
    if not (args.probes or args.data):
        found.append("probes and data are empty, expected at least one of them")
    return found


def result_of(args: Args, found: Found, levels: Levels) -> Result:
    """The result of the study.

    Args:
        args: the flags.
        found: the points of each method on each problem.
        levels: the value of the best policy within the data of each problem, if it is known.
    """
    rows = [
        (task, name, p.step, p.estimate, p.true, p.estimate - p.true, p.low, p.high)
        for (task, name), points in found.items()
        for p in points
    ]
    settings = {k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(args).items()}
    return Result(
        "overestimation",
        "Estimated values of policies, and their true returns",
        {**settings, "levels": dict(levels)},
        HEADER,
        rows,
        notes(found, levels),
        lambda figure: draw(figure, found, levels),
    )


run = overestimation
