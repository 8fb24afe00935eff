"""Values of discrete actions: one network with K estimates of each value (one, quantiles, or the heads of an ensemble).

Shapes: B rows, A actions, K estimates. Masks are booleans of the legal actions, [..., A], or None if all are legal.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from ..core.noise import Noise
from ..core.spec import Batch, Mode, Obs, Scalar, Spec, Step
from ..core.trained import Metrics
from ..core.tree import PyTree, field
from . import layers, nets, targets
from .distributions import Categorical, take
from .encoders import Encoded
from .own import Own


class ActionValues(PyTree):
    """K estimates of Q(s, a) for every action."""

    net: nets.Network  # A * K outputs, action by action
    count: int = field(static=True, default=1)  # K
    weights: jax.Array | None = None  # [K]: only one estimate is given, the sum with these weights

    def __call__(self, obs: Obs) -> jax.Array:
        """[..., d] to [..., A, K]."""
        out = self.net(obs)
        out = out.reshape(*out.shape[:-1], -1, self.count)
        return out if self.weights is None else (out @ self.weights)[..., None]

    def mix(self, weights: jax.Array) -> ActionValues:
        """The network with one estimate, the sum of the K estimates with these weights [K].

        The last layer is linear, so mixing its weights gives the same numbers as mixing its outputs, at 1/K of the
        cost. The outputs of a user's module are mixed.
        """
        net = self.net
        if isinstance(net, Own):
            return ActionValues(net, self.count, weights)
        if isinstance(net, Encoded):
            mixed = ActionValues(net.net, self.count).mix(weights)
            return ActionValues(Encoded(net.encoder, mixed.net), mixed.count, mixed.weights)
        *body, last = net.layers
        weight = last.weight.reshape(len(last.weight), -1, self.count) @ weights
        bias = last.bias.reshape(-1, self.count) @ weights
        return ActionValues(layers.MLP((*body, layers.Linear(weight, bias)), net.norms, net.activation, net.norm))

    def mean(self, obs: Obs) -> jax.Array:
        """The mean of the estimates: [..., d] to [..., A]."""
        return self.mix(jnp.full(self.count, 1 / self.count))(obs)[..., 0] if self.count > 1 else self(obs)[..., 0]


def action_values(noise: Noise, spec: Spec, hidden: tuple[int, ...], count: int = 1) -> ActionValues:
    """A network with `count` estimates of the value of each action of `spec`."""
    return ActionValues(nets.network(noise, spec, hidden, spec.action * count, role="critic"), count)


def best(q: jax.Array, mask: jax.Array | None = None) -> jax.Array:
    """The legal action of the highest value, [..., A] to [...]; action 0 if no action is legal (after an end)."""
    return jnp.argmax(q if mask is None else jnp.where(mask, q, -jnp.inf), -1)


def pick(values: jax.Array, action: jax.Array) -> jax.Array:
    """The estimates of each row's action: [..., A, K] and [...] to [..., K]."""
    return jnp.take_along_axis(values, action[..., None, None], -2)[..., 0, :]


def next_values(online: ActionValues, target: ActionValues, batch: Batch, double: bool) -> jax.Array:
    """The target network's estimates of the value of the best legal action at s', [B, K].

    `double`: the online network chooses the action (van Hasselt et al. 2016, arXiv:1509.06461, eq. 4), else the target
    network does. Both choose by the mean of their estimates.
    """
    values = target(batch.next_obs)
    q = online.mean(batch.next_obs) if double else values.mean(-1)
    return pick(values, best(q, batch.next_mask))


def td(batch: Batch, values: jax.Array, discount: Scalar) -> jax.Array:
    """`targets.td` for each of the K estimates: [B, K] to [B, K]."""
    return jax.vmap(targets.td, (None, -1, None), -1)(batch, values, discount)


def q_metrics(q: jax.Array, action: jax.Array, among: jax.Array | None, y: jax.Array) -> Metrics:
    """Means of Q over the logged actions and over the best actions `among` the legal ones, and of the targets.

    Args:
        q: [B, A].
        action: the logged actions, [B].
        among: the actions that the policy may take, [B, A], or None.
        y: the targets, [B, K].
    """
    return {"q": take(q, action).mean(), "policy_q": take(q, best(q, among)).mean(), "target": y.mean()}


def greedy(q: jax.Array, mask: jax.Array | None = None) -> Categorical:
    """The distribution with all mass on the best legal action: q [..., A]."""
    chosen = jax.nn.one_hot(best(q, mask), q.shape[-1], dtype=bool)
    return Categorical(jnp.where(chosen, 0.0, -jnp.inf))


def epsilon_at(step: Step, final: Scalar, steps: int) -> Scalar:
    """Epsilon after `step` updates: it falls linearly from 1 to `final` over `steps` updates; constant if that is 0."""
    return 1 + (final - 1) * jnp.minimum(step / steps, 1.0) if steps else final


def epsilon_greedy(dist: Categorical, mask: jax.Array | None, epsilon: Scalar, noise: Noise, mode: Mode) -> jax.Array:
    """Actions of a greedy distribution [n, A]; in mode "explore" a random legal action with probability epsilon."""
    action = dist.mode()
    if mode != "explore":
        return action
    uniform = Categorical(jnp.zeros_like(dist.logits)).among(mask)
    random = uniform.sample(noise.uniform("random_action", dist.logits.shape))
    return jnp.where(noise.uniform("explore", action.shape) < epsilon, random, action)
