"""Mean and variance of critics under dropout, worked by hand."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from holdfast.core.spec import Spec
from holdfast.parts import nets
from holdfast.parts.dropout_moments import masks, moments
from support.formulas import NOISE, mlp

pytestmark = pytest.mark.usefixtures("x64")


def test_the_variance_is_exact_for_one_hidden_layer():
    """Hidden units 1 and 2 with weights 3 and 4 out: p / (1 - p) ((1 * 3)^2 + (2 * 4)^2); mean the plain Q."""
    net = mlp(([[1.0, 2.0], [0.0, 0.0], [0.0, 0.0]], [0.0, 0.0]), ([[3.0], [4.0]], [0.5]))
    critic = nets.Critic(jax.tree.map(lambda x: jnp.stack([x, x]), net))
    obs = jnp.asarray([[1.0, 0.0]])
    action = jnp.zeros((1, 1))
    rate = 0.2
    hidden = (2,)
    mean, variance = moments(critic, obs, action, (), rate, hidden)
    np.testing.assert_allclose(mean, [[11.5], [11.5]])
    np.testing.assert_allclose(variance, np.full((2, 1), 0.25 * (9 + 64)))
    # all four masks as four passes: the mean of their squares, weighed by chance, is that variance
    drawn = np.asarray([[0, 0], [0, 1], [1, 0], [1, 1]]) / 0.8
    chance = np.asarray([0.2 * 0.2, 0.2 * 0.8, 0.8 * 0.2, 0.8 * 0.8])
    q = drawn @ np.asarray([3.0, 8.0]) + 0.5
    assert chance @ q == pytest.approx(11.5)
    assert chance @ (q - 11.5) ** 2 == pytest.approx(0.25 * 73)
    keep = (jnp.broadcast_to(jnp.asarray(drawn)[:, None, None], (4, 2, 1, 2)),)
    drawn_mean, drawn_variance = moments(critic, obs, action, keep, rate, hidden)
    np.testing.assert_allclose(drawn_mean, np.full((2, 1), q.mean()))
    np.testing.assert_allclose(drawn_variance, np.full((2, 1), q.var(ddof=1)))


@pytest.mark.slow
def test_the_variance_to_first_order_is_near_that_of_many_passes():
    rate = 0.1
    hidden = (64, 64)
    critic = nets.critic(NOISE, Spec((2,), 1), hidden)
    obs, action = NOISE.normal("o", (8, 2)), NOISE.uniform("a", (8, 1))
    drawn = moments(critic, obs, action, masks(NOISE, "keep", (8,), rate, 2000, hidden, shared=True), rate, hidden)
    mean, variance = moments(critic, obs, action, (), rate, hidden)
    np.testing.assert_allclose(variance, drawn[1], rtol=0.3)
    np.testing.assert_allclose(mean, drawn[0], atol=0.2 * float(jnp.sqrt(drawn[1]).max()))


def test_masks():
    assert masks(NOISE, "m", (3, 5), 0.1, 0, (6, 7), shared=True) == ()
    shared = masks(NOISE, "m", (3, 5), 0.1, 4, (6, 7), shared=True)
    assert [m.shape for m in shared] == [(4, 2, 3, 5, 6), (4, 2, 3, 5, 7)]
    np.testing.assert_array_equal(shared[0][:, :, 0, 0], shared[0][:, :, 2, 4])
    own = masks(NOISE, "m", (3, 5), 0.1, 4, (6, 7), shared=False)
    assert not np.array_equal(own[0][:, :, 0, 0], own[0][:, :, 2, 4])
