"""COMBO, conservative offline model-based policy optimisation (Yu, Kumar, Rafailov, Rajeswaran, Levine, Finn 2021).

arXiv:2102.08363; equation numbers are theirs. A conservative critic learns from logged rows and from rollouts in a
learned model. It pays for high values of the policy's actions in the model's states and gains from high values of the
logged actions. No estimate of the model's uncertainty is needed.

Notation (paper = code): beta = `penalty_weight`; f = `real_ratio`; rho = the distribution of the values that are
lowered, whose states are those of `penalty_states`; mu = `rollout_actions`; h = `horizon`.
There is no code by the authors. As in OfflineRL-Kit: the expectation under rho is the log-sum-exp of CQL(H) with
importance weights, over uniform actions and those of the policy at s and at s'; the target has no entropy; the squared
error has no factor 1/2; the states of the penalty are those of the mixed batch (in the paper those of the model:
`penalty_states` model). `pooling` triples takes the log-sum-exp over one action of each kind, as the kit does because a
reshape of it has no effect; all takes it over all candidates.
Order, as there: actor with the old critics and temperature, temperature, critics with the new actor, targets.
Not as there: the density of a squashed normal is exact (theirs adds 1e-6 to 1 - a^2). The model as in MOPO.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from ..core.config import config, faults, static
from ..core.contract import SCALED, Algorithm, Context, Phase, Preset, Refreshed, Treatment
from ..core.noise import Noise
from ..core.spec import Batch, Step
from ..core.trained import Metrics, merge
from ..core.tree import ema
from ..dynamics import learning
from ..dynamics.rollout import sampled, unpenalised
from ..parts import conservative, nets, targets
from ..parts.acting import act, dist
from . import model_based
from .model_based import RING, State
from .sac import actor_loss, entropy_goal, optimisers_of, temperature_loss


@config
class COMBO:
    penalty_weight: float = 0.5  # beta
    penalty_states: str = "mix"  # states of the penalty: mix (the whole batch) or model (rows of the model; the paper)
    pooling: str = "triples"  # log-sum-exp over triples (one candidate of each kind; the kit) or all candidates
    n_actions: int = 10  # candidates of each kind per row
    rollout_actions: str = "policy"  # mu: policy or uniform
    horizon: int = 5  # h, steps of a rollout
    rollout_batch: int = 50_000  # rollouts that start together
    rollout_every: int = 1_000  # updates between rollouts
    retain: int = 5  # rollouts of so many refreshes are kept
    real_ratio: float = static(default=0.5)  # f, share of logged rows in a batch
    members: int = 7  # networks of the ensemble
    elites: int = 5  # members with the lowest holdout error, which make the rollouts
    model_hidden: tuple[int, ...] = (200, 200, 200, 200)  # widths of the hidden layers of a member
    model_lr: float = 1e-3  # Adam
    model_decay: tuple[float, ...] = (2.5e-5, 5e-5, 7.5e-5, 7.5e-5, 1e-4)  # weight decay of each layer
    bound_weight: float = 0.01  # pull on the bounds of the log-variance
    model_batch_size: int = 256  # rows per member and update
    model_steps: int = 200_000  # updates of the model, at most
    model_every: int = 1_000  # updates between measurements of the holdout error
    patience: int = 5  # measurements without a better member before the model is done; 0: all `model_steps`
    holdout: float = static(default=0.05)  # share of the episodes on which the error is measured
    termination: str = "auto"  # ends of rollouts: known, learned, never, or auto (known if there is a rule)
    discount: float = 0.99  # gamma
    polyak: float = 0.005  # rate at which the target critics follow
    learned_temperature: bool = True  # False: alpha stays at initial_temperature
    initial_temperature: float = 1.0  # alpha before the first update
    target_entropy: float = 0.0  # in nats; 0 means minus the number of action dimensions
    actor_lr: float = 1e-4  # Adam
    critic_lr: float = 3e-4  # Adam
    temperature_lr: float = 1e-4  # Adam
    hidden: tuple[int, ...] = (256, 256, 256)  # widths of the hidden layers of actor and critics
    batch_size: int = 256  # rows per update


def check(cfg: COMBO) -> list[str]:
    rules = model_based.RULES | {"real_ratio": "in (0, 1)", "penalty_weight": "at least 0", "n_actions": "positive"}
    words = {"penalty_states": "mix|model", "pooling": "triples|all", "rollout_actions": "policy|uniform"}
    return faults(cfg, **rules | words) + learning.check(cfg)


def init(cfg: COMBO, ctx: Context, noise: Noise) -> State:
    return model_based.init(cfg, ctx, noise)


def value_of_rho(cfg: COMBO, q: jax.Array, log_density: jax.Array) -> jax.Array:
    """E_rho Q for each critic: q [E, 3 N, B] at the candidates and their log-density [3 N, B]; [E]."""
    weighted = q - log_density[None]
    if cfg.pooling == "triples":
        weighted = weighted.reshape(len(q), 3, -1)  # one of each kind together
    return conservative.soft_maximum(weighted, 1.0).mean(1)


def critic_loss(
    critic: nets.Critic, y: jax.Array, batch: Batch, rho: Batch, action: jax.Array, log_density: jax.Array, cfg: COMBO
) -> tuple[jax.Array, Metrics]:
    """Eq. 3.

    Args:
        critic: E critics.
        y: targets [B].
        batch: all rows, the logged ones first.
        rho: the rows whose states are penalised, [P].
        action: candidates [3 N, P, A].
        log_density: theirs [3 N, P].
        cfg: the settings.
    """
    q = critic(batch.obs, batch.action)
    real = q[:, : model_based.logged(batch)].mean(1)
    of_rho = value_of_rho(cfg, critic(rho.obs, action), log_density)
    td = jnp.square(q - y[None]).mean(1)
    penalty = cfg.penalty_weight * (of_rho - real)
    metrics = {"td": td.mean(), "penalty": penalty.mean(), "target": y.mean(), "q": real.mean(), "q_rho": of_rho.mean()}
    return (td + penalty).sum(), metrics


def update(cfg: COMBO, state: State, batch: Batch, noise: Noise, step: Step) -> tuple[State, Metrics]:
    tx = optimisers_of(cfg)
    alpha = jnp.exp(state.temperature.net)
    eps = noise.normal("actor_action", batch.action.shape)
    actor, m1 = state.actor.step(tx.actor, actor_loss, state.critic.net, alpha, batch.obs, eps, name="actor")
    temperature = state.temperature
    m2: Metrics = {}
    if cfg.learned_temperature:
        _, log_prob = state.actor.net(batch.obs).sample_and_log_prob(eps)
        goal = entropy_goal(cfg, batch)
        temperature, m2 = temperature.step(tx.temperature, temperature_loss, log_prob, goal, name="temperature")

    eps = noise.normal("target_action", batch.action.shape)
    next_action = actor.net(batch.next_obs).sample(eps)
    y = targets.td(batch, state.target_critic(batch.next_obs, next_action).min(0), cfg.discount)
    rho = batch.of(RING) if cfg.penalty_states == "model" else batch
    given = (actor.net(rho.obs), actor.net(rho.next_obs), rho, noise)
    action, log_density = conservative.candidates(cfg.n_actions, *given)
    losses = (y, batch, rho, action, log_density, cfg)
    critic, m3 = state.critic.step(tx.critic, critic_loss, *losses, name="critic")
    target = ema(critic.net, state.target_critic, cfg.polyak)
    return State(actor, critic, target, temperature, state.model), merge(m1, m2, m3)


def refresh(cfg: COMBO, state: State, sources: Mapping[str, Any], ctx: Context, noise: Noise, step: Step) -> Refreshed:
    """Rollouts by the policy, or with uniform actions."""

    def uniform(obs: jax.Array, noise: Noise) -> jax.Array:
        return 2 * noise.uniform("action", (len(obs), ctx.spec.action)) - 1

    chosen = uniform if cfg.rollout_actions == "uniform" else functools.partial(sampled, state.actor.net)
    rows, metrics = model_based.rolled(cfg, state.model, sources, ctx, noise, unpenalised, chosen)
    return Refreshed(state, rows={RING: rows}, metrics=metrics)


def phases(cfg: COMBO) -> tuple[Phase, ...]:
    return model_based.phases(cfg, refresh)


KIT = "OfflineRL-Kit, run_example/run_combo.py"


def kit(horizon: int, weight: float) -> Preset:
    return Preset(COMBO(horizon=horizon, penalty_weight=weight), Treatment(), KIT)


PRESETS = {
    "halfcheetah-medium": kit(5, 0.5),
    "halfcheetah-medium-replay": kit(5, 0.5),
    "halfcheetah-medium-expert": kit(5, 5.0),
    "hopper-medium": kit(5, 5.0),
    "hopper-medium-replay": kit(5, 0.5),
    "hopper-medium-expert": kit(5, 5.0),
    "walker2d-medium": kit(1, 5.0),
    "walker2d-medium-replay": kit(1, 0.5),
    "walker2d-medium-expert": kit(1, 5.0),
    "tuned_100k": Preset(
        COMBO(
            penalty_weight=5.0, n_actions=4, rollout_batch=10_000, members=5, elites=3, model_hidden=(128, 128, 128),
            model_steps=20_000, patience=3, learned_temperature=False, initial_temperature=0.05, hidden=(256, 256),
        ),
        SCALED,
        "ours, smaller models and a fixed temperature for logs of 100,000 steps: docs/algorithms/combo.md",
    ),
}  # fmt: skip

algorithm = Algorithm(
    "combo",
    COMBO,
    init,
    update,
    act,
    PRESETS,
    dist=dist,
    phases=phases,
    check=check,
    dynamics=model_based.dynamics,
)
