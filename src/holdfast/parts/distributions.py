"""Action distributions. They draw no noise: `sample` takes it, so that a test can replay recorded noise.

Shapes: leaves are [..., A] (A action dimensions, or A discrete actions); log-densities are summed over A to [...].
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from ..core.noise import Noise
from ..core.spec import Mode, Scalar
from ..core.tree import PyTree, field

LOG_2PI = math.log(2 * math.pi)


def normal_log_prob(x: jax.Array, mean: jax.Array, log_std: jax.Array) -> jax.Array:
    """Log-density of a normal, entry by entry."""
    return -0.5 * jnp.square((x - mean) * jnp.exp(-log_std)) - log_std - 0.5 * LOG_2PI


def squash_correction(u: jax.Array) -> jax.Array:
    """log(1 - tanh(u)^2), entry by entry, without the cancellation near saturation."""
    return 2 * (math.log(2) - u - jax.nn.softplus(-2 * u))


class Distribution(PyTree):
    """A distribution over actions. `draws` names the noise that a sample takes: none, normal or uniform."""

    draws = "none"

    def mode(self) -> jax.Array:
        """The most likely action: [..., A], or [...] if discrete."""
        raise self._lacks("mode")

    def sample(self, eps: jax.Array) -> jax.Array:
        """An action for the noise `eps`."""
        raise self._lacks("sample")

    def sample_and_log_prob(self, eps: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Actions for standard normals `eps`, and their log-density [...]."""
        raise self._lacks("density")

    def log_prob(self, action: jax.Array) -> jax.Array:
        """Log-density of `action`: [...]."""
        raise self._lacks("density")

    def log_prob_at(self, eps: jax.Array | float) -> jax.Array:
        """Log-density `eps` standard deviations from the mean: [...]."""
        raise self._lacks("density")

    def among(self, mask: jax.Array | None) -> Distribution:
        """The distribution restricted to legal actions; only discrete actions can be illegal."""
        return self

    def repeat(self, n: int) -> Distribution:
        """The distribution repeated along a new leading axis, for `n` draws per row: leaves [n, ...]."""
        return jax.tree.map(lambda x: jnp.broadcast_to(x, (n, *x.shape)), self)

    def _lacks(self, what: str) -> TypeError:
        return TypeError(f"a {type(self).__name__} distribution has no {what}")


class Deterministic(Distribution):
    """All mass on one action in [-1, 1]."""

    action: jax.Array

    def mode(self) -> jax.Array:
        return self.action

    def sample(self, eps: jax.Array | None = None) -> jax.Array:
        return self.action


