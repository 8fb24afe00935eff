"""A tanh mixture of Gaussians, as a policy that clones data with several peaks.

Shapes: K components, A action dimensions; log-densities are summed over A to [...].
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from ..core.noise import Noise
from ..core.spec import Obs, Spec
from ..core.tree import PyTree, field
from .distributions import normal_log_prob, squash_correction
from .initialisers import Initialiser, groups, uniform_init, xavier
from .nets import Network, network

EDGE = 1e-6  # given actions are clipped to +-(1 - EDGE) before atanh


class TanhMixture(PyTree):
    """tanh of a mixture of diagonal normals."""

    logits: jax.Array  # [..., K]
    mean: jax.Array  # [..., K, A]
    log_std: jax.Array  # [..., K, A]

    def log_prob_before_tanh(self, u: jax.Array) -> jax.Array:
        """Log-density of the mixture of normals at `u` [..., A]: [...]."""
        each = normal_log_prob(u[..., None, :], self.mean, self.log_std).sum(-1)
        return jax.nn.logsumexp(jax.nn.log_softmax(self.logits, -1) + each, -1)

    def log_prob(self, action: jax.Array) -> jax.Array:
        """Log-density of `action` [..., A]: [...]."""
        u = jnp.arctanh(jnp.clip(action, -1 + EDGE, 1 - EDGE))
        return self.log_prob_before_tanh(u) - squash_correction(u).sum(-1)


class MixturePolicy(PyTree):
    """Maps observations [..., d] to a `TanhMixture`. Means are clipped to +-`bound`, log deviations to [low, high]."""

    net: Network
    components: int = field(static=True)
    bound: float = field(static=True)
    low: float = field(static=True)
    high: float = field(static=True)

    def __call__(self, obs: Obs) -> TanhMixture:
        out = self.net(obs)
        k = self.components
        logits, rest = out[..., :k], out[..., k:]
        mean, log_std = (x.reshape(*x.shape[:-1], k, -1) for x in jnp.split(rest, 2, -1))
        return TanhMixture(logits, jnp.clip(mean, -self.bound, self.bound), jnp.clip(log_std, self.low, self.high))


def mixture_policy(
    noise: Noise,
    spec: Spec,
    hidden: tuple[int, ...],
    components: int,
    *,
    bound: float,
    low: float,
    high: float,
    init: Initialiser,
) -> MixturePolicy:
    """A mixture policy with random weights; logits and means begin as `xavier` does, deviations near 1."""
    dims = components * spec.action
    last = groups((xavier(), components), (xavier(), dims), (uniform_init(1e-3, 1e-3), dims))
    net = network(noise, spec, hidden, components + 2 * dims, role="actor", init=init, last=last)
    return MixturePolicy(net, components, bound, low, high)
