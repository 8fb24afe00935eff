"""Stage 3 of ACA: SAC online with the aligned critic, Q_i(s, a) = log pi0(a|s) + R_i(s, a). See `aca`.

R_i starts as Z_i(s). log pi0 has a soft floor, because its size is too large at actions far from pi0, and a weight w:

    prior(s, a) = w (softplus(log pi0(a|s) - c) + c),
    c = the smaller density of the two points beta deviations from the mean of pi0.

Order of an update: temperature, critics with the new temperature, actor with the new critics, targets; pi0 is fixed.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from ..core.contract import Collect, Context, Phase
from ..core.noise import Noise
from ..core.spec import Batch, Scalar, Step
from ..core.trained import Metrics, Trained, merge
from ..core.tree import PyTree, ema
from ..data.dataset import Dataset
from ..parts import layers, nets, optimisers, targets
from ..parts.optimisers import ActorCritic
from .aca_offline import ACA, State, cool


class Online(PyTree):
    """The state of stage 3."""

    actor: Trained
    reference: nets.Policy  # pi0
    critic: Trained  # R
    target_critic: nets.Critic
    temperature: Trained  # log alpha


def optimisers_of(cfg: ACA) -> ActorCritic:
    return ActorCritic(
        actor=optimisers.adam(cfg.actor_lr, clip_norm=cfg.clip_norm), critic=optimisers.adam(cfg.critic_lr)
    )


def enter(cfg: ACA, state: State, ctx: Context, noise: Noise) -> Online:
    """The state before the first online update: R(s, a) = Z(s) and alpha = 1.

    R has the layers of Z, with weights of zero for the action in the first layer. With `online_critic` "offline" the
    critic and the temperature of stage 1 continue instead.
    """
    if cfg.online_critic == "offline":
        return Online(state.actor, state.actor.net, state.critic, state.target_critic, state.temperature)
    z = nets.mlp_of(state.z.net, "the critic of stage 3 (online_critic aligned)")
    first, *rest = z.layers
    blind = jnp.zeros((*first.bias.shape[:1], ctx.spec.action, *first.bias.shape[1:]), first.weight.dtype)
    first = layers.Linear(jnp.concatenate([first.weight, blind], 1), first.bias)
    aligned = nets.Critic(layers.MLP((first, *rest), z.norms, z.activation, z.norm))
    temperature = state.temperature.replace(jnp.zeros_like(state.temperature.net))
    return Online(state.actor, state.actor.net, state.critic.replace(aligned), aligned, temperature)


def log_prior(reference: nets.Policy, obs: jax.Array, action: jax.Array, width: Scalar, weight: Scalar) -> jax.Array:
    """w (softplus(log pi0(a|s) - c) + c), with c the density `width` deviations from the mean: [B]."""
    dist = reference(obs)
    floor = jnp.minimum(dist.log_prob_at(-width), dist.log_prob_at(width))
    return weight * (jax.nn.softplus(dist.log_prob(action) - floor) + floor)


def prior_weight(cfg: ACA, step: Step) -> jax.Array:
    """w at update `step`, from 0: it falls linearly, to 0 after `online_decay_steps`, but not below its minimum."""
    fallen = optimisers.progress(step, cfg.online_decay_steps)
    return jnp.maximum(cfg.prior_weight * (1 - fallen), cfg.min_prior_weight)


def prior(cfg: ACA, state: Online, step: Step, obs: jax.Array, action: jax.Array) -> jax.Array:
    """What pi0 adds to Q at update `step`, [B]; 0 if the critic of stage 1 continues."""
    if cfg.online_critic == "offline":
        return jnp.zeros(obs.shape[:-1])
    return log_prior(state.reference, obs, action, cfg.floor_width, prior_weight(cfg, step))


def critic_loss(critic: nets.Critic, y: jax.Array, prior: jax.Array, batch: Batch) -> tuple[jax.Array, Metrics]:
    """Squared errors of R_i + prior: targets y [B] and the prior of the batch's actions [B]."""
    q = critic(batch.obs, batch.action) + prior[None]
    metrics = {"q": q.mean(), "prior": prior.mean(), "target": y.mean()}
    return jnp.square(q - y[None]).mean(1).sum(), metrics


def actor_loss(
    actor: nets.Policy,
    critic: nets.Critic,
    prior_of: Callable[[jax.Array, jax.Array], jax.Array],
    alpha: Scalar,
    obs: jax.Array,
    eps: jax.Array,
) -> tuple[jax.Array, Metrics]:
    """alpha log pi(b|s) - min_i R_i(s, b) - prior(s, b), b from the policy."""
    action, log_prob = actor(obs).sample_and_log_prob(eps)
    prior = prior_of(obs, action)
    q = critic(obs, action).min(0) + prior
    return (alpha * log_prob - q).mean(), {"entropy": -log_prob.mean(), "q": q.mean(), "prior": prior.mean()}


def update(cfg: ACA, state: Online, batch: Batch, noise: Noise, step: Step) -> tuple[Online, Metrics]:
    """SAC whose critic is R plus the prior."""
    tx = optimisers_of(cfg)
    prior_of = functools.partial(prior, cfg, state, step)
    temperature, m1 = cool(cfg, state.temperature, state.actor.net, batch, noise)
    alpha = jnp.exp(temperature.net)
    eps = noise.normal("target_action", batch.action.shape)
    next_action, next_log_prob = state.actor.net(batch.next_obs).sample_and_log_prob(eps)
    soft = state.target_critic(batch.next_obs, next_action).min(0) + prior_of(batch.next_obs, next_action)
    y = targets.td(batch, soft - alpha * next_log_prob, cfg.discount)
    logged = prior_of(batch.obs, batch.action)
    critic, m2 = state.critic.step(tx.critic, critic_loss, y, logged, batch, name="critic")
    eps = noise.normal("actor_action", batch.action.shape)
    actor, m3 = state.actor.step(tx.actor, actor_loss, critic.net, prior_of, alpha, batch.obs, eps, name="actor")
    target = ema(critic.net, state.target_critic, cfg.polyak)
    metrics = merge(m1, m2, m3, {"prior/weight": prior_weight(cfg, step)})
    return Online(actor, state.reference, critic, target, temperature), metrics


def best_transitions(cfg: ACA, dataset: Dataset) -> np.ndarray:
    """The indices of the transitions of the `best_episodes` episodes with the highest returns."""
    best = np.argsort(-dataset.returns(), kind="stable")[: cfg.best_episodes]
    return np.flatnonzero(np.isin(dataset.episode_of, best))


def phase(cfg: ACA) -> Phase:
    """Batches of new rows only, after the best logged episodes if any; updates start once a batch is collected."""
    fill = best_transitions if cfg.best_episodes else None
    collect = Collect(warmup=0, delay=cfg.batch_size, every=cfg.update_ratio)
    return Phase("online", update=update, mix={"online": 1.0}, enter=enter, collect=collect, fill=fill)
