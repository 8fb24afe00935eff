"""Learned models: penalty against error, MOPO's penalty, MOReL's lower bound, and COMBO against CQL.

Two problems whose steps are known exactly, so that every prediction of a model and every value of a critic can be
compared with the truth: the probe `trap` and the log of Pendulum. In `trap` the logged rewards rise toward actions
that are not in the log, and those actions have low rewards. No episode ends in either problem. All numbers are in the
units of training, and returns are discounted and played past time limits.

1. Penalty against error: an ensemble predicts logged steps and steps with uniform actions at logged states.
2. MOPO (arXiv:2005.13239) with and without its penalty: the return of the policy, its return in the model, and the
   value that its critic gives it.
3. MOReL (arXiv:2005.05951): the return in the pessimistic model is said to bound the true one from below. A step that
   leaves the known part ends with the smallest possible return.
4. COMBO (arXiv:2102.08363) is said to be less conservative than CQL (arXiv:2006.04779). Both have the same weight and
   the same candidates. The study compares the critic's value of the policy with its true return, at logged states and
   at states of rollouts.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..core.contract import Algorithm, Treatment
from ..core.noise import Noise
from ..core.spec import Cfg, Seen, State
from ..data.dataset import Dataset
from ..data.feed.columns import prepare
from ..data.feed.treatment import Fitted, fit
from ..data.sources import load_dataset
from ..dynamics import penalties
from ..dynamics.ensemble import Ensemble, change_and_reward
from ..dynamics.known import Known
from ..environments import probes
from ..environments.jax import classics
from ..environments.jax import probes as jax_probes
from ..environments.jax.env import JaxEnv
from ..evaluation.discounted import horizon
from ..evaluation.model_quality import rank_correlation
from ..parts.layers import raised
from ..policy.q_values import estimated_value
from ..runs.presets import TUNED
from ..runs.settings import Settings
from ..training.in_memory import Moment, train_in_memory
from .base import refuse
from .model_based_summary import Bound, Scatter, draw, notes
from .result import Result, Row

MARKS = 4  # moments of MOReL's training at which both returns are computed
STEPS = 5  # of COMBO's rollouts
ROWS = 1_000  # steps of each kind whose error is measured
STARTS = 100  # first observations of returns
FARTHEST = 100.0  # bound of observations in the model, as in the planner of MOReL
HEADER = ("problem", "learner", "seed", "quantity", "value")
STD = "std (MOPO)"
DISTANCE = "distance to the mean"
MEASURES: dict[str, Callable[[jax.Array, jax.Array], jax.Array]] = {
    STD: lambda mean, std: penalties.largest_std(std),
    DISTANCE: lambda mean, std: penalties.distance_to_mean(mean),
    "pairwise (MOReL)": lambda mean, std: penalties.pairwise_disagreement(mean[..., :-1]),
    "std of the means": lambda mean, std: penalties.ensemble_std(mean),
}


@dataclasses.dataclass(frozen=True)
class Args:
    """Compare penalties of models with true errors, MOPO with and without penalty, MOReL's bound, COMBO with CQL."""

    steps: int = 3_000
    """Updates of each policy."""
    model_steps: int = 2_000
    """Updates of each model."""
    weight: float = 1.0
    """Weight of the conservative penalty of COMBO and CQL."""
    seeds: int = 2
    """Number of seeds."""
    hidden: tuple[int, ...] = (64, 64)
    """Widths of the hidden layers of policies, critics and models."""
    seed: int = 0
    """The first seed, and that of the log of the probe."""


class Problem(NamedTuple):
    """A log, and the environment that it came from."""

    name: str
    log: Dataset
    env: JaxEnv
    state_of: Callable[[jax.Array], jax.Array]  # raw observations [n, d] -> states of `env`
    discount: float
    worst: float  # smallest raw reward of a step
    treatment: Treatment | None  # None: that of the presets
    mopo: dict[str, str | float]  # settings of MOPO's penalty
    shown: str  # the measure of it in `MEASURES`


