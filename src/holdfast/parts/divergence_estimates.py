"""Estimates of BRAC's divergence: with a cloned behaviour policy (primal), or with a discriminator (dual).

Wu, Tucker, Nachum 2019 (arXiv:1911.11361), as in their code.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax

from ..core.noise import Noise
from ..core.spec import Batch, Scalar, Spec
from ..core.trained import Metrics, Trained
from . import nets
from .distributions import Distribution, TanhNormal
from .divergences import mmd_squared


class BoundedPolicy(nets.Policy):
    """A squashed normal with log standard deviation -5 + 2.5 (tanh(x) + 1); the network has 2A outputs, mean and x.

    Given actions are kept 1e-3 from the bounds.
    """

    def __call__(self, obs: jax.Array, keep: tuple[jax.Array, ...] = ()) -> TanhNormal:
        mean, x = jnp.split(self.net(obs, keep), 2, -1)
        return TanhNormal(mean, -5 + 2.5 * (jnp.tanh(x) + 1), 1e-3)


def bounded_policy(noise: Noise, spec: Spec, hidden: tuple[int, ...]) -> BoundedPolicy:
    """A new `BoundedPolicy` for the actions of `spec`."""
    return BoundedPolicy(nets.network(noise, spec, hidden, 2 * spec.action, role="actor"))


def cloning_loss(policy: nets.Policy, batch: Batch, weight: Scalar, eps: jax.Array) -> tuple[jax.Array, Metrics]:
    """Minus the likelihood of the logged actions, minus `weight` times the entropy (one sample a row, eps [B, A])."""
    dist = policy(batch.obs)
    likelihood = dist.log_prob(batch.action).mean()
    entropy = -dist.sample_and_log_prob(eps)[1].mean()
    return -likelihood - weight * entropy, {"log_prob": likelihood, "entropy": entropy}


def dual_estimate(of_policy: jax.Array, of_data: jax.Array, kind: str) -> jax.Array:
    """A lower bound on a divergence of the policy from the data, entry by entry, from a discriminator's outputs c.

    "kl_dual": log softplus(c(pi)) + 1 - softplus(c(data)), whose best c has softplus(c) = pi / b; "wasserstein":
    c(pi) - c(data), for c of slope at most 1.
    """
    if kind == "wasserstein":
        return of_policy - of_data
    return jnp.log(jax.nn.softplus(of_policy) + 1e-8) - jax.nn.softplus(of_data) + 1


def divergence(
    kind: tuple[str, Scalar],
    reference: nets.Policy | nets.Critic,
    dist: Distribution,
    obs: jax.Array,
    action: jax.Array,
    logged: jax.Array | None,
    draws: tuple[jax.Array, ...],
) -> jax.Array:
    """D(policy, behaviour) at each state, [B].

    Args:
        kind: kl, mmd, kl_dual or wasserstein, and the width of the kernel of mmd.
        reference: for kl and mmd the behaviour policy, else the discriminator.
        dist: the policy's distribution at `obs`.
        obs: [B, d].
        action: the policy's [B, A], for the dual estimates.
        logged: [B, A], for the dual estimates.
        draws: normals [n, B, A] of the policy and, for mmd, of the behaviour policy.
    """
    name, sigma = kind
    if isinstance(reference, nets.Critic):
        assert logged is not None
        return dual_estimate(reference(obs, action)[0], reference(obs, logged)[0], name)
    policy, behaviour = (each.repeat(len(draws[0])) for each in (dist, reference(obs)))
    if name == "mmd":  # kernel exp(-|x - y|_1 / sigma), without a root
        return mmd_squared(policy.sample(draws[0]), behaviour.sample(draws[1]), "laplacian", sigma / 2)
    actions, log_prob = policy.sample_and_log_prob(draws[0])
    return (log_prob - behaviour.log_prob(actions)).mean(0)


def discriminator_loss(
    net: nets.Critic, obs: jax.Array, action: jax.Array, logged: jax.Array, at: jax.Array, weight: Scalar, kind: str
) -> tuple[jax.Array, Metrics]:
    """Minus the mean dual estimate, plus `weight` times the squared excess of the slope in the action over 1.

    Args:
        net: the discriminator c(s, a), an ensemble with one member.
        obs: [B, d].
        action: the policy's, [B, A].
        logged: [B, A].
        at: in [0, 1), [B]: where between the two actions the slope is taken.
        weight: factor of the gradient penalty.
        kind: kl_dual or wasserstein.
    """
    estimate = dual_estimate(net(obs, action)[0], net(obs, logged)[0], kind).mean()
    between = action + at[:, None] * (logged - action)
    slope = jnp.sqrt(1e-8 + jnp.square(jax.grad(lambda a: net(obs, a).sum())(between)).sum(-1))
    return weight * jnp.square(jax.nn.relu(slope - 1)).mean() - estimate, {"estimate": estimate, "slope": slope.mean()}


def weight_loss(weight: jax.Array, excess: jax.Array) -> tuple[jax.Array, Metrics]:
    """Raises a weight (itself, not its logarithm) while `excess` is positive."""
    return -(weight * excess).mean(), {"value": weight}


def learn_weight(
    weight: Trained, tx: optax.GradientTransformation, excess: jax.Array, most: float, name: str
) -> tuple[Trained, Metrics]:
    """One dual step, projected on [0, most]; excess [B] of what the weight multiplies over its goal."""
    weight, metrics = weight.step(tx, weight_loss, excess, name=name)
    return weight.replace(jnp.clip(weight.net, 0, most)), metrics
