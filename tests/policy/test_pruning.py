"""Which leaves of a state a policy keeps."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from holdfast.policy.pruning import reads
from support.policies import FAKE, make

OBS = np.random.default_rng(0).normal(size=(5, 3))


def test_a_density_keeps_what_it_reads() -> None:
    with_density = FAKE._replace(dist=lambda cfg, state, seen, memory: state.critic.net.sum() + seen.obs)
    assert sum(make(with_density).layout.live) == 3


def test_liveness_looks_into_calls_and_is_careful_with_loops() -> None:
    tree = {"a": jnp.ones(2), "b": jnp.ones(2), "c": jnp.ones(2)}
    first = jax.jit(lambda t: (t["a"] * 2, t["b"] * 3))
    assert reads(lambda t: first(t)[0], tree) == [True, False, False]
    assert reads(lambda t: jax.nn.relu(t["c"]), tree) == [False, False, True]
    assert reads(lambda t: t, tree) == [True, True, True]
    assert reads(lambda t: jnp.ones(3), tree) == [False, False, False]
    loop = lambda t: jax.lax.fori_loop(0, 3, lambda i, x: (x[0] + x[1], x[1]), (t["a"], t["b"]))[1]  # noqa: E731
    assert reads(loop, tree)[1]
    branch = lambda t: jax.lax.cond(t["c"][0] > 0, lambda: t["a"], lambda: t["b"])  # noqa: E731
    assert reads(branch, tree) == [True, True, True]
