"""The objective of AlgaeDICE: residuals, the losses of critics and policy, and the networks that they are of.

Shapes: B rows, E critics.
"""

from __future__ import annotations

from typing import Protocol

import jax
import jax.numpy as jnp

from ..core.spec import Batch, Obs, Scalar
from ..core.trained import Metrics
from ..core.tree import PyTree
from ..parts import losses, nets, starts, targets
from ..parts.distributions import TanhNormal

LOW, HIGH = -5.0, 2.0  # of the log deviation, authors' code
OWN = 0.05  # share of the critic itself in its target, authors' code
LARGEST = 1e6  # residual that the policy sees at most, authors' code


class Objective(Protocol):
    """The settings of the objective."""

    @property
    def algae_alpha(self) -> float: ...
    @property
    def exponent(self) -> float: ...
    @property
    def undiscounted(self) -> bool: ...
    @property
    def use_init_states(self) -> bool: ...
    @property
    def discount(self) -> float: ...
    @property
    def orthogonal(self) -> float: ...


class Heads(nets.Policy):
    """A tanh Gaussian whose log deviation lies in [LOW, HIGH], by a tanh of the network's output."""

    def __call__(self, obs: Obs, keep: tuple[jax.Array, ...] = ()) -> TanhNormal:
        mean, raw = jnp.split(self.net(obs, keep), 2, -1)
        return TanhNormal(mean, LOW + 0.5 * (HIGH - LOW) * (jnp.tanh(raw) + 1))


class Dual(PyTree):
    """The critics, and the multiplier of the undiscounted branch: they have one optimiser."""

    nets: nets.Critic
    multiplier: jax.Array


def f(x: jax.Array, exponent: Scalar) -> jax.Array:
    """|x|^p / p, entry by entry."""
    return jnp.abs(x) ** exponent / exponent


def slope(x: jax.Array, exponent: Scalar) -> jax.Array:
    """f'(x) where x is positive, else 0, without gradient."""
    return jax.lax.stop_gradient(jnp.clip(x, 0, LARGEST) ** (exponent - 1))


class Actions(PyTree):
    """Actions of the policy at s' and at s0."""

    following: jax.Array  # a', [B, A]
    log_prob: jax.Array  # of a', [B]
    first: jax.Array  # a0, [B, A]


def actions(cfg: Objective, actor: nets.Policy, batch: Batch, eps: tuple[jax.Array, jax.Array]) -> Actions:
    """Draws of the policy for the standard normals `eps` at s' and s0, each [B, A]."""
    following, log_prob = actor(batch.next_obs).sample_and_log_prob(eps[0])
    return Actions(following, log_prob, actor(first_of(cfg, batch)).sample(eps[1]))


def first_of(cfg: Objective, batch: Batch) -> jax.Array:
    """s0, [B, d]."""
    return batch.initial_obs if cfg.use_init_states else batch.obs


def residuals(
    cfg: Objective, critic: nets.Critic, target: nets.Critic, temperature: Scalar, batch: Batch, drawn: Actions
) -> tuple[jax.Array, jax.Array]:
    """The residuals delta of each critic, [E, B], and (1 - gamma) alpha Q(s0, a0), [E, B]; 0 if undiscounted."""
    slow = target(batch.next_obs, drawn.following).min(0)
    own = critic(batch.next_obs, drawn.following)
    mixed = OWN * own + ((1 - OWN) * slow - temperature * drawn.log_prob)[None]
    discount = 1.0 if cfg.undiscounted else cfg.discount
    y = jax.vmap(lambda value: targets.td(batch, value, discount))(mixed)
    start = critic(first_of(cfg, batch), drawn.first)
    if cfg.use_init_states:
        start = starts.start_weights(batch)[None] * start
    return y - critic(batch.obs, batch.action), (1 - discount) * cfg.algae_alpha * start


def critic_loss(
    dual: Dual, cfg: Objective, target: nets.Critic, temperature: Scalar, batch: Batch, drawn: Actions
) -> tuple[jax.Array, Metrics]:
    """f of the residuals and the value at the start, as means over the rows, summed over the critics."""
    delta, start = residuals(cfg, dual.nets, target, temperature, batch, drawn)
    if cfg.undiscounted:
        start = jnp.broadcast_to(-cfg.algae_alpha * dual.multiplier, delta.shape)
    loss = (f(shifted(cfg, dual.multiplier, delta), cfg.exponent) + start).mean(1).sum()
    return loss, {"residual": delta.mean(), "positive": (delta > 0).mean(), "lambda": dual.multiplier}


def shifted(cfg: Objective, multiplier: jax.Array, delta: jax.Array) -> jax.Array:
    """The residuals, plus lambda + alpha if undiscounted."""
    return multiplier + cfg.algae_alpha + delta if cfg.undiscounted else delta


def actor_loss(
    actor: nets.Policy,
    cfg: Objective,
    dual: Dual,
    target: nets.Critic,
    temperature: Scalar,
    batch: Batch,
    eps: tuple[jax.Array, jax.Array],
) -> tuple[jax.Array, Metrics]:
    """Minus f'(delta) delta and the value at the start, averaged over critics, and the penalty of the weights."""
    drawn = actions(cfg, actor, batch, eps)
    delta, start = residuals(cfg, dual.nets, target, temperature, batch, drawn)
    weight = slope(shifted(cfg, dual.multiplier, delta), cfg.exponent)
    penalty = losses.not_orthogonal(actor.net)
    loss = -(weight * delta + start).mean() + cfg.orthogonal * penalty
    return loss, {"entropy": -drawn.log_prob.mean(), "weight": weight.mean(), "penalty": penalty}
