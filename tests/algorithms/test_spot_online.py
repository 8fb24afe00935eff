"""SPOT online: the weight of its support term falls."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest

from holdfast.algorithms import spot
from holdfast.core.config import as_arrays
from holdfast.core.contract import Context
from holdfast.core.noise import Noise
from holdfast.core.spec import Spec
from support.formulas import row, same

pytestmark = pytest.mark.usefixtures("x64")


def test_the_weight_of_the_support_term_falls(run):
    cfg = spot.SPOT(online_decay_steps=10)
    found = run(jax.vmap(lambda t: spot.support_share(cfg, t)), jnp.asarray([0, 4, 7, 100]))
    same(found, [0.9, 0.5, 0.2, 0.2])


@pytest.mark.slow
def test_the_online_update_is_the_offline_one_with_a_smaller_weight():
    cfg = as_arrays(spot.SPOT(hidden=(4,), vae_hidden=(4,), actor_dropout=0.0, online_decay_steps=10))
    ctx, noise = Context(Spec((1,), 1)), Noise(jax.random.PRNGKey(1))
    state = spot.init(cfg, ctx, Noise(jax.random.PRNGKey(0)))
    found, metrics = spot.online_update(cfg, state, row(), noise, 3)  # an update of the actor
    same(metrics["support/weight"], 0.6 * 0.1)
    wanted, _ = spot.update(dataclasses.replace(cfg, support_weight=0.6 * 0.1), state, row(), noise, 3)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        same(a, b, 1e-9)
