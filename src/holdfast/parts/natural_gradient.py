"""The natural policy gradient (Kakade 2001; Rajeswaran et al. 2017, arXiv:1703.02660) and the estimates it needs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp

from ..core.spec import Scalar
from .nets import GaussianPolicy

T = TypeVar("T")


def gae(reward: jax.Array, value: jax.Array, alive: jax.Array, discount: Scalar, trace: Scalar) -> jax.Array:
    """Generalised advantages of paths, [T, n].

    The value after the last step of a path is taken to be the value of its last state, as in mjrl.

    Args:
        reward: [T, n].
        value: V of the state before each step, [T, n].
        alive: booleans [T, n]: which steps a path has.
        discount: gamma.
        trace: lambda.
    """
    onward = jnp.concatenate([alive[1:], jnp.zeros_like(alive[:1])])
    following = jnp.where(onward, jnp.concatenate([value[1:], value[-1:]]), value)
    delta = reward + discount * following - value

    def back(after: jax.Array, step: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        error, more, here = step
        found = jnp.where(here, error + discount * trace * jnp.where(more, after, 0), 0)
        return found, found

    return jax.lax.scan(back, jnp.zeros_like(reward[0]), (delta, onward, alive), reverse=True)[1]


def discounted_sums(reward: jax.Array, alive: jax.Array, discount: Scalar) -> jax.Array:
    """Sums of discounted rewards to the end of each path, [T, n]."""

    def back(after: jax.Array, step: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        here, lives = step
        found = jnp.where(lives, here + discount * after, 0)
        return found, found

    return jax.lax.scan(back, jnp.zeros_like(reward[0]), (reward, alive), reverse=True)[1]


def whitened(x: jax.Array, alive: jax.Array) -> jax.Array:
    """x with mean 0 and deviation 1 over the steps that exist, 0 elsewhere."""
    count = jnp.maximum(alive.sum(), 1)
    mean = jnp.where(alive, x, 0).sum() / count
    spread = jnp.sqrt(jnp.where(alive, jnp.square(x - mean), 0).sum() / count)
    return jnp.where(alive, (x - mean) / (spread + 1e-6), 0)


def conjugate_gradient(product: Callable[[T], T], b: T, steps: int) -> T:
    """x with product(x) = b for a positive definite product, after so many steps from 0."""

    def dot(a: T, b: T) -> jax.Array:
        return sum(jax.tree.leaves(jax.tree.map(jnp.vdot, a, b)), jnp.zeros(()))

    def axpy(scale: jax.Array, a: T, b: T) -> T:
        return jax.tree.map(lambda x, y: scale * x + y, a, b)

    def one(_: int, carry: tuple[T, T, T, jax.Array]) -> tuple[T, T, T, jax.Array]:
        x, residual, direction, size = carry
        moved = product(direction)
        rate = size / (dot(direction, moved) + 1e-30)
        x = axpy(rate, direction, x)
        residual = axpy(-rate, moved, residual)
        new = dot(residual, residual)
        return x, residual, axpy(new / (size + 1e-30), direction, residual), new

    zero = jax.tree.map(jnp.zeros_like, b)
    return jax.lax.fori_loop(0, steps, one, (zero, b, b, dot(b, b)))[0]


def natural_step(
    policy: GaussianPolicy,
    obs: jax.Array,
    action: jax.Array,
    advantage: jax.Array,
    alive: jax.Array,
    delta: Scalar,
    damping: Scalar,
    steps: int,
) -> tuple[GaussianPolicy, jax.Array]:
    """One step along F^-1 g, of length sqrt(delta / g F^-1 g): its divergence from the old policy is about delta / 2.

    Args:
        policy: the policy.
        obs: [n, d].
        action: [n, A], as they were drawn.
        advantage: [n].
        alive: [n] which rows exist.
        delta: normalised size of the step.
        damping: added to the diagonal of the Fisher matrix.
        steps: number of steps of the conjugate gradient.

    Returns:
        The new policy, and the expected gain g F^-1 g.
    """
    weight = alive / jnp.maximum(alive.sum(), 1)
    old = policy(obs)

    def surrogate(policy: GaussianPolicy) -> jax.Array:
        ratio = jnp.exp(policy(obs).log_prob(action) - jax.lax.stop_gradient(old.log_prob(action)))
        return (weight * ratio * advantage).sum()

    def divergence(policy: GaussianPolicy) -> jax.Array:
        new = policy(obs)
        spread = jnp.exp(2 * (old.log_std - new.log_std)) + jnp.square((old.mean - new.mean) * jnp.exp(-new.log_std))
        return (weight * (new.log_std - old.log_std + 0.5 * spread - 0.5).sum(-1)).sum()

    slope = jax.grad(surrogate)(policy)

    def fisher(vector: GaussianPolicy) -> GaussianPolicy:
        def along(policy: GaussianPolicy) -> jax.Array:
            found = jax.grad(divergence)(policy)
            return sum(jax.tree.leaves(jax.tree.map(jnp.vdot, found, vector)), jnp.zeros(()))

        return jax.tree.map(lambda h, v: h + damping * v, jax.grad(along)(policy), vector)

    direction = conjugate_gradient(fisher, slope, steps)
    gain = sum(jax.tree.leaves(jax.tree.map(jnp.vdot, slope, direction)), jnp.zeros(()))
    rate = jnp.sqrt(jnp.abs(delta / (gain + 1e-10)))
    return jax.tree.map(lambda w, x: w + rate * x, policy, direction), gain
