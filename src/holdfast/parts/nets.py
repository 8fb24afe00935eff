"""The networks of algorithms: critics, values and policies over rows [..., in], whatever leading axes the data has.

An ensemble is one network whose leaves have a leading axis [E], built and run by `vmap`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from ..core.noise import Noise
from ..core.spec import Spec
from ..core.tree import PyTree, field
from .distributions import Categorical, Deterministic, Distribution, Normal, TanhNormal, take
from .initialisers import torch_uniform
from .layers import MLP, LayerNorm, joint, members


def mlp(
    noise: Noise,
    sizes: tuple[int, ...],
    *,
    activation: str = "relu",
    norm: str = "none",
    eps: float = 1e-6,
    init: Callable = torch_uniform,
    last: Callable | None = None,
) -> MLP:
    """An MLP over `sizes` = (in, hidden ..., out); `last` initialises the output layer, where it differs."""
    pairs = list(itertools.pairwise(sizes))
    makers = [init] * (len(pairs) - 1) + [last or init]
    layers = tuple(make(noise.fold(i), a, b) for i, (make, (a, b)) in enumerate(zip(makers, pairs, strict=True)))
    normed = {"none": (), "first": sizes[1:-1][:1]}.get(norm, sizes[1:-1])
    norms = tuple(LayerNorm(jnp.ones(n), jnp.zeros(n), eps) for n in normed)
    return MLP(layers, norms, activation, norm)


def ensemble(make: Callable[[Noise], Any], noise: Noise, n: int) -> Any:
    """`n` networks initialised each by its own draw, leaves [n, ...]."""
    return jax.vmap(lambda i: make(noise.fold(i)))(jnp.arange(n))


class Critic(PyTree):
    """An ensemble of E action values.

    Continuous: networks of (observation, action). Discrete: networks of the observation with one output an action.
    """

    nets: MLP  # leaves [E, ...]
    discrete: bool = field(static=True, default=False)

    def __call__(self, obs: jax.Array, action: jax.Array, keep: tuple[jax.Array, ...] = ()) -> jax.Array:
        """Q(s, a): obs [..., d] and action [..., A] (or [...] integers) to [E, ...].

        Continuous actions may have more leading axes than the observations, see `joint`; `keep` [E, ..., width] as
        made by `dropout`.
        """
        if self.discrete:
            return jax.vmap(take, (0, None))(self.all(obs), action)
        return jax.vmap(lambda net, keep: joint(net, obs, action, keep))(self.nets, keep)[..., 0]

    def all(self, obs: jax.Array) -> jax.Array:
        """Q(s, .) of a discrete critic: [..., d] to [E, ..., A]."""
        return members(self.nets, obs)


def first(nets: Any) -> Any:
    """The first network of an ensemble, still with its axis [1, ...]."""
    return jax.tree.map(lambda x: x[:1], nets)


def critic(noise: Noise, spec: Spec, hidden: tuple[int, ...], n: int = 2, **how: Any) -> Critic:
    """`n` independent critics for the action space of `spec`."""
    (d,) = spec.obs
    sizes = (d, *hidden, spec.action) if spec.discrete else (d + spec.action, *hidden, 1)
    return Critic(ensemble(lambda k: mlp(k, sizes, **how), noise, n), spec.discrete)


class Value(PyTree):
    """A state value."""

    net: MLP

    def __call__(self, obs: jax.Array) -> jax.Array:
        """V(s): [..., d] to [...]."""
        return self.net(obs)[..., 0]


def value(noise: Noise, spec: Spec, hidden: tuple[int, ...], **how: Any) -> Value:
    """A state value network."""
    return Value(mlp(noise, (*spec.obs, *hidden, 1), **how))


class Policy(PyTree):
    """obs [..., d] to a distribution over actions; `keep` as made by `dropout`."""

    net: MLP

    def __call__(self, obs: jax.Array, keep: tuple[jax.Array, ...] = ()) -> Distribution:
        raise TypeError("Policy is abstract")


class DeterministicPolicy(Policy):
    """tanh of an MLP."""

    def __call__(self, obs: jax.Array, keep: tuple[jax.Array, ...] = ()) -> Deterministic:
        return Deterministic(jnp.tanh(self.net(obs, keep)))


class CategoricalPolicy(Policy):
    """Logits from an MLP."""

    def __call__(self, obs: jax.Array, keep: tuple[jax.Array, ...] = ()) -> Categorical:
        return Categorical(self.net(obs, keep))


class GaussianPolicy(Policy):
    """A Gaussian whose log standard deviation is a parameter of its own, the same for every state.

    `squash` "mean": a plain normal around tanh(MLP), as in IQL; "none": around the MLP itself, as in AWAC;
    "tanh": tanh of the normal.
    """

    log_std: jax.Array  # [A]
    low: float = field(static=True, default=-5.0)
    high: float = field(static=True, default=2.0)
    squash: str = field(static=True, default="mean")

    def __call__(self, obs: jax.Array, keep: tuple[jax.Array, ...] = ()) -> Distribution:
        mean = self.net(obs, keep)
        log_std = jnp.broadcast_to(jnp.clip(self.log_std, self.low, self.high), mean.shape)
        return _gaussian(mean, log_std, self.squash)


class GaussianHeadsPolicy(Policy):
    """A Gaussian with mean and log standard deviation (clipped to [low, high]) from the network's 2A outputs."""

    low: float = field(static=True, default=-20.0)
    high: float = field(static=True, default=2.0)
    squash: str = field(static=True, default="tanh")
    edge: float = field(static=True, default=1e-6)
    floor: float = field(static=True, default=0.0)

    def __call__(self, obs: jax.Array, keep: tuple[jax.Array, ...] = ()) -> Distribution:
        mean, log_std = jnp.split(self.net(obs, keep), 2, -1)
        return _gaussian(mean, jnp.clip(log_std, self.low, self.high), self.squash, self.edge, self.floor)


class SigmoidGaussianPolicy(Policy):
    """A normal around tanh(MLP); the log standard deviation, the same for every state, is -5 + 5 sigmoid(parameter)."""

    parameter: jax.Array  # [A]

    def __call__(self, obs: jax.Array, keep: tuple[jax.Array, ...] = ()) -> Normal:
        mean = jnp.tanh(self.net(obs, keep))
        return Normal(mean, jnp.broadcast_to(-5 + 5 * jax.nn.sigmoid(self.parameter), mean.shape))


def _gaussian(mean: jax.Array, log_std: jax.Array, squash: str, edge: float = 1e-6, floor: float = 0.0) -> Distribution:
    if squash == "tanh":
        return TanhNormal(mean, log_std, edge, floor)
    return Normal(jnp.tanh(mean) if squash == "mean" else mean, log_std)


def policy(noise: Noise, spec: Spec, hidden: tuple[int, ...], kind: str, **how: Any) -> Policy:
    """A policy for the action space of `spec`; `kind` is what a continuous one is: deterministic, gaussian or heads.

    Discrete action spaces get logits whatever the kind. `low`, `high`, `squash`, `edge` and `floor` go to the Gaussian
    kinds.
    """
    extra = {k: how.pop(k) for k in ("low", "high", "squash", "edge", "floor") if k in how}
    outputs = spec.action * (2 if kind == "heads" and not spec.discrete else 1)
    net = mlp(noise, (*spec.obs, *hidden, outputs), **how)
    if spec.discrete:
        return CategoricalPolicy(net)
    if kind == "deterministic":
        return DeterministicPolicy(net)
    if kind == "heads":
        return GaussianHeadsPolicy(net, **extra)
    return GaussianPolicy(net, jnp.zeros(spec.action), **extra)
