"""MOReL, model-based offline RL (Kidambi, Rajeswaran, Netrapalli, Joachims 2020, arXiv:2005.05951).

A policy is planned in a pessimistic model: an ensemble of deterministic networks, in which a path halts as soon as the
members disagree by more than a threshold. The return there bounds the true return from below if the threshold fits.

Notation (paper = code): HALT = the step that leaves the known part, to whose reward `halt_reward` is added; the
threshold is the largest disagreement at a logged row divided by `pessimism`; gamma = `discount`; lambda = `trace`.
Two planners. `npg` is the paper's: a step of the run is one iteration of the natural policy gradient, with `paths`
paths in each member (`morel_npg`). `sac` is a soft actor-critic on logged rows and short rollouts, updated as in MOPO:
a step of the run is one update, and a halted row ends. It needs much less computation.
As in the authors' code (mjrl, branch v2): no bootstrap samples, inputs and outputs scaled by mean absolute deviations,
no early stop, a policy that clones the data first, paths that go one step beyond the known part, paths of less than
5 steps left out, and the value of a path's last state as the value after it, also at true ends.
Not as there: rewards come from the learned network of its option, and ends from `termination` (there: hand-written
functions of each task); the disagreement is in the units of training; holdout episodes are left out of training.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp

from ..core.config import config, faults, static
from ..core.contract import SCALED, Algorithm, Context, Needs, Phase, Preset, Refreshed, Transitions, Treatment
from ..core.noise import Noise
from ..core.spec import Batch, Step
from ..core.trained import Metrics, Trained
from ..dynamics import ensemble, known, learning
from ..dynamics.ensemble import Ensemble
from ..dynamics.known import Known
from ..dynamics.rollout import sampled
from ..parts import nets, optimisers
from ..parts.acting import act, dist
from . import model_based, mopo, morel_npg
from .model_based import RING
from .morel_npg import Planned


@config
class MOREL:
    planner: str = "npg"  # npg (the paper's) or sac (actor-critic on short rollouts)
    pessimism: float = 3.0  # the threshold is the largest disagreement at a logged row divided by this
    halt_reward: float = 0.0  # added to the reward of the step that leaves the known part
    discount: float = 0.999  # gamma
    paths: int = 50  # npg: paths in each member and iteration
    length: int = 700  # npg: steps of a path, at most
    trace: float = 0.97  # npg: lambda of the generalised advantages
    step_size: float = 0.02  # npg: normalised size of a step, twice its divergence
    damping: float = 1e-3  # npg: added to the diagonal of the Fisher matrix
    gradient_steps: int = 20  # npg: steps of the conjugate gradient
    policy_hidden: tuple[int, ...] = (64, 64)  # npg: widths of the hidden layers of the policy
    baseline_hidden: tuple[int, ...] = (128, 128)  # npg: widths of the hidden layers of the baseline
    baseline_lr: float = 1e-3  # npg: Adam
    initial_log_std: float = -0.25  # npg: of the policy
    cloning_steps: int = 20_000  # npg: updates in which the policy clones the data
    cloning_lr: float = 1e-3  # npg: Adam
    horizon: int = 5  # sac: steps of a rollout
    rollout_batch: int = 50_000  # sac: rollouts that start together
    rollout_every: int = 1_000  # sac: updates between rollouts
    retain: int = 5  # sac: rollouts of so many refreshes are kept
    real_ratio: float = static(default=0.05)  # sac: share of logged rows in a batch
    polyak: float = 0.005  # sac: rate at which the target critics follow
    initial_temperature: float = 1.0  # sac: alpha before the first update
    target_entropy: float = 0.0  # sac: in nats; 0 means minus the number of action dimensions
    actor_lr: float = 3e-4  # sac: Adam
    critic_lr: float = 3e-4  # sac: Adam
    temperature_lr: float = 3e-4  # sac: Adam
    hidden: tuple[int, ...] = (256, 256)  # sac: widths of the hidden layers of actor and critics
    batch_size: int = 256  # rows per update of sac, of cloning and of the baseline
    members: int = 4  # networks of the ensemble
    elites: int = 4  # sac: members that make the rollouts
    model_hidden: tuple[int, ...] = (512, 512)  # widths of the hidden layers of a member
    model_lr: float = 1e-3  # Adam
    model_batch_size: int = 256  # rows per member and update
    model_steps: int = 97_000  # updates of the model; 25 passes over a million rows
    model_every: int = 1_000  # updates between measurements of the holdout error
    patience: int = 0  # measurements without a better member before the model is done; 0: all `model_steps`
    holdout: float = static(default=0.05)  # share of the episodes on which the error is measured
    termination: str = "auto"  # ends in the model: known, learned, never, or auto (known if there is a rule)


State = model_based.State | Planned


def check(cfg: MOREL) -> list[str]:
    rules = {name: rule for name, rule in model_based.RULES.items() if hasattr(cfg, name)} | {"planner": "npg|sac"}
    positive = ("pessimism", "paths", "length", "gradient_steps", "policy_hidden", "baseline_hidden", "step_size")
    rules |= dict.fromkeys(positive, "positive")
    rules |= dict.fromkeys(("damping", "cloning_steps"), "at least 0") | {"trace": "in [0, 1]"}
    return faults(cfg, **rules) + learning.check(cfg)


def init(cfg: MOREL, ctx: Context, noise: Noise) -> State:
    (d,) = ctx.spec.obs
    made = ensemble.deterministic(noise.sub("model"), d, ctx.spec.action, cfg.model_hidden, cfg.members)
    model = learning.new(cfg, ctx.spec, made, noise.sub("model"))
    if cfg.planner == "sac":
        return model_based.actor_critic(cfg, ctx, noise, model)
    made_actor: Any = nets.gaussian_policy(
        noise.sub("actor"), ctx.spec, cfg.policy_hidden, low=-1.0, squash="none", activation="tanh"
    )
    actor = dataclasses.replace(made_actor, log_std=jnp.full(ctx.spec.action, cfg.initial_log_std))
    seen = ctx.spec._replace(obs=(d + morel_npg.CLOCK,))  # the observation and the time
    baseline = nets.network(noise.sub("baseline"), seen, cfg.baseline_hidden, 1, role="value")
    rates = (optimisers.adam(cfg.cloning_lr), optimisers.adam(cfg.baseline_lr))
    return Planned(Trained.new(actor, rates[0]), Trained.new(baseline, rates[1]), model)


def enter(cfg: MOREL, state: State, ctx: Context, noise: Noise) -> State:
    """The state of planning: the ensemble with its threshold, from all logged rows, and the rule of ends."""
    model = learning.taken(cfg, state.model, ctx)
    limit = known.threshold(model, ctx.data, cfg.pessimism)
    return dataclasses.replace(state, model=Known(model, limit, ctx.termination))


def dynamics(cfg: MOREL, state: State) -> Ensemble:
    """The ensemble in a state."""
    return state.model.model if isinstance(state.model, Known) else learning.finished(cfg, state.model)


def clone(cfg: MOREL, state: Planned, batch: Batch, noise: Noise, step: Step) -> tuple[Planned, Metrics]:
    """One step of the policy's mean towards the logged actions, by squared error."""
    actor, metrics = state.actor.step(optimisers.adam(cfg.cloning_lr), morel_npg.cloning_loss, batch, name="cloning")
    return dataclasses.replace(state, actor=actor), metrics


