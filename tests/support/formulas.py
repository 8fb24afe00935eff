"""What the tests against numbers worked by hand share: arrays, comparison, and networks of given weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from holdfast.algorithms import td3
from holdfast.core.noise import Noise
from holdfast.core.spec import Batch
from holdfast.core.trained import Trained
from holdfast.core.tree import PyTree
from holdfast.parts import layers, nets
from holdfast.parts import vae as vaes
from holdfast.parts.action_values import ActionValues
from holdfast.parts.distributions import Normal

NOISE = Noise(np.array([0, 7], np.uint32))


def array(*values: Any) -> jax.Array:
    """Floats of the width in force."""
    return jnp.asarray(values, float)


def same(found: Any, wanted: Any, rtol: float = 1e-12, atol: float = 1e-13) -> None:
    """Equal shapes and, to rounding, equal numbers."""
    assert np.shape(found) == np.shape(wanted)
    np.testing.assert_allclose(found, wanted, rtol=rtol, atol=atol)


def mlp(*pairs: tuple[Any, Any], **how: Any) -> layers.MLP:
    """A network of given (weight [in, out], bias [out]) pairs."""
    return layers.MLP(tuple(layers.Linear(jnp.asarray(w, float), jnp.asarray(b, float)) for w, b in pairs), (), **how)


def linear(*rows: Any) -> layers.MLP:
    """One layer, output row . x, no bias."""
    return mlp((np.asarray(rows, float).T, np.zeros(len(rows))))


def stack(*trees: Any) -> Any:
    """An ensemble of them."""
    return jax.tree.map(lambda *x: jnp.stack(x), *trees)


def critics(*rows: Any) -> nets.Critic:
    """Critics Q_i(s, a) = row . (s, a)."""
    return nets.Critic(stack(*(linear(row) for row in rows)))


def batch(**columns: Any) -> Batch:
    """Two rows with one observation and two actions, unless given otherwise."""
    usual = {
        "obs": array([1], [2]),
        "action": array([0.5, 0], [0, -1]),
        "reward": array(1, 2),
        "next_obs": array([3], [4]),
        "terminated": array(0, 1),
        "truncated": array(0, 0),
    }
    return Batch(**usual | columns)


def near(found: Any, wanted: Any, **how: Any) -> None:
    """Equal to the rounding of float32; `wanted` may be one number for all."""
    np.testing.assert_allclose(found, wanted, **{"rtol": 1e-5, "atol": 1e-6, **how})


def constant_values(q: Any) -> ActionValues:
    """Action values [A, K] that are the same at every observation of three dimensions."""
    q = jnp.asarray(q, jnp.float32)
    net = layers.MLP((layers.Linear(jnp.zeros((3, q.size)), q.reshape(-1)),), ())
    return ActionValues(net, q.shape[1])


def discrete_batch(n: int = 2, **columns: Any) -> Batch:
    """`n` rows with three observations and action 0, unless given otherwise."""
    usual = {
        "obs": jnp.zeros((n, 3)),
        "action": jnp.zeros(n, int),
        "reward": jnp.ones(n),
        "next_obs": jnp.zeros((n, 3)),
        "terminated": jnp.zeros(n),
        "truncated": jnp.zeros(n),
    }
    return Batch(**usual | columns)


def row(obs: float = 1.0, action: float = 0.5, reward: float = 2.0, terminated: float = 0.0, **extra: float) -> Batch:
    """One row with one observation and one action; the next observation is 3."""
    fields = (array([obs]), array([action]), array(reward), array([3.0]), array(terminated), array(0))
    return Batch(*fields, extra={name: array(value) for name, value in extra.items()})


def normal_density(x: float, mean: float = 0.0, std: float = 1.0) -> float:
    """The log-density of a normal."""
    return -0.5 * ((x - mean) / std) ** 2 - math.log(std) - 0.5 * math.log(2 * math.pi)


class Flat(nets.Policy):
    """A policy of one action: a normal with mean 0 and deviation 1/2 in every state."""

    def __call__(self, obs: jax.Array, keep: tuple[jax.Array, ...] = ()) -> Normal:
        shape = (*obs.shape[:-1], 1)
        return Normal(jnp.zeros(shape), jnp.full(shape, math.log(0.5)))


def rows(obs: Any, action: Any, reward: Any = None, terminated: Any = None, **more: Any) -> Batch:
    """Rows whose next observation is the observation; rewards and terminations are 0 unless given."""
    zeros = jnp.zeros(len(obs))
    reward = zeros if reward is None else reward
    terminated = zeros if terminated is None else terminated
    return Batch(obs, action, reward, obs, terminated, zeros, **more)


def flat_critic(*offsets: float) -> nets.Critic:
    """Critics Q_j(s, a) = a + offset_j, for two observations and one action."""
    return nets.Critic(stack(*(mlp(([[0.0], [0.0], [1.0]], [b])) for b in offsets)))


def flat_vae(bias: float = 0.0) -> vaes.VAE:
    """An encoder to the standard normal and a decoder to tanh(bias); two observations, one action, two latents."""
    return vaes.VAE(mlp((np.zeros((3, 4)), np.zeros(4))), mlp((np.zeros((4, 1)), [bias])))


def with_and_without_jit(function: Callable[..., Any], *args: Any) -> Any:
    """The value of `function`, which must be the same compiled and not."""
    plain = function(*args)
    compiled = jax.jit(function)(*args)
    for a, b in zip(jax.tree.leaves(plain), jax.tree.leaves(compiled), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)
    return compiled


HAND = [([[1, -1], [2, 0]], [0, 1]), ([[1], [3]], [0.5])]


def transitions(reward: Any, terminated: Any, truncated: Any, **extra: Any) -> Batch:
    """Rows of given rewards and ends, with derived columns; observations and actions are zeros."""
    none = jnp.zeros((len(reward), 1))
    return Batch(none, none, array(*reward), none, array(*terminated), array(*truncated), extra=extra)


def actors(
    module: ModuleType, rows: Any = ((0.1,), (-0.2,)), target: Any = ((0.3,), (0.1,)), many: int = 2
) -> td3.State:
    """A state of TD3 or a method with its state, with linear networks: pi(s) = tanh(row . s), `many` critics."""
    cfg = module.algorithm.Config()
    critic = critics([1, 1, 2], [2, -1, 1])
    slow = critics([1, 0, 1], [0.5, 1, 0])
    tx = module.optimisers_of(cfg)

    def cut(net: nets.Critic) -> nets.Critic:
        return jax.tree.map(lambda x: x[:many], net)

    return td3.State(
        Trained.new(nets.DeterministicPolicy(linear(*rows)), tx.actor),
        Trained.new(cut(critic), tx.critic),
        nets.DeterministicPolicy(linear(*target)),
        cut(slow),
    )


def identical(a: Any, b: Any) -> bool:
    """Whether all leaves of two trees are equal to the last bit."""
    return all(np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


class Fixed(PyTree):
    """A policy that always takes one action, with log-density -0.5."""

    action: jax.Array

    def __call__(self, obs: jax.Array) -> Fixed:
        return self

    def sample_and_log_prob(self, eps: jax.Array) -> tuple[jax.Array, jax.Array]:
        return jnp.broadcast_to(self.action, eps.shape), jnp.full(len(eps), -0.5)
