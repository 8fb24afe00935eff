"""Values of discrete actions: one network that gives K estimates of each (one, quantiles, or the heads of an ensemble).

Shapes: B rows, A actions, K estimates. Masks are booleans of legal actions, [..., A], or None.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from ..core.noise import Noise
from ..core.spec import Batch, Mode, Spec, Step
from ..core.tree import PyTree, field
from . import layers, nets, targets
from .distributions import Categorical


class ActionValues(PyTree):
    """K estimates of Q(s, a) for every action."""

    net: layers.MLP  # A * K outputs, action by action
    count: int = field(static=True, default=1)  # K

    def __call__(self, obs: jax.Array) -> jax.Array:
        """[..., d] to [..., A, K]."""
        out = self.net(obs)
        return out.reshape(*out.shape[:-1], -1, self.count)

    def mix(self, weights: jax.Array) -> ActionValues:
        """The network with one estimate, the sum of the K with these weights [K].

        The last layer is linear, so mixing its weights is mixing its outputs, and does not cost K outputs a row.
        """
        *body, last = self.net.layers
        weight = last.weight.reshape(len(last.weight), -1, self.count) @ weights
        bias = last.bias.reshape(-1, self.count) @ weights
        net = layers.MLP((*body, layers.Linear(weight, bias)), self.net.norms, self.net.activation, self.net.norm)
        return ActionValues(net)

    def mean(self, obs: jax.Array) -> jax.Array:
        """The mean of the estimates: [..., d] to [..., A]."""
        return self.mix(jnp.full(self.count, 1 / self.count))(obs)[..., 0] if self.count > 1 else self(obs)[..., 0]


def action_values(noise: Noise, spec: Spec, hidden: tuple[int, ...], count: int = 1, **how: Any) -> ActionValues:
    """A network with `count` estimates of the value of each action of `spec`."""
    return ActionValues(nets.mlp(noise, (*spec.obs, *hidden, spec.action * count), **how), count)


def best(q: jax.Array, mask: jax.Array | None = None) -> jax.Array:
    """The legal action of the highest value, [..., A] to [...]; action 0 where none is legal (after an end)."""
    return jnp.argmax(q if mask is None else jnp.where(mask, q, -jnp.inf), -1)


def pick(values: jax.Array, action: jax.Array) -> jax.Array:
    """The estimates of each row's action: [..., A, K] and [...] to [..., K]."""
    return jnp.take_along_axis(values, action[..., None, None], -2)[..., 0, :]


def next_values(online: ActionValues, target: ActionValues, batch: Batch, double: bool) -> jax.Array:
    """The target network's estimates of the best legal action at s', [B, K].

    `double`: the action is the online network's choice (van Hasselt et al. 2016), else the target's own; both choose by
    the mean of their estimates.
    """
    values = target(batch.next_obs)
    q = online.mean(batch.next_obs) if double else values.mean(-1)
    return pick(values, best(q, batch.next_mask))


def td(batch: Batch, values: jax.Array, discount: Any) -> jax.Array:
    """`targets.td` for each of the K estimates: [B, K] to [B, K]."""
    return jax.vmap(targets.td, (None, -1, None), -1)(batch, values, discount)


def greedy(q: jax.Array, mask: jax.Array | None = None) -> Categorical:
    """The law that takes the best legal action with certainty: q [..., A]."""
    chosen = jax.nn.one_hot(best(q, mask), q.shape[-1], dtype=bool)
    return Categorical(jnp.where(chosen, 0.0, -jnp.inf))


def epsilon_at(step: Step, final: Any, steps: int) -> Any:
    """Epsilon after `step` updates: from 1 down to `final` along a line of `steps` updates; `final` for `steps` = 0."""
    return 1 + (final - 1) * jnp.minimum(step / steps, 1.0) if steps else final


def epsilon_greedy(law: Categorical, mask: jax.Array | None, epsilon: Any, noise: Noise, mode: Mode) -> jax.Array:
    """Acting by a greedy law [n, A]: its action, or in mode "explore" a uniform legal one with probability epsilon."""
    action = law.mode()
    if mode != "explore":
        return action
    anything = Categorical(jnp.zeros_like(law.logits)).among(mask)
    random = anything.sample(noise.uniform("random_action", law.logits.shape))
    return jnp.where(noise.uniform("explore", action.shape) < epsilon, random, action)
