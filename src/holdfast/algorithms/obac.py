"""Offline-boosted actor-critic, OBAC (Luo et al. 2024, arXiv:2405.18520; equation numbers are theirs).

SAC that also learns the values of mu*, the best policy that the replay buffer supports, by IQL's expectile. If mu* has
a higher value than the policy, the policy is also drawn to the replayed actions; if not, the update is SAC's.

Notation (paper = code): Q^pi = `critic`; Q^mu* = `behaviour_critic`; V^mu* = `behaviour_value`; tau = `expectile`;
lambda = `constraint_weight`. The likelihood of replayed actions replaces the divergence from mu* (eq. 14).
Order of an update: critics, behaviour critics, behaviour value, actor, temperature, targets. Every loss uses the
networks before the update, as in the authors' code. Also as there and not in the paper: squared errors without 1/2;
`gate` "batch", one comparison of mean values per batch ("state" is the paper's V^mu* > V^pi); `log_density` "raw", that
of the normal before tanh at the action itself, clipped, a mean over dimensions ("exact" is log pi(a|s), a sum); a first
temperature of its own. Not as there: the policy's own log-density is exact (theirs has log(1 - a^2 + 1e-6)).
`gate` "always" (the fixed constraint) and "off" (SAC with these networks) are the paper's ablations of the gate.
Ours: `inverse_temperature` above 0 weights the replayed actions by exp(beta A^mu*), as samples of mu*.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from ..core.config import config, faults
from ..core.contract import Algorithm, Context, Preset, Treatment
from ..core.noise import Noise
from ..core.spec import Batch, Scalar, Step
from ..core.trained import Metrics, Trained, merge
from ..core.tree import PyTree, ema
from ..parts import losses, nets, optimisers, targets
from ..parts.acting import act, dist
from ..parts.critics import squared_error
from ..parts.distributions import Normal, TanhNormal, normal_log_prob
from ..parts.normed_nets import TRUNK, actor_and_critic
from .iql import value_loss
from .sac import entropy_goal, online, temperature_loss

Actor = nets.GaussianHeadsPolicy


@config
class OBAC:
    gate: str = "batch"  # when the constraint holds: batch (authors' code), state (paper), always, off
    log_density: str = "raw"  # of replayed actions: raw (authors' code) or exact
    constraint_weight: float = 1e-3  # lambda; bc_weight in the authors' code, for rewards as they are
    expectile: float = 0.9  # tau of eq. 12
    inverse_temperature: float = 0.0  # beta of the weights exp(beta A) of replayed actions; 0: no weights
    max_weight: float = 100.0  # cap on exp(beta A)
    discount: float = 0.99  # gamma
    n_step: int = 1  # steps of the return before it bootstraps; 1 in the paper
    polyak: float = 0.005  # rate at which both pairs of target critics follow
    first_temperature: float = 0.2  # alpha in the first update alone, authors' code
    initial_temperature: float = 1.0  # alpha in the second update, from which it is learned
    target_entropy: float = 0.0  # in nats; 0: minus the number of action dimensions
    actor_lr: float = 3e-4  # Adam
    critic_lr: float = 3e-4  # Adam
    behaviour_critic_lr: float = 3e-4  # Adam
    behaviour_value_lr: float = 3e-4  # Adam
    temperature_lr: float = 3e-4  # Adam
    hidden: tuple[int, ...] = (512, 512)  # widths of the hidden layers of every network
    batch_size: int = 512  # rows per update
    warmup: int = 5_000  # online: environment steps with random actions before the first update
    update_ratio: int = 1  # online: updates per environment step


class State(PyTree):
    actor: Trained
    critic: Trained
    behaviour_critic: Trained
    behaviour_value: Trained
    target_critic: nets.Critic
    target_behaviour_critic: nets.Critic
    temperature: Trained  # log alpha


class Optimisers(NamedTuple):
    actor: optax.GradientTransformation
    critic: optax.GradientTransformation
    behaviour_critic: optax.GradientTransformation
    behaviour_value: optax.GradientTransformation
    temperature: optax.GradientTransformation


def check(cfg: OBAC) -> list[str]:
    rules = {"gate": "batch|state|always|off", "log_density": "raw|exact", "expectile": "in (0, 1)"}
    rules |= dict.fromkeys(("constraint_weight", "inverse_temperature", "warmup"), "at least 0")
    rules |= dict.fromkeys(("max_weight", "first_temperature", "initial_temperature", "update_ratio"), "positive")
    return faults(cfg, n_step="positive", discount="in [0, 1]", polyak="in [0, 1]", **rules)


def optimisers_of(cfg: OBAC) -> Optimisers:
    return optimisers.by_name(Optimisers, cfg)


def init(cfg: OBAC, ctx: Context, noise: Noise) -> State:
    tx = optimisers_of(cfg)
    actor, critic = actor_and_critic(noise, ctx.spec, cfg.hidden)
    value = nets.value(noise.sub("behaviour_value"), ctx.spec, cfg.hidden, **TRUNK)
    return State(
        Trained.new(actor, tx.actor),
        Trained.new(critic, tx.critic),
        Trained.new(critic, tx.behaviour_critic),
        Trained.new(value, tx.behaviour_value),
        critic,
        critic,
        Trained.new(jnp.log(cfg.initial_temperature), tx.temperature),
    )


def open_gate(cfg: OBAC, state: State, batch: Batch, action: jax.Array) -> tuple[jax.Array, Metrics]:
    """1 in rows with the constraint, else 0, [B], and the values compared; `action` [B, A] is the policy's."""
    policy_value = state.critic.net(batch.obs, action).min(0)  # V^pi by one sample, eq. 10
    behaviour_value = state.behaviour_critic.net(batch.obs, batch.action).min(0)
    on = jnp.asarray(cfg.gate == "always")
    if cfg.gate == "batch":
        on = behaviour_value.mean() > policy_value.mean()
    if cfg.gate == "state":
        behaviour_value = state.behaviour_value.net(batch.obs)
        on = behaviour_value > policy_value
    on = jnp.broadcast_to(on, policy_value.shape).astype(policy_value.dtype)
    return on, compared(policy_value.mean(), behaviour_value.mean()) | {"gate/on": on.mean()}


