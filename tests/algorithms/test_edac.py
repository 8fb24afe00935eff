"""EDAC: formulas worked by hand, and update steps recorded from CORL."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from holdfast.algorithms import edac, sac_n
from holdfast.core.spec import Spec
from holdfast.parts import nets
from support.formulas import NOISE, array, batch, critics, same
from support.tapes import Golden, replay, soft_actor_critic

pytestmark = pytest.mark.usefixtures("x64")


@pytest.mark.slow
def test_similarity_of_gradients(run):
    g = array([[1, 0]], [[0, 2]], [[-3, 0]])  # units (1, 0), (0, 1), (-1, 0): <1,2> = 0, <1,3> = -1, <2,3> = 0
    same(run(edac.similarity, g), -2 / 2, 1e-9)
    same(run(edac.similarity, jnp.concatenate([g, 7 * g], 1)), -1.0, 1e-9)  # lengths do not matter; mean over rows
    g = NOISE.normal("gradients", (5, 4, 3))
    unit = g / np.linalg.norm(g, axis=-1, keepdims=True)
    cosines = np.einsum("ibk,jbk->bij", unit, unit)
    cosines[:, np.arange(5), np.arange(5)] = 0
    same(run(edac.similarity, g), cosines.sum((1, 2)).mean() / 4, 1e-8)
    one = array([[2]], [[3]], [[-1]], [[1]])  # one-dimensional actions: signs; 3 pairs agree, 3 do not
    same(run(edac.similarity, one), 0.0, atol=1e-9)
    assert float(jnp.abs(jax.grad(edac.similarity)(one)).max()) < 1e-9  # ... and nothing to learn from


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_similarity_is_finite_at_gradients_of_zero(dtype):
    g = jnp.asarray([[[0, 0], [1, 2]], [[0, 1], [0, 0]]], dtype)
    value, slope = jax.value_and_grad(edac.similarity)(g)
    assert np.isfinite(value)
    assert np.isfinite(slope).all()


@pytest.mark.slow
def test_action_gradients(run):
    critic = nets.critic(NOISE, Spec((3,), 2), (8, 8), 4)
    obs, action = NOISE.normal("obs", (5, 3)), NOISE.uniform("action", (5, 2))
    q, gradient = run(edac.action_gradients, critic, obs, action)
    same(q, critic(obs, action))
    each = jax.jacrev(lambda a: critic(obs, a))(action)  # [E, B, B, A]
    same(gradient, np.einsum("ebba->eba", each))


def test_the_critic_loss(run):
    critic, y, b = critics([1, 1, 0], [2, 0, 2], [1, -3, 0]), array(1, 2), batch()
    q = np.array([[1.5, 2], [2, 2], [-0.5, 2]])  # gradients (1, 0), (0, 2), (-3, 0) as above: similarity -1
    td = ((q - [1, 2]) ** 2).mean(1).sum()
    loss, found = run(edac.critic_loss, critic, y, b, 0.7)
    same(loss, td - 0.7, 1e-9)
    same(found["td"], td)
    same(found["similarity"], -1.0, 1e-9)


def test_edac_needs_two_critics():
    assert edac.check(edac.EDAC(critics=2)) == []
    assert "at least 2" in edac.check(edac.EDAC(critics=1))[0]
    assert len(edac.check(edac.EDAC(critics=0, diversity=-1.0))) == 2
    assert "expected one of min, mean, lcb" in edac.check(edac.EDAC(value="mixture"))[0]
    assert "value lcb" in sac_n.check(sac_n.SACN(critics=1, value="lcb"))[0]


def test_recorded_steps():
    *case, losses = soft_actor_critic("edac", edac, edac.EDAC, diversity=Golden("edac").setting("eta"))
    replay(*case, losses | {"critic/td": "td_loss", "critic/similarity": "diversity_loss"})
