"""Losses of BRAC-v and BRAC-p (see `brac`) and the steps that both take with their targets."""

from __future__ import annotations

from typing import NamedTuple, cast

import jax
import jax.numpy as jnp

from ..core.noise import Noise
from ..core.spec import Batch, Scalar, Step
from ..core.trained import Metrics, Trained, merge
from ..parts import critics, losses, nets
from ..parts.distributions import Distribution
from ..parts.divergence_estimates import BoundedPolicy, discriminator_loss, divergence, learn_weight
from .brac import BRAC, State, optimisers_of, primal
from .sac import entropy_goal

ALPHA_MAX = 500.0  # authors' code


class Weights(NamedTuple):
    """What multiplies the terms of the actor's loss."""

    entropy: Scalar
    divergence: Scalar
    value: Scalar  # 0 in the warm start


def slices_of(batch: Batch) -> Batch:
    """The batch as slices [k, B, ...]: several for the dual forms, one for the primal ones."""
    return batch if batch.reward.ndim == 2 else jax.tree.map(lambda x: x[None], batch)


def draws_of(cfg: BRAC, noise: Noise, name: str, shape: tuple[int, ...]) -> tuple[jax.Array, ...]:
    """Draws of one primal estimate: of the policy and, for mmd, of b, [n, B, A] each; the dual ones need none."""
    kinds = {"kl": ("policy",), "mmd": ("policy", "behaviour")}.get(cfg.divergence, ())
    return tuple(noise.normal(f"{name}_{kind}", (cfg.divergence_samples, *shape)) for kind in kinds)


def kind_of(cfg: BRAC) -> tuple[str, Scalar]:
    """The divergence and the width of its kernel, as `divergence` takes them."""
    return cfg.divergence, cfg.sigma


def soft_values(
    cfg: BRAC, state: State, target_critic: nets.Critic, batch: Batch, noise: Noise
) -> tuple[Distribution, jax.Array, jax.Array]:
    """The policy at s', one action of it [B, A], and the mixed value of this action with the entropy's share [B]."""
    policy = state.actor.net(batch.next_obs)
    action, log_prob = policy.sample_and_log_prob(noise.normal("q_target_action", batch.action.shape))
    value = losses.mix(target_critic(batch.next_obs, action), cfg.mix)
    return policy, action, value - state.entropy_weight.net * log_prob


def critic_loss(critic: nets.Critic, y: jax.Array, batch: Batch, decay: Scalar) -> tuple[jax.Array, Metrics]:
    """Squared error to `y` [B] plus weight decay."""
    loss, metrics = critics.squared_error(critic, y, batch)
    return loss + decay * losses.squared_weights(cast(nets.Trunk, critic.nets)), metrics


def actor_loss(
    actor: BoundedPolicy,
    critic: nets.Critic,
    reference: BoundedPolicy | nets.Critic,
    weights: Weights,
    batch: Batch,
    eps: jax.Array,
    draws: tuple[jax.Array, ...],
    cfg: BRAC,
) -> tuple[jax.Array, Metrics]:
    """Weighted log-density and divergence minus Q, plus weight decay; `eps` [B, A], `draws` as in `draws_of`."""
    policy = actor(batch.obs)
    action, log_prob = policy.sample_and_log_prob(eps)
    d = divergence(kind_of(cfg), reference, policy, batch.obs, action, batch.action, draws)
    q = losses.mix(critic(batch.obs, action), cfg.mix)
    loss = (weights.entropy * log_prob + weights.divergence * d - weights.value * q).mean()
    metrics = {"divergence": d.mean(), "q": q.mean(), "entropy": -log_prob.mean()}
    return loss + cfg.actor_weight_decay * losses.squared_weights(cast(nets.Trunk, actor.net)), metrics


def discriminate(cfg: BRAC, net: Trained, actor: BoundedPolicy, slices: Batch, noise: Noise) -> tuple[Trained, Metrics]:
    """One step of the discriminator for each slice [k, B, ...] of the batch."""
    tx = optimisers_of(cfg).discriminator
    action = actor(slices.obs).sample(noise.normal("c_action", slices.action.shape))
    rows = (slices.obs, action, slices.action, noise.uniform("c_between", slices.reward.shape))

    def one(net: Trained, rows: tuple[jax.Array, ...]) -> tuple[Trained, Metrics]:
        return net.step(tx, discriminator_loss, *rows, cfg.gradient_penalty, cfg.divergence, name="discriminator")

    net, metrics = jax.lax.scan(one, net, rows)
    return net, jax.tree.map(jnp.mean, metrics)


def learn(
    cfg: BRAC, state: State, y: jax.Array, target_critic: nets.Critic, slices: Batch, noise: Noise, step: Step
) -> tuple[State, Metrics]:
    """An update for given targets: critics, then with them actor, discriminator, alpha and entropy weight.

    Args:
        cfg: the settings.
        state: the state from before the update.
        y: the targets of the critics, [B].
        target_critic: the new target critics.
        slices: rows [k, B, ...]; the first slice is the batch of everything but the discriminator.
        noise: the draws of the update.
        step: the number of the update; before `warm_start`, Q is not in the actor's loss.
    """
    tx = optimisers_of(cfg)
    batch = jax.tree.map(lambda x: x[0], slices)
    critic, metrics = state.critic.step(tx.critic, critic_loss, y, batch, cfg.critic_weight_decay, name="critic")
    shape = batch.action.shape
    alpha = state.alpha
    entropy_weight = state.entropy_weight
    reference = state.reference

    eps = noise.normal("p_action", shape)
    draws = draws_of(cfg, noise, "p_div", shape)
    weights = Weights(entropy_weight.net, alpha.net, step >= cfg.warm_start)
    given = (critic.net, reference.net, weights, batch, eps, draws, cfg)
    actor, m = state.actor.step(tx.actor, actor_loss, *given, name="actor")
    metrics = merge(metrics, m)
    policy = actor.net(batch.obs)
    if not primal(cfg):
        reference, m = discriminate(cfg, reference, actor.net, slices, noise)
        metrics = merge(metrics, m)
    if cfg.train_alpha:
        action = policy.mode() if primal(cfg) else policy.sample(noise.normal("a_action", shape))
        draws = draws_of(cfg, noise, "a_div", shape)
        d = divergence(kind_of(cfg), reference.net, policy, batch.obs, action, batch.action, draws)
        alpha, m = learn_weight(alpha, tx.weight, d - cfg.target_divergence, ALPHA_MAX, "alpha")
        metrics = merge(metrics, m)
    if cfg.train_entropy:
        _, log_prob = policy.sample_and_log_prob(noise.normal("ae_action", shape))
        excess = log_prob + entropy_goal(cfg, batch)
        entropy_weight, m = learn_weight(entropy_weight, tx.weight, excess, jnp.inf, "entropy_weight")
        metrics = merge(metrics, m)
    return State(actor, critic, target_critic, reference, state.reference_entropy, alpha, entropy_weight), metrics
