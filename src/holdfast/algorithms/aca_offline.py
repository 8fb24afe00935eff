"""Stages 1 and 2 of ACA, from data: SAC with a likelihood term, and the alignment of Z with the policy. See `aca`.

Stage 1, with lambda = omega / mean |min_i Q_i| (not differentiated), b from the policy and a from the data:

    L_actor = lambda mean(alpha log pi(b|s) - min_i Q_i(s, b)) - mean log pi(a|s).

Order of an update: temperature, critics, Z if `z_schedule` is "concurrent", actor, targets; each with the newest
networks. Stage 2 fits Z_i by the Bellman error of log pi0(a|s) + Z_i(s), with alpha = 1 and without target networks.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from ..core.config import Horizon, config, faults
from ..core.contract import Context
from ..core.noise import Noise
from ..core.spec import Batch, Scalar, Step
from ..core.trained import Metrics, Trained, merge
from ..core.tree import PyTree, ema
from ..parts import layers, nets, optimisers, targets
from ..parts.critics import squared_error
from .sac import entropy_goal, temperature_loss


@config
class ACA:
    omega: float = 30.0  # weight of the SAC objective relative to the likelihood, before division by mean |Q|
    normalize_by: str = "policy"  # mean |Q| is over the actions of: policy (code) or data (paper)
    squashed: bool = True  # tanh of a normal; else a normal around tanh with one deviation for all states (AntMaze)
    z_schedule: str = "concurrent"  # Z is fitted within stage 1 (concurrent, code) or in a phase after it (separate)
    z_backup: str = "soft"  # target of Z: soft, with (1 - alpha) log pi + Z (code); or plain, log pi + Z (paper)
    align_steps: int = 20_000  # separate: updates of phase "align", in addition to the run's; 0: stage 1 alone
    realign_steps: int = 0  # fine-tuning: updates of stage 2 before stage 3, on the data
    online_critic: str = "aligned"  # critic of stage 3: aligned, or offline: the critic of stage 1 with plain SAC
    floor_width: float = 7.0  # online: beta, the soft floor of log pi0 is that many deviations from the mean
    prior_weight: float = 1.0  # online: weight of log pi0 in Q at the first update
    min_prior_weight: float = 0.5  # online: the weight does not fall below this; 0 on random, 1 on expert data
    online_decay_steps: Horizon = 40_000  # online: updates after which the weight would be 0
    best_episodes: int = 0  # online: logged episodes of the highest returns that start the replay buffer
    clip_norm: float = 0.25  # online: bound of the norm of the actor's gradient
    discount: float = 0.99  # gamma
    n_step: int = 1  # steps of the return before it bootstraps; 1 in the paper
    polyak: float = 0.005  # rate at which the target critics follow
    initial_temperature: float = 1.0  # alpha before the first update of stage 1; stage 3 starts at 1
    target_entropy: float = 0.0  # in nats; 0: minus the number of action dimensions (half of that on AntMaze)
    actor_lr: float = 3e-4  # Adam
    critic_lr: float = 3e-4  # Adam
    temperature_lr: float = 3e-4  # Adam
    z_lr: float = 3e-4  # Adam
    hidden: tuple[int, ...] = (256, 256)  # widths of the hidden layers of every network
    batch_size: int = 256  # rows per update
    update_ratio: int = 1  # online: updates per environment step


class State(PyTree):
    """The state of stages 1 and 2."""

    actor: Trained
    critic: Trained
    target_critic: nets.Critic
    temperature: Trained  # log alpha
    z: Trained  # an MLP of the observation with leaves [2, ...]


class Optimisers(NamedTuple):
    actor: optax.GradientTransformation
    critic: optax.GradientTransformation
    temperature: optax.GradientTransformation
    z: optax.GradientTransformation


def check(cfg: ACA) -> list[str]:
    rules = {"normalize_by": "policy|data", "z_schedule": "separate|concurrent", "z_backup": "soft|plain"}
    rules["online_critic"] = "aligned|offline"
    rules |= dict.fromkeys(("align_steps", "realign_steps", "best_episodes"), "at least 0")
    rules |= dict.fromkeys(("omega", "floor_width", "prior_weight", "min_prior_weight"), "at least 0")
    rules |= dict.fromkeys(("clip_norm", "initial_temperature", "update_ratio"), "positive")
    return faults(cfg, n_step="positive", discount="in [0, 1]", polyak="in [0, 1]", **rules)


def optimisers_of(cfg: ACA) -> Optimisers:
    return optimisers.by_name(Optimisers, cfg)


def init(cfg: ACA, ctx: Context, noise: Noise) -> State:
    tx = optimisers_of(cfg)
    spec = ctx.spec
    actor: nets.Policy
    if cfg.squashed:
        actor = nets.gaussian_heads_policy(noise.sub("actor"), spec, cfg.hidden)
    else:
        mean = nets.network(noise.sub("actor"), spec, cfg.hidden, spec.action, role="actor")
        actor = nets.SigmoidGaussianPolicy(mean, jnp.zeros(spec.action))
    critic = nets.critic(noise.sub("critic"), spec, cfg.hidden)
    # stage 3 makes critics of Z, with the optimiser's state of the critics: both have the same layers
    z = nets.ensemble(lambda k: nets.network(k, spec, cfg.hidden, 1, role="critic"), noise.sub("z"), 2)
    return State(
        Trained.new(actor, tx.actor),
        Trained.new(critic, tx.critic),
        critic,
        Trained.new(jnp.log(cfg.initial_temperature), tx.temperature),
        Trained.new(z, tx.z),
    )


def cool(cfg: ACA, temperature: Trained, actor: nets.Policy, batch: Batch, noise: Noise) -> tuple[Trained, Metrics]:
    """One step of the temperature, in stages 1 and 3."""
    eps = noise.normal("temperature_action", batch.action.shape)
    _, log_prob = actor(batch.obs).sample_and_log_prob(eps)
    goal = entropy_goal(cfg, batch)
    return temperature.step(optimisers_of(cfg).temperature, temperature_loss, log_prob, goal, name="temperature")


def actor_loss(
    actor: nets.Policy, critic: nets.Critic, alpha: Scalar, batch: Batch, eps: jax.Array, cfg: ACA
) -> tuple[jax.Array, Metrics]:
    dist = actor(batch.obs)
    action, log_prob = dist.sample_and_log_prob(eps)
    q = critic(batch.obs, action).min(0)
    likelihood = dist.log_prob(batch.action).mean()
    size = q if cfg.normalize_by == "policy" else critic(batch.obs, batch.action).min(0)
    weight = cfg.omega / jnp.abs(jax.lax.stop_gradient(size)).mean()  # lambda
    metrics = {"entropy": -log_prob.mean(), "q": q.mean(), "log_prob": likelihood, "weight": weight}
    return weight * (alpha * log_prob - q).mean() - likelihood, metrics


def z_loss(z: layers.MLP, y: jax.Array, log_prob: jax.Array, obs: jax.Array) -> tuple[jax.Array, Metrics]:
    """Squared errors of log pi0 + Z_i: targets y [B] and log-densities of the logged actions [B]."""
    value = layers.members(z, obs)[..., 0]
    metrics = {"z": value.mean(), "log_prob": log_prob.mean(), "target": y.mean()}
    return jnp.square(log_prob[None] + value - y[None]).mean(1).sum(), metrics


def fit_z(
    cfg: ACA, z: Trained, actor: nets.Policy, alpha: Scalar, batch: Batch, noise: Noise
) -> tuple[Trained, Metrics]:
    """One step of both Z; `alpha` is the temperature of a soft target."""
    eps = noise.normal("z_target_action", batch.action.shape)
    _, next_log_prob = actor(batch.next_obs).sample_and_log_prob(eps)
    share = 1 - alpha if cfg.z_backup == "soft" else 1.0
    following = share * next_log_prob + layers.members(z.net, batch.next_obs)[..., 0].min(0)
    y = targets.td(batch, following, cfg.discount)
    log_prob = actor(batch.obs).log_prob(batch.action)
    return z.step(optimisers_of(cfg).z, z_loss, y, log_prob, batch.obs, name="z")


def update(cfg: ACA, state: State, batch: Batch, noise: Noise, step: Step) -> tuple[State, Metrics]:
    """Stage 1, with the step of Z if it is fitted concurrently."""
    tx = optimisers_of(cfg)
    actor = state.actor.net
    temperature, m1 = cool(cfg, state.temperature, actor, batch, noise)
    alpha = jnp.exp(temperature.net)
    eps = noise.normal("target_action", batch.action.shape)
    next_action, next_log_prob = actor(batch.next_obs).sample_and_log_prob(eps)
    soft = state.target_critic(batch.next_obs, next_action).min(0) - alpha * next_log_prob
    y = targets.td(batch, soft, cfg.discount)
    critic, m2 = state.critic.step(tx.critic, squared_error, y, batch, name="critic")
    z = state.z
    m3: Metrics = {}
    if cfg.z_schedule == "concurrent":
        z, m3 = fit_z(cfg, z, actor, alpha, batch, noise)
    eps = noise.normal("actor_action", batch.action.shape)
    moved, m4 = state.actor.step(tx.actor, actor_loss, critic.net, alpha, batch, eps, cfg, name="actor")
    target = ema(critic.net, state.target_critic, cfg.polyak)
    return State(moved, critic, target, temperature, z), merge(m1, m2, m3, m4)


def align(cfg: ACA, state: State, batch: Batch, noise: Noise, step: Step) -> tuple[State, Metrics]:
    """Stage 2: a step of Z alone, with temperature 1 and a fixed policy."""
    z, metrics = fit_z(cfg, state.z, state.actor.net, 1.0, batch, noise)
    return State(state.actor, state.critic, state.target_critic, state.temperature, z), metrics
