"""Acting by one of several candidate actions: the best by its value (BCQ, BEAR, UWAC, flow and diffusion policies), or
the one among the most others (flow cloning).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from ..core.noise import Noise
from ..core.spec import Mode
from .distributions import Distribution
from .nets import Critic, first


def normals(noise: Noise, mode: Mode, n: int, rows: int, size: int) -> jax.Array:
    """Standard normals behind the n candidates of each row: [n, rows, size].

    Fresh ones to sample or explore. In mode "best" the same n constants for every row and call: then the policy is a
    function of the state, gives the same evaluation twice and can be exported.
    """
    if mode != "best":
        return noise.normal("act", (n, rows, size))
    fixed = np.random.default_rng(0).standard_normal((n, 1, size))
    return jnp.broadcast_to(jnp.asarray(fixed, jnp.result_type(float)), (n, rows, size))


def best(q: jax.Array, actions: jax.Array) -> jax.Array:
    """The action of the highest value for each row: q [n, B] and actions [n, B, A] to [B, A]."""
    return taken(actions, q.argmax(0))


def densest(actions: jax.Array, width: float) -> jax.Array:
    """The action with the largest kernel density of all draws for each row: actions [n, B, A] to [B, A].

    Args:
        actions: n draws of a policy for each row.
        width: standard deviation of the Gaussian kernel, in units of the actions.
    """
    squares = jnp.square(actions).sum(-1)  # [n, B]
    distance = squares[:, None] + squares[None] - 2 * jnp.einsum("nba,mba->nmb", actions, actions)
    return best(jnp.exp(-distance / (2 * width**2)).sum(1), actions)


def taken(actions: jax.Array, index: jax.Array) -> jax.Array:
    """The action with the given number for each row: actions [n, B, A] and index [B] to [B, A]."""
    return jnp.take_along_axis(actions, index[None, :, None], 0)[0]


def best_of(policy: Distribution, critic: Critic, obs: jax.Array, n: int, noise: Noise, mode: Mode) -> jax.Array:
    """The best of `n` draws of a Gaussian policy by the first critic: obs [B, d] to [B, A]; noise as in `normals`."""
    actions = policy.repeat(n).sample(normals(noise, mode, n, *policy.mode().shape))
    return best(first(critic)(obs, actions)[0], actions)
