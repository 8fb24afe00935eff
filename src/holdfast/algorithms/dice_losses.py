"""The saddle point of DICE estimators: functions of pairs, the rows of an update, and the losses.

Shapes: B rows; [2, B] are the drawn rows, and for each of them a row of the absorbing state, which counts if it ends.
"""

from __future__ import annotations

from typing import Protocol

import jax
import jax.numpy as jnp

from ..core.spec import Batch, Scalar
from ..core.trained import Metrics
from ..core.tree import PyTree
from ..parts import losses, nets


class Saddle(Protocol):
    """The settings of the saddle point."""

    @property
    def discount(self) -> float: ...
    @property
    def primal_regulariser(self) -> float: ...
    @property
    def dual_regulariser(self) -> float: ...
    @property
    def norm_regulariser(self) -> float: ...
    @property
    def positive(self) -> bool: ...
    @property
    def exponent(self) -> float: ...
    @property
    def primal_form(self) -> bool: ...
    @property
    def nu_orthogonal(self) -> float: ...
    @property
    def zeta_orthogonal(self) -> float: ...


class Function(PyTree):
    """A function of observation and action, and its value in the absorbing state."""

    critic: nets.Critic
    end: jax.Array


class Choice(PyTree):
    """What the policy does at observations: draws, or the probabilities of discrete actions."""

    obs: jax.Array  # [B, d]
    actions: jax.Array  # [K, B, A] draws; probabilities [B, A] of discrete actions

    def mean(self, function: Function) -> jax.Array:
        """The mean of a function over the actions: [B]."""
        if function.critic.discrete:
            return (self.actions * function.critic.all(self.obs)[0]).sum(-1)
        return function.critic(self.obs, self.actions)[0].mean(0)


class Rows(PyTree):
    """The rows of an update, with the policy at their next and their first observations."""

    batch: Batch
    following: Choice
    first: Choice
    start: jax.Array  # weights of the rows in means over first observations, [B]
    weight: jax.Array  # weights of the rows in the losses, [B]; their mean is 1


def here(function: Function, batch: Batch) -> jax.Array:
    """A function at the logged pairs, and in the absorbing state for each row that ends, else 0: [2, B]."""
    return jnp.stack([function.critic(batch.obs, batch.action)[0], function.end * jnp.ones_like(batch.reward)])


def ratios(cfg: Saddle, zeta: Function, batch: Batch) -> jax.Array:
    """zeta at the logged pairs and in the absorbing state, [2, B]."""
    found = here(zeta, batch)
    return jnp.square(found) if cfg.positive else found


def counts(rows: Rows) -> jax.Array:
    """How much each row and its row of the absorbing state count, [2, B]."""
    return rows.weight[None] * jnp.stack([jnp.ones_like(rows.batch.terminated), rows.batch.terminated])


def residuals(cfg: Saddle, nu: Function, multiplier: Scalar, rows: Rows, reward: jax.Array | float) -> jax.Array:
    """reward + gamma nu(s', a') - nu(s, a) - n lambda of each row, and of the absorbing state, [2, B]."""
    batch = rows.batch
    onward = rows.following.mean(nu)
    if "discount" in batch.extra:  # a logged discount, as in `targets.td`
        onward = onward * batch.discount
    onward = jnp.where(batch.terminated > 0, nu.end, onward)
    there = jnp.stack([onward, jnp.full_like(onward, nu.end)])
    paid = jnp.stack([jnp.broadcast_to(reward, onward.shape), jnp.zeros_like(onward)])
    return paid + cfg.discount * there - here(nu, batch) - cfg.norm_regulariser * multiplier


def f(x: jax.Array, exponent: Scalar) -> jax.Array:
    """|x|^q / q, entry by entry."""
    return jnp.abs(x) ** exponent / exponent


def nu_loss(
    nu: Function, cfg: Saddle, multiplier: Scalar, ratio: jax.Array, rows: Rows, reward: jax.Array
) -> tuple[jax.Array, Metrics]:
    """What nu minimises, as a sum over the rows, for the ratios [2, B]."""
    residual = residuals(cfg, nu, multiplier, rows, reward)
    count = counts(rows)
    conjugate = cfg.exponent / (cfg.exponent - 1)
    gain = f(residual, conjugate) if cfg.primal_form else ratio * residual
    gain = gain + cfg.primal_regulariser * f(here(nu, rows.batch), cfg.exponent)
    start = (rows.start * rows.first.mean(nu)).mean()
    penalty = cfg.nu_orthogonal * orthogonality(nu)
    loss = (1 - cfg.discount) * count.sum() * start + (count * gain).sum() + penalty
    return loss, {"start": start}


def zeta_loss(zeta: Function, cfg: Saddle, residual: jax.Array, rows: Rows) -> tuple[jax.Array, Metrics]:
    """What zeta minimises, as a sum over the rows, for the residuals [2, B]."""
    ratio = ratios(cfg, zeta, rows.batch)
    loss = cfg.dual_regulariser * f(ratio, cfg.exponent) - ratio * residual
    mean = (counts(rows) * ratio).sum() / counts(rows).sum()
    return (counts(rows) * loss).sum() + cfg.zeta_orthogonal * orthogonality(zeta), {"ratio": mean}


def multiplier_loss(
    multiplier: jax.Array, cfg: Saddle, nu: Function, ratio: jax.Array, rows: Rows, reward: jax.Array
) -> tuple[jax.Array, Metrics]:
    """What lambda minimises, as a sum over the rows."""
    constant = cfg.norm_regulariser * multiplier
    residual = residuals(cfg, nu, multiplier, rows, reward)
    gain = f(residual, cfg.exponent / (cfg.exponent - 1)) if cfg.primal_form else -ratio * constant
    return (counts(rows) * (constant + gain)).sum(), {"lambda": multiplier}


def orthogonality(function: Function) -> jax.Array:
    """The penalty of the weights of a function, whose critic is an ensemble of one."""
    return losses.not_orthogonal(jax.tree.map(lambda x: x[0], function.critic.nets))