def compared(policy_value: jax.Array, behaviour_value: jax.Array) -> Metrics:
    """What a gate compares, as metrics."""
    difference = behaviour_value - policy_value
    return {"gate/policy_value": policy_value, "gate/behaviour_value": behaviour_value, "gate/difference": difference}


def log_density(dist: Normal | TanhNormal, action: jax.Array, kind: str) -> jax.Array:
    """Log-density of replayed actions [B, A], [B]: `exact` log pi(a|s), or `raw` as in the authors' code."""
    if kind == "exact":
        return dist.log_prob(action)
    return jnp.clip(normal_log_prob(action, dist.mean, dist.log_std), -20.0, 2.0).mean(-1)


def actor_loss(
    actor: Actor, critic: nets.Critic, weight: jax.Array, alpha: Scalar, batch: Batch, eps: jax.Array, kind: str
) -> tuple[jax.Array, Metrics]:
    """Eq. 15 in a form that can be trained; `weight` [B] of the replayed actions includes lambda and the gate."""
    dist = actor(batch.obs)
    action, log_prob = dist.sample_and_log_prob(eps)
    q = critic(batch.obs, action).min(0)
    density = log_density(dist, batch.action, kind)
    metrics = {"entropy": -log_prob.mean(), "q": q.mean(), "log_density": density.mean(), "weight": weight.mean()}
    return (alpha * log_prob - q - weight * density).mean(), metrics


def update(cfg: OBAC, state: State, batch: Batch, noise: Noise, step: Step) -> tuple[State, Metrics]:
    tx = optimisers_of(cfg)
    alpha = jnp.where(step == 0, cfg.first_temperature, jnp.exp(state.temperature.net))
    eps = noise.normal("target_action", batch.action.shape)
    next_action, next_log_prob = state.actor.net(batch.next_obs).sample_and_log_prob(eps)
    soft = state.target_critic(batch.next_obs, next_action).min(0) - alpha * next_log_prob
    y = targets.td(batch, soft, cfg.discount)
    critic, m1 = state.critic.step(tx.critic, squared_error, y, batch, name="critic")  # eq. 9
    y = targets.td(batch, state.behaviour_value.net(batch.next_obs), cfg.discount)
    behaviour, m2 = state.behaviour_critic.step(tx.behaviour_critic, squared_error, y, batch, name="behaviour_critic")
    q = state.target_behaviour_critic(batch.obs, batch.action).min(0)
    given = (q, batch.obs, cfg.expectile)
    value, m3 = state.behaviour_value.step(tx.behaviour_value, value_loss, *given, name="behaviour_value")  # eq. 12
    eps = noise.normal("actor_action", batch.action.shape)
    action, log_prob = state.actor.net(batch.obs).sample_and_log_prob(eps)
    on, m4 = open_gate(cfg, state, batch, action)
    advantage = q - state.behaviour_value.net(batch.obs)
    weight = cfg.constraint_weight * on * losses.exp_weight(advantage, cfg.inverse_temperature, cfg.max_weight)
    terms = (state.critic.net, weight, alpha, batch, eps, cfg.log_density)
    actor, m5 = state.actor.step(tx.actor, actor_loss, *terms, name="actor")  # eq. 15
    goal = entropy_goal(cfg, batch)
    temperature, m6 = state.temperature.step(tx.temperature, temperature_loss, log_prob, goal, name="temperature")
    target = ema(critic.net, state.target_critic, cfg.polyak)
    target_behaviour = ema(behaviour.net, state.target_behaviour_critic, cfg.polyak)
    return State(actor, critic, behaviour, value, target, target_behaviour, temperature), merge(m1, m2, m3, m4, m5, m6)


CODE = "authors' code, github.com/Roythuly/OBAC, main.py and utilis/default_config.py"
PRESETS = {
    "mujoco": Preset(OBAC(), Treatment(), CODE),
    "paper": Preset(OBAC(gate="state", log_density="exact"), Treatment(), f"eq. 14 of the paper; constants: {CODE}"),
    "tuned_100k": Preset(OBAC(hidden=(256, 256), batch_size=256), Treatment(), "ours, as mujoco with SAC's sizes"),
}

algorithm = Algorithm(
    "obac",
    OBAC,
    init,
    update,
    act,
    PRESETS,
    needs=targets.n_step_rows,
    dist=dist,
    online=online,
    check=check,
    images=True,
)
