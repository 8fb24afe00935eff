"""What learners believe of their policies while they train, against what the policies bring.

Fujimoto, Meger, Precup 2019 (arXiv:1812.02900), figure 1: trained on a fixed log, an off-policy learner values actions
that nobody tried, and its estimates leave the returns of its policy behind. Here every method trains on the same logs:
probes whose best policy is known exactly, and sets of real environments. At intervals its estimate of the action that
it would take at first observations is held against the discounted return of its policy from there, played past time
limits. On the probes `runaway` the unseen actions have no finite value at all: only a learner that stays with the data
ends.
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
from ..data.dataset import Dataset
from ..data.sources import load_dataset
from ..environments import probes as probes_of
from ..evaluation.discounted import discounted_returns, horizon
from ..evaluation.q_values import estimated_value, has_value
from ..policy.acting import Replicas
from ..runs.settings import Settings
from ..training.in_memory import Moment, train_in_memory
from ..training.plan.plan import Plan
from .result import Result

HEADER = ("problem", "method", "step", "estimate", "true return", "overestimate", "low", "high")
# nothing keeps these near the data
FREE = ("ddpg", "td3", "sac", "dqn", "qr_dqn", "ensemble_dqn", "rem", "discrete_sac")
QUICK = ("ddpg", "td3", "sac", "td3_bc", "bcq", "bear", "cql", "iql")
QUICK_DISCRETE = ("dqn", "rem", "qr_dqn", "discrete_sac", "discrete_bcq", "discrete_cql", "iql", "awac")
STAGES = ("vae_steps", "behaviour_steps", "warm_start", "cloning_steps")  # settings that count updates of a first stage


@dataclasses.dataclass(frozen=True)
class Args:
    """Estimates of every method during training against the discounted returns of its policy (figure 1 of BCQ)."""

    algorithms: tuple[str, ...] = ()
    """Which; eight of each kind where not given, with --paper all that learn values."""
    probes: tuple[str, ...] = ("trap", "runaway", "runaway_discrete")
    """Probes with known answers."""
    data: tuple[str, ...] = ("bundled/pendulum-mixed",)
    """Data sets whose environment is known."""
    steps: int = 0
    """Updates of each seed; 0: 3000 on probes and 6000 on data, with --paper 100 000."""
    seeds: int = 2
    """Seeds of each method, in one program."""
    points: int = 8
    """How often the estimates are taken."""
    episodes: int = 8
    """First observations of data sets' environments, and episodes played from them."""
    hidden: tuple[int, ...] = (64, 64)
    """Widths of all networks; with --paper the published ones."""
    discount: float = 0.9
    """On the probes; on data it is each method's own."""
    paper: bool = False
    """Published networks and stages, 100 000 updates: hours."""
    seed: int = 0
    """Of logs, learning and episodes."""


PUBLISHED = ("published", "authors", "mujoco")  # presets, the first of them that a method has


class Task(NamedTuple):
    """One problem."""

    name: str
    data: Dataset
    env: str
    best: float | None  # value of the best policy within the data, in units of raw rewards, where known
    discount: float | None  # None: the method's own
    steps: int
    episodes: int


class Point(NamedTuple):
    """Means over seeds and first observations, in units of raw rewards."""

    step: int
    estimate: float
    true: float
    low: float  # the least and the largest overestimate of a seed
    high: float


def tasks(args: Args) -> Iterator[Task]:
    """The problems.

    Raises:
        UserError: an unknown probe or data set, or one without an environment.
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
            raise UserError(f"{name} names no environment: the true return of a policy cannot be played there")
        yield Task(
            name, data, data.env_spec, None, None, args.steps or (100_000 if args.paper else 6000), args.episodes
        )


def _bounds(probe: Any) -> tuple[float, float] | None:
    return None if probe.spec.discrete else (-1.0, 1.0)


def methods(args: Args, task: Task) -> list[str]:
    """Those asked for whose actions are the problem's, else those that learn from data like its data alone."""
    kind = "discrete" if task.data.discrete else "continuous"
    if args.algorithms:
        return [n for n in args.algorithms if kind in registry.get(n).actions]
    quick = QUICK_DISCRETE if task.data.discrete else QUICK
    every = [n for n in registry.names() if kind in registry.get(n).actions and learns_from(registry.get(n), task.data)]
    return every if args.paper else [n for n in quick if n in every]


