"""The conservative penalty of CQL and Cal-QL: candidate actions, their values, and the dual variable of the penalty."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import optax

from ..core.noise import Noise
from ..core.spec import Batch, Scalar
from ..core.trained import Metrics, Trained
from .distributions import Distribution
from .nets import Critic


def candidates(
    n: int, policy: Distribution, next_policy: Distribution, batch: Batch, noise: Noise
) -> tuple[jax.Array, jax.Array]:
    """Actions that represent the maximising distribution mu, and their log-densities: [3 n, B, A] and [3 n, B].

    The first n of each row are uniform, the next n come from the policy at s', the last n from the policy at s.

    Args:
        n: actions of each kind per row.
        policy: the policy at `batch.obs`.
        next_policy: the policy at `batch.next_obs`.
        batch: the rows.
        noise: draws "random_action", "cql_next_action" and "cql_current_action".
    """
    shape = (n, *batch.action.shape)
    uniform = 2 * noise.uniform("random_action", shape) - 1
    uniform_density = jnp.full(shape[:2], -shape[2] * math.log(2))
    following, following_density = next_policy.repeat(n).sample_and_log_prob(noise.normal("cql_next_action", shape))
    current, current_density = policy.repeat(n).sample_and_log_prob(noise.normal("cql_current_action", shape))
    action = jnp.concatenate([uniform, following, current])
    return action, jnp.concatenate([uniform_density, following_density, current_density])


def values(critic: Critic, batch: Batch, action: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Q at the logged actions, [E, B], and at the candidates `action` [K, B, A], all at s, [E, K, B].

    Both come from one call on [(1 + K) B] rows.
    """
    action = jnp.concatenate([batch.action[None], action])
    obs = jnp.broadcast_to(batch.obs, (len(action), *batch.obs.shape))
    q = critic(obs.reshape(-1, obs.shape[-1]), action.reshape(-1, action.shape[-1]))
    q = q.reshape(len(q), *action.shape[:2])
    return q[:, 0], q[:, 1:]


def soft_maximum(q: jax.Array, temperature: Scalar) -> jax.Array:
    """T log sum exp(q / T) over axis 1: q [E, K, B] to [E, B]."""
    return temperature * jax.nn.logsumexp(q / temperature, 1)


def penalty(difference: jax.Array, alpha: Scalar, gap: Scalar, dual: Scalar, learned: bool) -> jax.Array:
    """What each critic pays, [E]: alpha difference, or dual (alpha difference - gap) if the weight is learned."""
    return dual * (alpha * difference - gap) if learned else alpha * difference


def dual_loss(log_dual: jax.Array, difference: jax.Array, alpha: Scalar, gap: Scalar) -> tuple[jax.Array, Metrics]:
    """Gradient ascent on the dual variable; `difference` is averaged over the critics, []."""
    dual = dual_weight(log_dual)
    return -penalty(difference, alpha, gap, dual, True), {"value": dual}


def dual_weight(log_dual: jax.Array) -> jax.Array:
    """The dual variable from its logarithm, at most 1e6."""
    return jnp.clip(jnp.exp(log_dual), 0, 1e6)


def dual_step(
    dual: Trained, tx: optax.GradientTransformation, difference: jax.Array, alpha: Scalar, gap: Scalar, learned: bool
) -> tuple[Trained, Metrics]:
    """One step on the dual variable if the weight is `learned`, else the variable unchanged and no metrics."""
    if not learned:
        return dual, {}
    return dual.step(tx, dual_loss, difference, alpha, gap, name="dual")