def problems(args: Args) -> list[Problem]:
    """The two problems."""
    probe = probes.get("trap")
    log = Dataset.from_arrays(**probes.collect(probe, 100, args.seed), id="trap", action_bounds=(-1.0, 1.0))
    penalty: dict[str, str | float] = {"penalty": "distance", "penalty_weight": 100.0, "horizon": 1}
    trap = Problem("trap", log, jax_probes.make("trap"), lambda obs: obs, 0.9, -5.0, Treatment(), penalty, DISTANCE)

    def pendulum_state(obs: jax.Array) -> jax.Array:
        return jnp.stack([jnp.arctan2(obs[:, 1], obs[:, 0]), obs[:, 2]], -1)

    data = load_dataset("bundled/pendulum-mixed")
    least = -(np.pi**2 + 0.1 * 8**2 + 0.001 * 2**2)
    swing = Problem("pendulum-mixed", data, classics.pendulum(), pendulum_state, 0.99, least, None, {}, STD)
    return [trap, swing]


def settings_of(name: str, problem: Problem, args: Args, **config: str | float) -> Settings:
    """Settings of a short run in memory: the preset for short logs with small networks and higher rates."""
    rates = dict.fromkeys(("actor_lr", "critic_lr", "temperature_lr"), 1e-3)
    small = {"hidden": list(args.hidden), "batch_size": 128, "polyak": 0.02, "discount": problem.discount}
    own: dict[str, Any] = {}
    if name != "cql":
        own = {"model_hidden": list(args.hidden), "members": 4, "elites": 3, "model_steps": args.model_steps}
        own |= {"model_every": max(1, args.model_steps // 10), "rollout_batch": 2_000, "rollout_every": 250}
    treatment = None if problem.treatment is None else problem.treatment._asdict()
    return Settings.of(
        name, data=problem.log.id, preset=TUNED, config={**rates, **small, **own, **config}, treatment=treatment,
        sweep={"penalty_weight": [0.0, float(config["penalty_weight"])]} if name == "mopo" else None,
        steps=args.steps, seeds=args.seeds, seed=args.seed, evaluate=False,
    )  # fmt: skip


# steps and returns, in the units of training

Advance = Callable[[jax.Array, jax.Array, Noise], tuple[jax.Array, jax.Array, jax.Array]]  # next obs, reward, over
Act = Callable[[jax.Array], jax.Array]


def exact(problem: Problem, fitted: Fitted) -> Advance:
    """The environment's own steps."""
    numbers = fitted.numbers()
    mean = jnp.asarray(fitted.obs_mean, jnp.float32)
    std = jnp.asarray(fitted.obs_std, jnp.float32)

    def advance(obs: jax.Array, action: jax.Array, noise: Noise) -> tuple[jax.Array, jax.Array, jax.Array]:
        raw = obs * raised(std, 2) + raised(mean, 2)
        given = (noise.key, problem.state_of(raw), numbers.act_outside(action))
        _, following, reward, over = jax.vmap(problem.env.step, (None, 0, 0))(*given)
        return numbers.observe(following), numbers.rewards(reward), over

    return advance


def in_model(model: Ensemble | Known, halt_reward: jax.Array | float = 0.0) -> Advance:
    """Steps of a model; with MOReL's threshold, a step that leaves the known part gets `halt_reward` and ends."""
    ensemble = model.model if isinstance(model, Known) else model

    def advance(obs: jax.Array, action: jax.Array, noise: Noise) -> tuple[jax.Array, jax.Array, jax.Array]:
        found = ensemble.step(obs, action, noise)
        over = model.unknown(found.mean) if isinstance(model, Known) else jnp.zeros(len(obs), bool)
        return jnp.clip(found.next_obs, -FARTHEST, FARTHEST), found.reward + halt_reward * over, over

    return advance


def returns(advance: Advance, act: Act, start: jax.Array, discount: float, noise: Noise) -> jax.Array:
    """Discounted returns [n] from start [n, d], of as many steps as count."""

    def step(carry: tuple[jax.Array, jax.Array], t: jax.Array) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
        obs, alive = carry
        following, reward, over = advance(obs, act(obs), noise.fold(t))
        return (jnp.where(alive[:, None], following, obs), alive & ~over), alive * reward * discount**t

    _, gained = jax.lax.scan(step, (start, jnp.ones(len(start), bool)), jnp.arange(horizon(discount)))
    return gained.sum(0)


def acting(algorithm: Algorithm, cfg: Cfg, state: State) -> Act:
    """The policy of one replica."""

    def act(obs: jax.Array) -> jax.Array:
        seen = Seen(obs, jnp.zeros(len(obs)))
        return algorithm.act(cfg, state, seen, (), Noise(jax.random.PRNGKey(0)), "best")[0]

    return act


def logged_rows(problem: Problem, fitted: Fitted, count: int, seed: int) -> tuple[jax.Array, jax.Array]:
    """Observations [count, d] and actions [count, A] of logged steps, drawn at random."""
    columns = prepare(problem.log, fitted)
    index = np.random.default_rng(seed).integers(problem.log.n_steps, size=count)
    return jnp.asarray(columns.obs[columns.row[index]]), jnp.asarray(columns.action[index])


# the four parts


def mopo_part(problem: Problem, args: Args) -> tuple[list[Row], list[Scatter]]:
    """Errors and penalties of the ensemble, and MOPO with and without penalty."""
    config: dict[str, str | float] = {"penalty_weight": 1.0, **problem.mopo}
    moment = last(settings_of("mopo", problem, args, **config), problem, args.steps)
    fitted = moment.plan.task.fitted
    algorithm = moment.plan.algorithm
    truth = exact(problem, fitted)
    obs, action = logged_rows(problem, fitted, ROWS, args.seed)
    noise = Noise(jax.random.PRNGKey(args.seed))
    tried = 2 * noise.uniform("tried", action.shape) - 1

    @jax.jit
    def measured(model: Ensemble, action: jax.Array) -> dict[str, jax.Array]:
        mean, std = model.predict(obs, action)
        following, reward, _ = truth(obs, action, noise)
        error = mean[model.elites].mean(0) - change_and_reward(obs, following, reward)
        return {name: of(mean, std) for name, of in MEASURES.items()} | {"error": jnp.linalg.norm(error, axis=-1)}

    @jax.jit
    @jax.vmap
    def judged(cfg: Cfg, state: State) -> dict[str, jax.Array]:
        act = acting(algorithm, cfg, state)
        start = obs[:STARTS]
        given = (act, start, problem.discount, noise)
        value = estimated_value(algorithm, cfg, state, start, act(start))
        modelled = returns(in_model(state.model), *given)
        found = {"true return": returns(truth, *given), "return in the model": modelled, "value of the critic": value}
        return {name: x.mean() for name, x in found.items()}

    rows: list[Row] = []
    scatters: list[Scatter] = []
    for r, replica in enumerate(moment.plan.replicas[: args.seeds]):  # the replicas without penalty
        model = jax.tree.map(lambda x, r=r: x[r], moment.state.model)
        kinds = {"logged actions": measured(model, action), "uniform actions": measured(model, tried)}
        for kind, found in kinds.items():
            error = np.asarray(found["error"], np.float64)
            rows.append((problem.name, "model", replica.seed, f"error, {kind}", float(error.mean())))
        both = {name: np.concatenate([np.asarray(x[name], np.float64) for x in kinds.values()]) for name in found}
        for name in MEASURES:
            value = rank_correlation(both[name], both["error"])
            rows.append((problem.name, "model", replica.seed, f"rank correlation, {name}", value))
        if r == 0:
            scatters.append(Scatter(problem.name, problem.shown, both[problem.shown], both["error"]))
    found = judged(moment.cfgs, moment.state)
    for r, replica in enumerate(moment.plan.replicas):
        label = "MOPO" if replica.values["penalty_weight"] else "MOPO without penalty"
        rows += [(problem.name, label, replica.seed, name, float(x[r])) for name, x in found.items()]
    return rows, scatters


def morel_part(problem: Problem, args: Args) -> tuple[list[Row], list[Bound]]:
    """The return of MOReL's policy in its pessimistic model and in truth, at several moments of the training."""
    config: dict[str, str | float] = {"planner": "sac", "real_ratio": 0.5}
    settings = settings_of("morel", problem, args, **config)
    halt = problem.worst * fit(Treatment(**settings.treatment), problem.log).reward_scale / (1 - problem.discount)
    settings = settings_of("morel", problem, args, **config | {"halt_reward": halt})
    rows: list[Row] = []
    bounds: list[Bound] = []
    judge: Callable[..., tuple[jax.Array, jax.Array]] | None = None
    for moment in train_in_memory(settings, problem.log, max(1, args.steps // MARKS)):
        judge = judge or bounded(problem, moment, args, halt)
        true, below = (np.asarray(x, np.float64) for x in judge(moment.cfgs, moment.state))
        for r, replica in enumerate(moment.plan.replicas):
            bounds.append(Bound(problem.name, replica.seed, moment.step, float(true[r]), float(below[r])))
            at = (problem.name, f"MOReL, {moment.step} updates", replica.seed)
            rows += [(*at, "true return", float(true[r])), (*at, "pessimistic return", float(below[r]))]
    return rows, bounds


def bounded(problem: Problem, moment: Moment, args: Args, halt: float) -> Callable[..., tuple[jax.Array, jax.Array]]:
    """`(configs, states) -> true and pessimistic returns [R]`, compiled."""
    fitted = moment.plan.task.fitted
    truth = exact(problem, fitted)
    start, _ = logged_rows(problem, fitted, STARTS, args.seed)
    noise = Noise(jax.random.PRNGKey(args.seed))

    def one(cfg: Cfg, state: State) -> tuple[jax.Array, jax.Array]:
        given = (acting(moment.plan.algorithm, cfg, state), start, problem.discount, noise)
        return returns(truth, *given).mean(), returns(in_model(state.model, halt), *given).mean()

    return jax.jit(jax.vmap(one))


def conservative_part(problem: Problem, args: Args) -> list[Row]:
    """True returns of the policies of COMBO and CQL minus the values of their critics, at data and model states."""
    kinds = 4  # candidates of each kind per row
    combo: dict[str, str | float] = {"penalty_weight": args.weight, "pooling": "all", "penalty_states": "model"}
    combo |= {"n_actions": kinds, "horizon": STEPS}
    cql: dict[str, str | float] = {"alpha": args.weight, "mu": "softmax", "penalty_temperature": 1.0}
    cql |= {"n_actions": kinds, "cloning_steps": 0, "initial_temperature": 0.1}
    moments = {
        "COMBO": last(settings_of("combo", problem, args, **combo), problem, args.steps),
        "CQL": last(settings_of("cql", problem, args, **cql), problem, args.steps),
    }
    rows: list[Row] = []
    for label, moment in moments.items():
        gaps = compared(problem, moment, args)(moment.cfgs, moment.state, moments["COMBO"].state.model)
        for r, replica in enumerate(moment.plan.replicas):
            rows += [(problem.name, label, replica.seed, name, float(each[r])) for name, each in gaps.items()]
    return rows


def compared(problem: Problem, moment: Moment, args: Args) -> Callable[..., dict[str, jax.Array]]:
    """`(configs, states, models) -> {quantity: [R]}`, compiled: true return minus value at both kinds of states."""
    algorithm = moment.plan.algorithm
    fitted = moment.plan.task.fitted
    truth = exact(problem, fitted)
    start, _ = logged_rows(problem, fitted, STARTS, args.seed)
    noise = Noise(jax.random.PRNGKey(args.seed))

    def one(cfg: Cfg, state: State, model: Ensemble) -> dict[str, jax.Array]:
        act = acting(algorithm, cfg, state)
        following = start
        for t in range(STEPS):
            following, _, _ = in_model(model)(following, act(following), noise.fold(t))
        found: dict[str, jax.Array] = {}
        for name, obs in (("data", start), ("model", following)):
            value = estimated_value(algorithm, cfg, state, obs, act(obs))
            true = returns(truth, act, obs, problem.discount, noise)
            found |= {
                f"true return, {name} states": true.mean(),
                f"underestimate, {name} states": (true - value).mean(),
            }
        return found

    return jax.jit(jax.vmap(one))


def last(settings: Settings, problem: Problem, steps: int) -> Moment:
    """The state after the training."""
    *_, moment = train_in_memory(settings, problem.log, steps)
    return moment


def model_based(args: Args | None = None) -> Result:
    """Run the whole study.

    Raises:
        UserError: a number is out of range.
    """
    args = Args() if args is None else args
    least = {"steps": MARKS, "model_steps": 10, "weight": 0, "seeds": 1, "seed": 0}
    faults = [f"{n} is {getattr(args, n)}, expected at least {m}" for n, m in least.items() if getattr(args, n) < m]
    faults += [] if args.hidden and min(args.hidden) > 0 else ["hidden is empty or not positive, expected widths"]
    refuse(faults)
    rows: list[Row] = []
    scatters: list[Scatter] = []
    bounds: list[Bound] = []
    for problem in problems(args):
        sys.stderr.write(f"{problem.name}: MOPO\n")
        found, points = mopo_part(problem, args)
        sys.stderr.write(f"{problem.name}: MOReL\n")
        planned, below = morel_part(problem, args)
        sys.stderr.write(f"{problem.name}: COMBO and CQL\n")
        rows += [*found, *planned, *conservative_part(problem, args)]
        scatters += points
        bounds += below
    return Result(
        "model-based",
        "Learned models: penalties, bounds and conservatism",
        {k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(args).items()},
        HEADER,
        rows,
        notes(rows, bounds),
        lambda figure: draw(figure, rows, scatters, bounds),
    )


run = model_based