def learns_from(algorithm: Algorithm, data: Dataset) -> bool:
    """Whether the data are all that it needs, and few enough states for a table."""
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
    """The method's first preset, with small networks, short first stages and faster targets; or its published one."""
    algorithm = registry.get(name)
    preset = next(iter(algorithm.presets.values()))
    if args.paper:
        preset = next((algorithm.presets[name] for name in PUBLISHED if name in algorithm.presets), preset)
    values: dict[str, Any] = config.to_dict(preset.config)
    if not args.paper:
        small = {k: list(args.hidden) for k in values if k.endswith("hidden")}
        stages = {k: min(values[k], task.steps // 6) for k in STAGES if k in values}
        values |= small | stages | {k: min(values[k], 128) for k in ("batch_size",)}
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


def believer(plan: Plan, seed: int) -> Callable[[Any, Any, Seen], jax.Array]:
    """`(cfgs, states, first observations) -> [R, n]`: what each replica believes of the action that it takes there."""
    algorithm, spec = plan.algorithm, plan.task.spec

    def one(cfg: Any, state: Any, seen: Seen) -> jax.Array:
        memory, noise = algorithm.memory(cfg, spec, len(seen.reward)), Noise(jax.random.PRNGKey(seed))
        action, _ = algorithm.act(cfg, state, seen, memory, noise, "best")
        return estimated_value(algorithm, cfg, state, seen.obs, action)

    return jax.jit(jax.vmap(one, (0, 0, None)))


def look(moment: Moment, believe: Callable, task: Task, args: Args) -> Point:
    """The estimates and the returns of this moment."""
    plan = moment.plan
    fitted, spec = plan.task.fitted, plan.task.spec
    discount = float(getattr(plan.cfg, "discount", 0.99))
    team = Replicas(plan.algorithm, moment.cfgs, moment.state, spec, fitted, moment.step)
    played = discounted_returns(task.env, team, task.episodes, discount, args.seed)
    mask = None if played.mask is None else jnp.asarray(played.mask)
    seen = Seen(jnp.asarray(fitted.observe(played.obs)), jnp.zeros(len(played.obs)), mask, jnp.int32(moment.step))
    believed = np.asarray(believe(moment.cfgs, moment.state, seen), np.float64) / fitted.reward_scale
    true = played.returns / fitted.reward_scale
    over = (believed - true).mean(1)
    return Point(moment.step, float(believed.mean()), float(true.mean()), float(over.min()), float(over.max()))


def follow(name: str, task: Task, args: Args) -> list[Point]:
    """One method through its training; shorter where it diverged to infinity, empty where it learns no values."""
    points: list[Point] = []
    believe: Callable | None = None
    try:
        for moment in train_in_memory(settings_of(name, task, args), task.data, max(1, task.steps // args.points)):
            if not has_value(moment.plan.algorithm, moment.state):
                return []
            believe = believe or believer(moment.plan, args.seed)
            points.append(look(moment, believe, task, args))
    except Diverged:
        points.append(Point(task.steps, np.inf, np.nan, np.inf, np.inf))
    return points


def overestimation(args: Args | None = None) -> Result:
    """The whole study.

    Raises:
        UserError: no such method, probe or data set, or numbers out of range.
    """
    args = Args() if args is None else args
    least = {
        "seeds": args.seeds,
        "points": args.points,
        "episodes": args.episodes,
        "hidden": min(args.hidden, default=0),
    }
    faults = [f"{name} is {value}, expected at least 1" for name, value in least.items() if value < 1]
    faults += [f"steps is {args.steps}, expected at least {args.points}"] if 0 != args.steps < args.points else []
    faults += [] if args.probes or args.data else ["probes and data are empty, expected at least one of them"]
    if faults:
        raise UserError("; ".join(faults))
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
        raise UserError(f"none of {', '.join(args.algorithms)} learns values of the actions in these problems")
    return result_of(args, found, levels)


def result_of(args: Args, found: dict[tuple[str, str], list[Point]], levels: dict[str, float | None]) -> Result:
    """The record of what was found: the courses by (problem, method), and the best values within the data."""
    rows = [
        (task, name, p.step, p.estimate, p.true, p.estimate - p.true, p.low, p.high)
        for (task, name), points in found.items()
        for p in points
    ]
    settings = {k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(args).items()}
    return Result(
        "overestimation",
        "What learners believe of their policies, and what these bring",
        {**settings, "levels": levels},
        HEADER,
        rows,
        notes(found, levels),
        lambda figure: draw(figure, found, levels),
    )


run = overestimation


def notes(found: dict[tuple[str, str], list[Point]], levels: dict[str, float | None]) -> list[str]:
    """The paper's claim, and what the ends of the courses say to it."""
    said = ["The paper: learners that nothing keeps near the data overestimate, batch-constrained ones do not. Seen:"]
    for task, best in levels.items():
        ends = {name: points[-1] for (where, name), points in found.items() if where == task}
        if not ends:
            continue

        def told(names: list[str], ends: dict[str, Point] = ends) -> str:
            return ", ".join(f"{n} {ends[n].estimate:.3g} ({ends[n].true:.3g})" for n in names) or "none"

        free, kept = ([n for n in ends if (n in FREE) is which] for which in (True, False))
        limit = "" if best is None else f"; the best policy within the data is worth {best:.3g}"
        said.append(
            f"{task}: estimate (and true return) at the end, unrestrained: {told(free)}; others: {told(kept)}{limit}."
        )
        limits = {"its policy brought": {n: ends[n].true + 0.1 * abs(ends[n].true) for n in ends}}
        if best is not None:
            limits["the best policy within the data is worth"] = dict.fromkeys(ends, best + 0.1 * abs(best))
        for than, bounds in limits.items():
            groups = [[n for n in names if not ends[n].estimate <= bounds[n]] for names in (free, kept)]
            of = [f" ({', '.join(names)})" if names else "" for names in groups]
            said.append(
                f"{task}: believed more than a tenth above what {than}: {len(groups[0])} of {len(free)} unrestrained "
                f"methods{of[0]}, {len(groups[1])} of {len(kept)} others{of[1]}."
            )
    return said


def draw(figure: Any, found: dict[tuple[str, str], list[Point]], levels: dict[str, float | None]) -> None:
    """A row a problem, a panel a method: the estimate (line), the true return (dashes), the best level (grey)."""
    rows = {task: [name for where, name in found if where == task] for task in levels}
    rows = {task: names for task, names in rows.items() if names}
    width = max(map(len, rows.values()))
    figure.set_size_inches(1.5 + 1.55 * width, 0.7 + 1.75 * len(rows))
    axes = figure.subplots(len(rows), width, squeeze=False)
    for line, (task, names) in enumerate(rows.items()):
        for axis in axes[line, len(names) :]:
            axis.set_visible(False)
        shown = [p for name in names for p in found[task, name]]
        finite = [v for p in shown for v in (p.estimate, p.true) if np.isfinite(v)]
        scale = max(1.0, abs(levels[task] or np.median([abs(p.true) for p in shown if np.isfinite(p.true)])))
        scale = float(f"{scale:.0e}")
        for axis, name in zip(axes[line], names, strict=False):
            points = found[task, name]
            steps = [p.step for p in points]
            colour = "#c8502d" if name in FREE else "#1f5fa8"
            axis.plot(steps, [p.estimate for p in points], color=colour, marker=".", markersize=3, label="estimate")
            axis.plot(steps, [p.true for p in points], "--", color="#22272e", linewidth=1, label="true return")
            if levels[task] is not None:
                axis.axhline(levels[task], color="#9aa3ad", linewidth=0.8, zorder=1)
            low, high = min(finite) - scale, max(finite) * (1.5 if max(finite) > 2 * scale else 1) + scale
            ticks = [sign * scale * 10.0**k for k in range(8) for sign in (-1, 1)]
            axis.set_yscale("symlog", linthresh=2 * scale)
            axis.set_ylim(low, high)
            axis.set_yticks([0.0, *(t for t in ticks if low < t < high)])
            axis.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
            axis.set_title(name, fontsize=8, color=colour)
            axis.tick_params(labelsize=6)
            axis.minorticks_off()
            if axis is not axes[line, 0]:
                axis.tick_params(labelleft=False)
        axes[line, 0].set_ylabel(task, fontsize=8)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False, fontsize=8)
