"""Stage 3 of ACA: SAC online with the aligned critic, Q_i(s, a) = log pi0(a|s) + R_i(s, a). See `aca`.

R starts from Z(s). log pi0 has a soft floor, since at actions far from pi0 it is too large in size, and a weight w:

    w (softplus(log pi0 - c) + c),    c = the smaller density of the two points beta deviations from pi0's mean.

Order: temperature, critics with the new temperature, actor with the new critics, targets; pi0 is held still.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..core.contract import Collect, Context, Phase
from ..core.noise import Noise
from ..core.spec import Batch, Step
from ..core.trained import Metrics, Trained, merge
from ..core.tree import PyTree, ema
from ..parts import layers, nets, optimisers, targets
from .sac import entropy_goal, temperature_loss


class Online(PyTree):
    actor: Trained
    reference: nets.Policy  # pi0
    critic: Trained  # R
    target_critic: nets.Critic
    temperature: Trained


def enter(cfg: Any, state: Any, ctx: Context, noise: Noise) -> Online:
    """R(s, a) = Z(s): Z's layers, with rows of zeros for the action in the first one. alpha = 1.

    Where stage 1's critic goes on instead, so does its temperature.
    """
    critic, target, temperature = state.critic, state.target_critic, state.temperature
    if cfg.online_critic == "aligned":
        first, *rest = state.z.net.layers
        blind = jnp.zeros((*first.bias.shape[:1], ctx.spec.action, *first.bias.shape[1:]), first.weight.dtype)
        first = layers.Linear(jnp.concatenate([first.weight, blind], 1), first.bias)
        target = nets.Critic(layers.MLP((first, *rest), ()))
        critic = critic.replace(target)
        temperature = temperature.replace(jnp.zeros_like(temperature.net))
    return Online(state.actor, state.actor.net, critic, target, temperature)


def cool(cfg: Any, state: Any, batch: Batch, noise: Noise) -> tuple[Trained, Metrics]:
    """One step of the temperature."""
    eps = noise.normal("temperature_action", batch.action.shape)
    _, log_prob = state.actor.net(batch.obs).sample_and_log_prob(eps)
    tx, goal = optimisers.adam(cfg.temperature_lr), entropy_goal(cfg, batch)
    return state.temperature.step(tx, temperature_loss, log_prob, goal, name="temperature")


def log_prior(reference: nets.Policy, obs: jax.Array, action: jax.Array, width: Any, weight: Any) -> jax.Array:
    """w (softplus(log pi0(a|s) - c) + c), with c the density `width` deviations from the mean: [B]."""
    law = reference(obs)
    floor = jnp.minimum(law.log_prob_at(-width), law.log_prob_at(width))
    return weight * (jax.nn.softplus(law.log_prob(action) - floor) + floor)


def prior_weight(cfg: Any, step: Step) -> jax.Array:
    """w at update `step`, from 0: along a line towards 0 over `online_decay_steps`, and not below its minimum."""
    fallen = optimisers.progress(step, cfg.online_decay_steps)
    return jnp.maximum(cfg.prior_weight * (1 - fallen), cfg.min_prior_weight)


def prior(cfg: Any, state: Online, step: Step, obs: jax.Array, action: jax.Array) -> jax.Array:
    """What pi0 gives to Q at update `step`, [B]; nothing where stage 1's critic goes on."""
    if cfg.online_critic == "offline":
        return jnp.zeros(obs.shape[:-1])
    return log_prior(state.reference, obs, action, cfg.floor_width, prior_weight(cfg, step))


def critic_loss(critic: nets.Critic, y: jax.Array, prior: jax.Array, batch: Batch) -> tuple[jax.Array, Metrics]:
    r = critic(batch.obs, batch.action)
    q = r + prior[None]
    told = {"q": q.mean(), "prior": prior.mean(), "target": y.mean()}
    return jnp.square(q - y[None]).mean(1).sum(), told


def actor_loss(
    actor: nets.Policy, critic: nets.Critic, prior_of: Any, alpha: Any, obs: jax.Array, eps: jax.Array
) -> tuple[jax.Array, Metrics]:
    action, log_prob = actor(obs).sample_and_log_prob(eps)
    prior = prior_of(obs, action)
    q = critic(obs, action).min(0) + prior
    return (alpha * log_prob - q).mean(), {"entropy": -log_prob.mean(), "q": q.mean(), "prior": prior.mean()}


def update(cfg: Any, state: Online, batch: Batch, noise: Noise, step: Step) -> tuple[Online, Metrics]:
    """SAC whose critic is log pi0 + R."""
    prior_of = functools.partial(prior, cfg, state, step)
    temperature, m1 = cool(cfg, state, batch, noise)
    alpha = jnp.exp(temperature.net)
    eps = noise.normal("target_action", batch.action.shape)
    next_action, next_log_prob = state.actor.net(batch.next_obs).sample_and_log_prob(eps)
    soft = state.target_critic(batch.next_obs, next_action).min(0) + prior_of(batch.next_obs, next_action)
    given = (targets.td(batch, soft - alpha * next_log_prob, cfg.discount), prior_of(batch.obs, batch.action), batch)
    critic, m2 = state.critic.step(optimisers.adam(cfg.critic_lr), critic_loss, *given, name="critic")
    eps, tx = noise.normal("actor_action", batch.action.shape), optimisers.adam(cfg.actor_lr, clip_norm=cfg.clip_norm)
    actor, m3 = state.actor.step(tx, actor_loss, critic.net, prior_of, alpha, batch.obs, eps, name="actor")
    target = ema(critic.net, state.target_critic, cfg.polyak)
    told = merge(m1, m2, m3, {"prior/weight": prior_weight(cfg, step)})
    return Online(actor, state.reference, critic, target, temperature), told


def best_transitions(cfg: Any, dataset: Any) -> np.ndarray:
    """The numbers of the transitions of the `best_episodes` episodes with the highest returns."""
    best = np.argsort(-dataset.returns(), kind="stable")[: cfg.best_episodes]
    return np.flatnonzero(np.isin(dataset.episode_of, best))


def phase(cfg: Any) -> Phase:
    """New rows alone, beside the best logged episodes where there are some; updates start with a batch of rows."""
    fill = best_transitions if cfg.best_episodes else None
    collect = Collect(warmup=0, delay=cfg.batch_size, every=cfg.update_ratio)
    return Phase("online", update=update, mix={"online": 1.0}, enter=enter, collect=collect, fill=fill)