def refresh(
    cfg: MOREL, state: model_based.State, sources: Mapping[str, Any], ctx: Context, noise: Noise, step: Step
) -> Refreshed:
    """Rollouts of the actor-critic planner in the pessimistic model."""
    chosen = functools.partial(sampled, state.actor.net)
    judge = functools.partial(known.halted, state.model.limit, cfg.halt_reward)
    rows, metrics = model_based.rolled(cfg, state.model.model, sources, ctx, noise, judge, chosen)
    return Refreshed(state, rows={RING: rows}, metrics=metrics)


def update(cfg: MOREL, state: State, batch: Batch, noise: Noise, step: Step) -> tuple[State, Metrics]:
    if isinstance(state, Planned):
        return morel_npg.iterate(cfg, state, batch, noise)
    return mopo.update(cfg, state, batch, noise, step)  # type: ignore[arg-type]


def needs(cfg: MOREL) -> Needs:
    return Transitions() if cfg.planner == "sac" else Transitions(columns=("initial_obs",))


def phases(cfg: MOREL) -> tuple[Phase, ...]:
    model = learning.phase(cfg, bootstrap=False)
    if cfg.planner == "sac":
        return model, *model_based.phases(cfg, refresh, enter=enter)[1:]
    cloning = Phase("cloning", steps=cfg.cloning_steps, update=clone, needs=Transitions())
    policy = Phase("policy", batch_size=cfg.paths * cfg.members)
    first, *others = (cloning, policy) if cfg.cloning_steps else (policy,)
    return model, first._replace(enter=enter), *others


PRESETS = {
    "hopper": Preset(MOREL(), Treatment(), "authors' code, aravindr93/mjrl, branch v2, projects/morel, hopper-medium"),
    "tuned_100k": Preset(
        MOREL(
            planner="sac", halt_reward=-100.0, discount=0.99, rollout_batch=10_000, real_ratio=0.5,
            model_hidden=(200, 200), model_steps=10_000, initial_temperature=0.1,
        ),
        SCALED,
        "ours, the actor-critic planner with smaller models for logs of 100,000 steps: docs/algorithms/morel.md",
    ),
}  # fmt: skip

algorithm = Algorithm(
    "morel",
    MOREL,
    init,
    update,
    act,
    PRESETS,
    dist=dist,
    needs=needs,
    phases=phases,
    check=check,
    dynamics=dynamics,
)