class Normal(Distribution):
    """A diagonal normal over actions; samples are clipped to [-1, 1], densities are of the unclipped normal."""

    mean: jax.Array
    log_std: jax.Array
    draws = "normal"

    def mode(self) -> jax.Array:
        return jnp.clip(self.mean, -1, 1)

    def sample(self, eps: jax.Array) -> jax.Array:
        """Actions for standard normals `eps`, of the shape of the mean (or with more leading axes)."""
        return jnp.clip(self.mean + jnp.exp(self.log_std) * eps, -1, 1)

    def sample_and_log_prob(self, eps: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Actions and the normal's density at them, as clipped."""
        action = self.sample(eps)
        return action, self.log_prob(action)

    def log_prob_at(self, eps: jax.Array | float) -> jax.Array:
        """The density `eps` standard deviations from the mean, unclipped: eps [..., A] or a number; [...]."""
        return self.log_prob(self.mean + jnp.exp(self.log_std) * eps)

    def log_prob(self, action: jax.Array) -> jax.Array:
        return normal_log_prob(action, self.mean, self.log_std).sum(-1)

    def entropy(self) -> jax.Array:
        return (self.log_std + 0.5 * (1 + LOG_2PI)).sum(-1)


class TanhNormal(Distribution):
    """tanh of a diagonal normal: the squashed Gaussian of SAC.

    `edge` keeps atanh finite: given actions are clipped to +-(1 - edge) first. A `floor` above 0 makes the correction
    log(1 - tanh(u)^2 + floor), as many codes have it (1e-6); 0 is exact.
    """

    mean: jax.Array
    log_std: jax.Array
    edge: float = field(static=True, default=1e-6)
    floor: float = field(static=True, default=0.0)
    draws = "normal"

    def mode(self) -> jax.Array:
        return jnp.tanh(self.mean)

    def sample(self, eps: jax.Array) -> jax.Array:
        return jnp.tanh(self.mean + jnp.exp(self.log_std) * eps)

    def sample_and_log_prob(self, eps: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Actions and their log-density, computed from the value before tanh (no atanh of a rounded action)."""
        u = self.mean + jnp.exp(self.log_std) * eps
        return jnp.tanh(u), self._density(u)

    def log_prob_at(self, eps: jax.Array | float) -> jax.Array:
        """The density of the action `eps` standard deviations from the mean before tanh: eps [..., A] or a number."""
        return self._density(self.mean + jnp.exp(self.log_std) * eps)

    def log_prob(self, action: jax.Array) -> jax.Array:
        return self._density(jnp.arctanh(jnp.clip(action, -1 + self.edge, 1 - self.edge)))

    def _density(self, u: jax.Array) -> jax.Array:
        squash = jnp.log(1 - jnp.square(jnp.tanh(u)) + self.floor) if self.floor else squash_correction(u)
        return (normal_log_prob(u, self.mean, self.log_std) - squash).sum(-1)


def bounded_tanh_normal(out: jax.Array, low: Scalar, high: Scalar) -> TanhNormal:
    """The tanh of a normal from outputs [..., 2 A]: its mean, and its log deviation, which a tanh moves into bounds.

    Args:
        out: outputs of a network.
        low: lowest log deviation.
        high: highest log deviation.
    """
    mean, log_std = jnp.split(out, 2, -1)
    return TanhNormal(mean, low + (high - low) / 2 * (jnp.tanh(log_std) + 1))


class Categorical(Distribution):
    """Discrete actions by their logits [..., A]."""

    logits: jax.Array
    draws = "uniform"

    def mode(self) -> jax.Array:
        return jnp.argmax(self.logits, -1)

    def sample(self, uniform: jax.Array) -> jax.Array:
        """Actions by the Gumbel trick, for uniforms in [0, 1) of the shape of the logits."""
        tiny = jnp.finfo(uniform.dtype).tiny
        return jnp.argmax(self.logits - jnp.log(-jnp.log(uniform + tiny)), -1)

    def log_prob(self, action: jax.Array) -> jax.Array:
        return take(self.log_probs(), action)

    def log_probs(self) -> jax.Array:
        """Log-probability of every action: [..., A]."""
        return jax.nn.log_softmax(self.logits, -1)

    def entropy(self) -> jax.Array:
        logp = self.log_probs()
        return -jnp.where(jnp.isfinite(logp), jnp.exp(logp) * logp, 0).sum(-1)

    def among(self, mask: jax.Array | None) -> Categorical:
        """The distribution over the legal actions [..., A]; unchanged if no action is legal (after an end)."""
        if mask is None:
            return self
        return Categorical(jnp.where(mask | ~mask.any(-1, keepdims=True), self.logits, -jnp.inf))


def take(values: jax.Array, index: jax.Array) -> jax.Array:
    """`values[..., index]`: the entry of each row's own index, [..., A] and [...] to [...]."""
    return jnp.take_along_axis(values, index[..., None], -1)[..., 0]


def draw(dist: Distribution, noise: Noise, name: str) -> jax.Array:
    """One action per row, with the kind of noise that the distribution needs."""
    if dist.draws == "none":
        return dist.mode()
    leaf = jax.tree.leaves(dist)[0]
    return dist.sample(getattr(noise, dist.draws)(name, leaf.shape))


def choose(dist: Distribution, noise: Noise, mode: Mode) -> jax.Array:
    """Acting: the mode for "best", a draw for "sample" and "explore"."""
    return dist.mode() if mode == "best" else draw(dist, noise, "act")
