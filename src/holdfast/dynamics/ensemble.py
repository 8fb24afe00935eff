"""Ensembles of networks that predict the next observation and the reward.

A probabilistic ensemble (Chua et al. 2018, arXiv:1805.12114; Janner et al. 2019, arXiv:1906.08253) has a mean and a
bounded log-variance for each output. A deterministic one (MOReL, arXiv:2005.05951) has a mean only, in units of the
data's spread. Outputs are the change of the observation and the reward, in this order.

Shapes: E members, d entries of an observation, A of an action.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from ..core.noise import Noise
from ..core.spec import Scalar
from ..core.trained import Metrics
from ..core.tree import PyTree
from ..parts import nets
from ..parts.initialisers import torch_uniform
from ..parts.layers import MLP, Linear, raised


class Scale(PyTree):
    """(x - mean) / width, entry by entry."""

    mean: jax.Array
    width: jax.Array

    def __call__(self, x: jax.Array) -> jax.Array:
        return (x - raised(self.mean, x.ndim)) / raised(self.width, x.ndim)

    def undo(self, x: jax.Array) -> jax.Array:
        """The inverse."""
        return x * raised(self.width, x.ndim) + raised(self.mean, x.ndim)


def identity(n: int) -> Scale:
    """A scale of n entries that changes nothing."""
    return Scale(jnp.zeros(n), jnp.ones(n))


def standard(x: jax.Array) -> Scale:
    """Mean and standard deviation of the rows x [N, n]. The deviation of a constant counts as 1, up to rounding."""
    mean = x.mean(0)
    std = x.std(0)
    return Scale(mean, jnp.where(std < jnp.maximum(1e-12, 1e-5 * jnp.abs(mean)), 1.0, std))


def absolute(x: jax.Array) -> Scale:
    """Mean and mean absolute deviation of the rows x [N, n], plus 1e-8: the scale of MOReL."""
    mean = x.mean(0)
    return Scale(mean, jnp.abs(x - mean[None]).mean(0) + 1e-8)


class Gaussian(PyTree):
    """E networks of the scaled (observation, action); each has 2 (d + 1) outputs: means, then log-variances.

    One last layer for both is the same function as two separate heads on the last hidden layer.
    """

    nets: MLP  # leaves [E, ...]
    max_log_var: jax.Array  # [d + 1] learned bounds, shared by the members
    min_log_var: jax.Array

    def __call__(self, x: jax.Array, apart: bool = False) -> tuple[jax.Array, jax.Array]:
        """Mean and log-variance [E, ..., d + 1] for inputs x [..., d + A]; or x [E, ..., d + A], each its own."""
        out = jax.vmap(lambda net, x: net(x), (0, 0 if apart else None))(self.nets, x)
        mean, log_var = jnp.split(out, 2, -1)
        return mean, bounded(log_var, self.min_log_var, self.max_log_var)


class Deterministic(PyTree):
    """E networks of the scaled (observation, action) for the scaled change, and one for the reward."""

    nets: MLP  # leaves [E, ...], d outputs
    reward: MLP  # of (observation, action, next observation), scaled


def bounded(log_var: jax.Array, low: jax.Array, high: jax.Array) -> jax.Array:
    """Soft bounds low and high [n] of the log-variance [..., n], first the upper one."""
    low = raised(low, log_var.ndim)
    high = raised(high, log_var.ndim)
    log_var = high - jax.nn.softplus(high - log_var)
    return low + jax.nn.softplus(log_var - low)


def truncated_init(noise: Noise, n_in: int, n_out: int) -> Linear:
    """Normal weights with deviation 1 / (2 sqrt(n_in)), at most two deviations from 0; biases 0."""
    low = jax.scipy.stats.norm.cdf(-2.0)
    uniform = low + (1 - 2 * low) * noise.uniform("weight", (n_in, n_out))
    return Linear(jax.scipy.special.ndtri(uniform) / (2 * n_in**0.5), jnp.zeros(n_out))


def gaussian(
    noise: Noise, d: int, action: int, hidden: tuple[int, ...], members: int, high: float = 0.5, low: float = -10.0
) -> Gaussian:
    """A new probabilistic ensemble; `high` and `low` are the first bounds of the log-variance."""
    sizes = (d + action, *hidden, 2 * (d + 1))
    made = nets.ensemble(lambda k: nets.mlp(k, sizes, activation="swish", init=truncated_init), noise, members)
    return Gaussian(made, jnp.full(d + 1, high), jnp.full(d + 1, low))


def deterministic(noise: Noise, d: int, action: int, hidden: tuple[int, ...], members: int) -> Deterministic:
    """A new deterministic ensemble with MOReL's networks; that of the reward has two layers of 100 units."""
    made = nets.ensemble(lambda k: nets.mlp(k, (d + action, *hidden, d)), noise.sub("members"), members)
    return Deterministic(made, nets.mlp(noise.sub("reward"), (2 * d + action, 100, 100, 1), init=torch_uniform))


class Outcome(NamedTuple):
    """What an ensemble predicts for rows [...]."""

    next_obs: jax.Array  # [..., d] of the member that was drawn
    reward: jax.Array  # [...]
    mean: jax.Array  # [E, ..., d + 1] of every member: change of the observation, reward
    std: jax.Array  # [E, ..., d + 1]; zeros if the ensemble is deterministic


