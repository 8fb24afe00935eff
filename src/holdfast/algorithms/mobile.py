"""MOBILE, model-Bellman inconsistency penalised offline policy optimisation (Sun, Zhang, Jia, Lin, Ye, Yu 2023, ICML).

A soft actor-critic learns from logged rows and from rollouts in an ensemble. The target of a rollout's row is lowered
by how much the members of the ensemble disagree about the value of the next state, not about the next state itself.

Notation (paper = code): beta = `penalty_weight`; h = `horizon`; U = `inconsistency`. K elites, n = `samples`.
Order, as in the authors' code: critics, actor with the new critics, temperature, targets.
As in the authors' code and not in the paper: targets are at least 0 (`nonnegative`), which needs returns that are not
negative; U is not multiplied by gamma, and next states count also after an end; the temperature is at most 1.
The target has no entropy unless `entropy_backup` is on.
Not as there: the model is trained as in MOPO; the density of a squashed normal is exact.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from ..core.config import Schedule, config, faults, static
from ..core.contract import SCALED, Algorithm, Context, Phase, Preset, Treatment
from ..core.noise import Noise
from ..core.spec import Batch, Step
from ..core.trained import Metrics, Trained, merge
from ..core.tree import ema
from ..dynamics import learning, penalties
from ..dynamics.ensemble import Ensemble
from ..dynamics.rollout import unpenalised
from ..parts import nets, optimisers
from ..parts.acting import act, dist
from ..parts.critics import squared_error
from . import model_based
from .model_based import RING, State
from .sac import Optimisers, actor_loss, entropy_goal, temperature_loss


@config
class MOBILE:
    penalty_weight: float = 0.5  # beta
    samples: int = 10  # n, next states of each elite
    nonnegative: bool = True  # targets are at least 0
    entropy_backup: bool = False  # entropy in the target
    critics: int = 2  # networks of the critic; 10 on Adroit
    learned_temperature: bool = True  # False: alpha stays at initial_temperature
    max_temperature: float = 1.0  # bound of alpha
    horizon: int = 5  # h, steps of a rollout
    rollout_batch: int = 50_000  # rollouts that start together
    rollout_every: int = 1_000  # updates between rollouts
    retain: int = 5  # rollouts of so many refreshes are kept
    real_ratio: float = static(default=0.05)  # share of logged rows in a batch
    members: int = 7  # networks of the ensemble
    elites: int = 5  # K, members with the lowest holdout error
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
    initial_temperature: float = 1.0  # alpha before the first update
    target_entropy: float = 0.0  # in nats; 0 means minus the number of action dimensions
    actor_lr: float = 1e-4  # Adam
    actor_decay_steps: Schedule = "run"  # the actor's rate falls to 0 over so many updates
    critic_lr: float = 3e-4  # Adam
    temperature_lr: float = 1e-4  # Adam
    hidden: tuple[int, ...] = (256, 256)  # widths of the hidden layers of actor and critics
    batch_size: int = 256  # rows per update


def check(cfg: MOBILE) -> list[str]:
    positive = dict.fromkeys(("samples", "critics", "max_temperature"), "positive")
    found = faults(cfg, **model_based.RULES, **positive, penalty_weight="at least 0") + learning.check(cfg)
    if cfg.elites < 2:
        found.append(f"elites is {cfg.elites}, expected at least 2: the penalty is their standard deviation")
    return found


def optimisers_of(cfg: MOBILE) -> Optimisers:
    rates = (optimisers.scheduled(cfg.actor_lr, cfg.actor_decay_steps), optimisers.adam(cfg.critic_lr))
    return Optimisers(*rates, optimisers.adam(cfg.temperature_lr))


def init(cfg: MOBILE, ctx: Context, noise: Noise) -> State:
    state = model_based.init(cfg, ctx, noise, critics=cfg.critics)
    return dataclasses.replace(state, actor=Trained.new(state.actor.net, optimisers_of(cfg).actor))


def inconsistency(
    cfg: MOBILE, model: Ensemble, policy: nets.Policy, critic: nets.Critic, batch: Batch, noise: Noise
) -> jax.Array:
    """U(s, a) of rows [B]: how much the elites differ in the mean value of `samples` next states."""
    mean, std = (x[model.elites] for x in model.predict(batch.obs, batch.action))
    shape = (len(mean), cfg.samples, *mean.shape[1:])
    sample = mean[:, None] + std[:, None] * noise.normal("penalty_model", shape)
    next_obs = batch.obs[None, None] + sample[..., :-1]
    eps = noise.normal("penalty_action", (*shape[:-1], batch.action.shape[-1]))
    action = policy(next_obs).sample(eps)
    return penalties.bellman_inconsistency(critic(next_obs, action).min(0))


def target(cfg: MOBILE, batch: Batch, next_value: jax.Array, penalty: jax.Array) -> jax.Array:
    """y [B] from the value of the next state [B] and U [B], which is 0 for logged rows."""
    y = batch.reward - cfg.penalty_weight * penalty + cfg.discount * (1 - batch.terminated) * next_value
    return jnp.maximum(y, 0) if cfg.nonnegative else y


def temperature_of(cfg: MOBILE, log_alpha: jax.Array) -> jax.Array:
    """alpha, at most `max_temperature`."""
    return jnp.minimum(jnp.exp(log_alpha), cfg.max_temperature)


def update(cfg: MOBILE, state: State, batch: Batch, noise: Noise, step: Step) -> tuple[State, Metrics]:
    tx = optimisers_of(cfg)
    policy = state.actor.net
    alpha = temperature_of(cfg, state.temperature.net)
    eps = noise.normal("target_action", batch.action.shape)
    next_action, next_log_prob = policy(batch.next_obs).sample_and_log_prob(eps)
    value = state.target_critic(batch.next_obs, next_action).min(0)
    value = value - alpha * next_log_prob if cfg.entropy_backup else value
    real = model_based.logged(batch)
    penalty = jnp.zeros_like(batch.reward)
    if real < len(batch.reward):
        given = (state.model, policy, state.target_critic, batch.of(RING), noise)
        penalty = penalty.at[real:].set(inconsistency(cfg, *given))
    y = target(cfg, batch, value, penalty)
    critic, m1 = state.critic.step(tx.critic, squared_error, y, batch, name="critic")

    eps = noise.normal("actor_action", batch.action.shape)
    actor, m2 = state.actor.step(tx.actor, actor_loss, critic.net, alpha, batch.obs, eps, name="actor")
    temperature = state.temperature
    m3: Metrics = {}
    if cfg.learned_temperature:
        _, log_prob = policy(batch.obs).sample_and_log_prob(eps)
        goal = entropy_goal(cfg, batch)
        temperature, m3 = temperature.step(tx.temperature, temperature_loss, log_prob, goal, name="temperature")
    slow = ema(critic.net, state.target_critic, cfg.polyak)
    found = {"penalty": penalty.sum() / max(1, len(penalty) - real)}
    return State(actor, critic, slow, temperature, state.model), merge(m1, m2, m3, found)


def phases(cfg: MOBILE) -> tuple[Phase, ...]:
    return model_based.phases(cfg, model_based.refresh_with(lambda cfg: unpenalised))


def authors(horizon: int, weight: float, fixed: bool = False, real: float = 0.05, steps: int = 200_000) -> Preset:
    """A preset of the authors; `fixed` leaves the temperature at 0.2."""
    cfg = MOBILE(horizon=horizon, penalty_weight=weight, real_ratio=real, model_steps=steps)
    if fixed:
        cfg = dataclasses.replace(cfg, learned_temperature=False, initial_temperature=0.2)
    return Preset(cfg, Treatment(), "authors' code, github.com/yihaosun1124/mobile")


PRESETS = {
    "halfcheetah-medium": authors(5, 0.5),
    "halfcheetah-medium-replay": authors(5, 0.1),
    "halfcheetah-medium-expert": authors(5, 1.0, real=0.5),
    "halfcheetah-random": authors(5, 0.5),
    "hopper-medium": authors(5, 1.5, fixed=True),
    "hopper-medium-replay": authors(5, 0.1, fixed=True),
    "hopper-medium-expert": authors(5, 1.5),
    "hopper-random": authors(5, 5.0),
    "walker2d-medium": authors(5, 0.5, steps=117_000),
    "walker2d-medium-replay": authors(1, 0.5),
    "walker2d-medium-expert": authors(1, 1.5),
    "walker2d-random": authors(5, 2.0),
    "tuned_100k": Preset(
        MOBILE(
            penalty_weight=1.5, samples=4, learned_temperature=False, horizon=20, rollout_batch=2_500, real_ratio=0.5,
            members=5, elites=3, model_hidden=(128, 128, 128), model_steps=20_000, patience=3, initial_temperature=0.05,
            actor_lr=3e-5,
        ),
        SCALED,
        "ours, smaller models and longer rollouts for logs of 100,000 steps: docs/algorithms/mobile.md",
    ),
}  # fmt: skip

algorithm = Algorithm(
    "mobile",
    MOBILE,
    init,
    update,
    act,
    PRESETS,
    dist=dist,
    phases=phases,
    check=check,
    dynamics=model_based.dynamics,
)
