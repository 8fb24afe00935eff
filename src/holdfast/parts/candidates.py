"""Acting by the best of several candidate actions (BCQ, BEAR, UWAC)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from ..core.noise import Noise
from ..core.spec import Mode


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
    return jnp.take_along_axis(actions, q.argmax(0)[None, :, None], 0)[0]
