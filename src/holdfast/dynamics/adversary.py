"""The losses by which RAMBO moves an ensemble against a policy (Rigter et al. 2022, arXiv:2204.12581)."""

from __future__ import annotations

import dataclasses
from typing import Protocol

import jax
import jax.numpy as jnp

from ..core.contract import Data
from ..core.noise import Noise
from ..core.spec import Batch, Scalar
from ..core.trained import Metrics, Trained
from ..core.tree import PyTree
from ..parts import nets, optimisers
from ..parts.distributions import normal_log_prob
from .ensemble import Ensemble, Gaussian, change_and_reward, likelihood_loss, outcome
from .learning import Probabilistic
from .rollout import Ends, sampled, starts


class Adversarial(Probabilistic, Protocol):
    """The settings of the adversary."""

    @property
    def adversary_weight(self) -> float: ...
    @property
    def adversary_steps(self) -> int: ...
    @property
    def adversary_batch(self) -> int: ...
    @property
    def horizon(self) -> int: ...
    @property
    def discount(self) -> float: ...


class Opponent(PyTree):
    """An ensemble whose networks are moved while the policy learns."""

    net: Trained  # of a Gaussian
    rest: Ensemble  # scales, elites and the classifier of ends; its `net` is not used

    @property
    def ensemble(self) -> Ensemble:
        """The ensemble as it is now."""
        return dataclasses.replace(self.rest, net=self.net.net)


def mixture_log_prob(net: Gaussian, elites: jax.Array, x: jax.Array, y: jax.Array) -> jax.Array:
    """Log-density [B] of y [B, d + 1] under the mixture of the elites at the scaled inputs x [B, d + A]."""
    mean, log_var = (one[elites] for one in net(x))
    return jax.nn.logsumexp(normal_log_prob(y[None], mean, 0.5 * log_var).sum(-1), 0) - jnp.log(len(elites))


def advantage(critic: nets.Critic, policy: nets.Policy, batch: Batch, discount: jax.Array | float) -> jax.Array:
    """r + gamma m min_k Q_k(s', pi(s')) - min_k Q_k(s, a), with mean 0 and deviation 1 over the batch; [B]."""
    following = critic(batch.next_obs, policy(batch.next_obs).mode()).min(0)
    found = batch.reward + discount * (1 - batch.terminated) * following - critic(batch.obs, batch.action).min(0)
    return (found - found.mean()) / (found.std() + 1e-6)


def adversary_loss(
    net: Gaussian,
    elites: jax.Array,
    x: jax.Array,
    y: jax.Array,
    adv: jax.Array,
    own: tuple[jax.Array, jax.Array],
    weight: Scalar,
    decay: tuple[float, ...],
    bound_weight: Scalar,
) -> tuple[jax.Array, Metrics]:
    """Eq. 11: weight * mean(A log p) of rows that the policy met, and the loss of the data.

    Args:
        net: the ensemble's networks.
        elites: the members of the mixture.
        x: scaled inputs [B, d + A] of the policy's steps.
        y: their sampled change and reward [B, d + 1].
        adv: their advantage [B].
        own: scaled inputs and targets of logged rows, [E, B, ...] for each member.
        weight: lambda.
        decay: as in `likelihood_loss`.
        bound_weight: as in `likelihood_loss`.
    """
    gain = (adv * mixture_log_prob(net, elites, x, y)).mean()
    likelihood, _ = likelihood_loss(net, *own, decay, bound_weight)
    return weight * gain + likelihood, {"gain": gain, "likelihood": likelihood}


def turn(
    cfg: Adversarial,
    model: Opponent,
    actor: nets.Policy,
    critic: nets.Critic,
    ends: Ends,
    data: Data,
    noise: Noise,
) -> tuple[Opponent, Metrics]:
    """One turn of the adversary: `adversary_steps` updates, each at one step of rollouts of `horizon` steps.

    Args:
        cfg: the settings.
        model: the ensemble.
        actor: the policy.
        critic: its critics.
        ends: (observations, actions, next observations) -> booleans.
        data: the logged rows.
        noise: draws of the turn.

    Returns:
        The moved ensemble, and the metrics of the last update.
    """
    tx = optimisers.adam(cfg.model_lr)
    rest = model.rest

    def one(i: jax.Array, carry: tuple[Trained, jax.Array, Metrics]) -> tuple[Trained, jax.Array, Metrics]:
        net, obs, _ = carry
        now = noise.fold(i)
        obs = jnp.where(i % cfg.horizon == 0, starts(data, now, cfg.adversary_batch), obs)
        action = sampled(actor, obs, now.sub("policy"))
        mean, std = Opponent(net, rest).ensemble.predict(obs, action)
        which = rest.elites[now.integers("elite", (cfg.adversary_batch,), len(rest.elites))]
        found = outcome(obs, mean, std, which, now.normal("model", mean.shape[1:]))
        over = ends(obs, action, found.next_obs).astype(found.reward.dtype)
        batch = Batch(obs, action, found.reward, found.next_obs, over, jnp.zeros_like(over))
        adv = advantage(critic, actor, batch, cfg.discount)
        x = rest.inputs(jnp.concatenate([obs, action], -1))
        y = change_and_reward(obs, found.next_obs, found.reward)
        index = now.integers("rows", (cfg.members, cfg.model_batch_size), data.row.shape[0])
        at = data.row[index]
        inputs = rest.inputs(jnp.concatenate([data.obs[at], data.action[index]], -1))
        own = (inputs, change_and_reward(data.obs[at], data.obs[at + 1], data.reward[index]))
        given = (rest.elites, x, y, adv, own, cfg.adversary_weight, cfg.model_decay, cfg.bound_weight)
        net, metrics = net.step(tx, adversary_loss, *given, name="adversary")
        return net, found.next_obs, metrics

    names = ("loss", "gradient_norm", "gain", "likelihood")
    zeros = {f"adversary/{name}": jnp.zeros(()) for name in names}
    first = (model.net, starts(data, noise, cfg.adversary_batch), zeros)
    net, _, metrics = jax.lax.fori_loop(0, cfg.adversary_steps, one, first)
    return Opponent(net, rest), metrics