class Ensemble(PyTree):
    """A trained ensemble."""

    net: Gaussian | Deterministic
    inputs: Scale  # [d + A]
    outputs: Scale  # [d], of the change of the observation; used by deterministic ensembles
    elites: jax.Array  # [K] int32: the members with the lowest holdout error, of which one is drawn for each row
    ending: MLP  # of (observation, action, next observation): logit of a true end, if it was learned

    def predict(self, obs: jax.Array, action: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Mean and standard deviation of (change of the observation, reward) by every member, [E, ..., d + 1]."""
        x = self.inputs(jnp.concatenate([obs, action], -1))
        if isinstance(self.net, Gaussian):
            mean, log_var = self.net(x)
            return mean, jnp.exp(0.5 * log_var)
        change = self.outputs.undo(jax.vmap(lambda net: net(x))(self.net.nets))
        rows = jax.vmap(lambda following: self._triple(obs, action, following))(obs[None] + change)
        mean = jnp.concatenate([change, self.net.reward(rows)], -1)
        return mean, jnp.zeros_like(mean)

    def step(self, obs: jax.Array, action: jax.Array, noise: Noise) -> Outcome:
        """One step for rows obs [n, d] and action [n, A]: for each row an elite is drawn, and a sample of it."""
        mean, std = self.predict(obs, action)
        which = self.elites[noise.integers("elite", obs.shape[:1], len(self.elites))]
        eps = noise.normal("model", mean.shape[1:])
        return outcome(obs, mean, std, which, eps)

    def ends(self, obs: jax.Array, action: jax.Array, next_obs: jax.Array) -> jax.Array:
        """Logit [...] of the learned classifier that the step ends the episode."""
        return self.ending(self._triple(obs, action, next_obs))[..., 0]

    def _triple(self, obs: jax.Array, action: jax.Array, next_obs: jax.Array) -> jax.Array:
        return triple(self.inputs, obs, action, next_obs)


def triple(inputs: Scale, obs: jax.Array, action: jax.Array, next_obs: jax.Array) -> jax.Array:
    """(observation, action, next observation) side by side and scaled, [..., 2 d + A]."""
    d = obs.shape[-1]
    following = Scale(inputs.mean[:d], inputs.width[:d])(next_obs)
    return jnp.concatenate([inputs(jnp.concatenate([obs, action], -1)), following], -1)


def outcome(obs: jax.Array, mean: jax.Array, std: jax.Array, which: jax.Array, eps: jax.Array) -> Outcome:
    """The sample of member `which` [n] with the standard normals `eps` [n, d + 1]."""
    row = jnp.arange(len(which))
    sample = mean[which, row] + std[which, row] * eps
    return Outcome(obs + sample[:, :-1], sample[:, -1], mean, std)


def change_and_reward(obs: jax.Array, next_obs: jax.Array, reward: jax.Array) -> jax.Array:
    """What an ensemble learns to predict, [..., d + 1]."""
    return jnp.concatenate([next_obs - obs, reward[..., None]], -1)


def weight_decay(net: MLP, coefficients: tuple[float, ...]) -> jax.Array:
    """Sum over the layers of coefficient / 2 times the squared weights (no biases) of all members.

    The last coefficient is that of the last layer. The others belong to the first layers, in order; if there are fewer
    than layers, the last of them is repeated.
    """
    middle = coefficients[:-1] or coefficients
    count = len(net.layers) - 1
    used = [*middle[:count], *[middle[-1]] * (count - len(middle)), coefficients[-1]]
    terms = [0.5 * c * jnp.square(layer.weight).sum() for c, layer in zip(used, net.layers, strict=True)]
    return jnp.stack(terms).sum()


def likelihood_loss(
    net: Gaussian, x: jax.Array, y: jax.Array, decay: tuple[float, ...], bound_weight: Scalar
) -> tuple[jax.Array, Metrics]:
    """Negative log-likelihood of own rows of each member, with weight decay and a pull on the bounds.

    The likelihood is a mean over rows and outputs and a sum over members, without constants.

    Args:
        net: the ensemble.
        x: scaled inputs [E, B, d + A].
        y: change of the observation and reward [E, B, d + 1].
        decay: coefficients of `weight_decay`.
        bound_weight: weight of the distance of the two bounds of the log-variance.
    """
    mean, log_var = net(x, apart=True)
    error = jnp.square(mean - y)
    likelihood = (error * jnp.exp(-log_var)).mean((1, 2)) + log_var.mean((1, 2))
    bounds = bound_weight * (net.max_log_var.sum() - net.min_log_var.sum())
    loss = likelihood.sum() + weight_decay(net.nets, decay) + bounds
    return loss, {"error": error.mean(), "log_variance": log_var.mean()}


def squared_loss(
    net: Deterministic, x: jax.Array, y: jax.Array, rows: jax.Array, reward: jax.Array
) -> tuple[jax.Array, Metrics]:
    """Squared error of the scaled change y [E, B, d], and of the reward [E, B] given `rows` [E, B, 2 d + A]."""
    made = jax.vmap(lambda net, x: net(x))(net.nets, x)
    error = jnp.square(made - y).mean((1, 2))
    of_reward = jnp.square(net.reward(rows)[..., 0] - reward).mean()
    return error.sum() + of_reward, {"error": error.mean(), "reward_error": of_reward}


def ending_loss(net: MLP, rows: jax.Array, ended: jax.Array) -> tuple[jax.Array, Metrics]:
    """Cross-entropy of true ends `ended` [B] given (observation, action, next observation) `rows` [B, 2 d + A]."""
    logit = net(rows)[..., 0]
    return (jax.nn.softplus(logit) - ended * logit).mean(), {}
