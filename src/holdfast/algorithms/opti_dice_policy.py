"""The policies of OptiDICE: the one that learns, the one that clones the data, and their losses.

Information projection: E_{a ~ pi} [log pi(a|s) - log pi_D(a|s) - log w_E(s, a)], which is the divergence of pi from the
policy w_E pi_D up to a constant. Weighted cloning: -E_D [w_E(s, a) log pi(a|s)].
Discrete actions are summed over with their probabilities; illegal ones are left out.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from ..core.noise import Noise
from ..core.spec import Batch, Obs, Scalar, Spec
from ..core.trained import Metrics
from ..core.tree import PyTree, field
from ..parts import initialisers, nets
from ..parts.density_ratios import log_ratio, ratio
from ..parts.distributions import Categorical, TanhNormal, normal_log_prob
from ..parts.mixtures import MixturePolicy, TanhMixture, mixture_policy

BOUND, LOW, HIGH = 7.24, -5.0, 2.0  # of means and log deviations, authors' code


class Heads(nets.Policy):
    """A tanh Gaussian whose mean before tanh is clipped to +-BOUND, its log deviation to [LOW, HIGH]."""

    def __call__(self, obs: Obs, keep: tuple[jax.Array, ...] = ()) -> TanhNormal:
        mean, log_std = jnp.split(self.net(obs, keep), 2, -1)
        return TanhNormal(jnp.clip(mean, -BOUND, BOUND), jnp.clip(log_std, LOW, HIGH), floor=1e-6)


DataPolicy = MixturePolicy | nets.CategoricalPolicy


class Sight(PyTree):
    """What the policy's loss reads of the other networks."""

    advantage: nets.Critic
    shift: jax.Array  # lambda of E, scaled
    alpha: Scalar
    kind: str = field(static=True)  # the divergence
    extraction: str = field(static=True)  # projection or cloning
    data_policy: DataPolicy

    def scaled(self, advantage: jax.Array) -> jax.Array:
        """(E - lambda) / alpha, entry by entry."""
        return (advantage - self.shift) / self.alpha


def actor_of(spec: Spec, hidden: tuple[int, ...], noise: Noise) -> nets.Policy:
    """The policy with random weights: a tanh Gaussian, or a categorical one if actions are discrete."""
    how: nets.Layers = {"init": initialisers.xavier(), "last": initialisers.uniform_init(1e-3, 1e-3)}
    if spec.discrete:
        return nets.categorical_policy(noise, spec, hidden, **how)
    return Heads(nets.network(noise, spec, hidden, 2 * spec.action, role="actor", **how))


def data_policy_of(spec: Spec, hidden: tuple[int, ...], components: int, noise: Noise) -> DataPolicy:
    """The policy that clones the data: a tanh mixture of Gaussians, or a categorical one if actions are discrete."""
    init = initialisers.xavier()
    if spec.discrete:
        return nets.categorical_policy(noise, spec, hidden, init=init)
    return mixture_policy(noise, spec, hidden, components, bound=BOUND, low=LOW, high=HIGH, init=init)


def cloning_loss(policy: DataPolicy, batch: Batch) -> tuple[jax.Array, Metrics]:
    """Minus the mean log-likelihood of the logged actions."""
    return -_legal(policy, batch).log_prob(batch.action).mean(), {}


def actor_loss(
    actor: nets.Policy, sight: Sight, coefficient: jax.Array, batch: Batch, eps: jax.Array | None
) -> tuple[jax.Array, Metrics]:
    """The loss of the policy, minus `coefficient` times its entropy.

    Args:
        actor: the policy.
        sight: the other networks.
        coefficient: weight of the entropy.
        batch: the rows.
        eps: standard normals [B, A] of one action for each row; None: actions are discrete.
    """
    found = _legal(actor, batch)
    cloned = _legal(sight.data_policy, batch)
    if eps is None:
        kl, gain, entropy = _summed(found, cloned, sight, batch)
    else:
        action, log_density = found.sample_and_log_prob(eps)
        u = found.mean + jnp.exp(found.log_std) * eps
        kl = normal_log_prob(u, found.mean, found.log_std).sum(-1) - cloned.log_prob_before_tanh(u)
        gain = log_ratio(sight.kind, sight.scaled(sight.advantage(batch.obs, action)[0]))
        entropy = -log_density
    loss = (kl - gain).mean()
    if sight.extraction == "cloning":
        weight = ratio(sight.kind, sight.scaled(sight.advantage(batch.obs, batch.action)[0]))
        loss = -(weight * found.log_prob(batch.action)).mean()
    return loss - coefficient * entropy.mean(), {"entropy": entropy.mean(), "kl": kl.mean()}


def temperature_loss(log_coefficient: jax.Array, entropy: jax.Array, goal: Scalar) -> tuple[jax.Array, Metrics]:
    """Raises the coefficient while the mean entropy is below `goal`."""
    return log_coefficient * (entropy - goal), {"coefficient": jnp.exp(log_coefficient)}


def _legal(policy: nets.Policy | MixturePolicy, batch: Batch) -> Any:
    """The distribution at the rows, over legal actions."""
    found: Any = policy(batch.obs)
    return found if isinstance(found, TanhMixture) else found.among(batch.mask)


def _summed(
    found: Categorical, cloned: Categorical, sight: Sight, batch: Batch
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Divergence from the data policy, mean of log w, and entropy, each [B], with exact sums over actions."""
    log_prob, behind = (jnp.maximum(one.log_probs(), -1e9) for one in (found, cloned))  # -inf where illegal
    share = jnp.exp(log_prob)
    gain = log_ratio(sight.kind, sight.scaled(sight.advantage.all(batch.obs)[0]))
    return (share * (log_prob - behind)).sum(-1), (share * gain).sum(-1), -(share * log_prob).sum(-1)
