"""Critics on several actions per state, and their dropout."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from holdfast.core.spec import Spec
from holdfast.parts import layers, nets
from support.formulas import NOISE, mlp

pytestmark = pytest.mark.usefixtures("x64")


@pytest.mark.parametrize("lead", [(), (4,), (2, 4)])
def test_several_actions_a_state_are_judged_as_if_the_state_was_repeated(lead):
    critic = nets.critic(NOISE, Spec((3,), 2), (8, 8), n=2)
    obs, action = NOISE.normal("o", (5, 3)), NOISE.normal("a", (*lead, 5, 2))
    keep = layers.dropout(NOISE, "d", 0.5, (2, *lead, 5), (8, 8))
    repeated = jnp.broadcast_to(obs, (*lead, 5, 3))
    for k in ((), keep):
        np.testing.assert_allclose(critic(obs, action, k), critic(repeated, action, k), rtol=1e-12)
    assert critic(obs, action).shape == (2, *lead, 5)


def test_dropout_of_critics_drops():
    critic = nets.Critic(jax.tree.map(lambda x: x[None], mlp((np.ones((3, 2)), [0, 0]), ([[1.0], [10.0]], [0.5]))))
    keep = (jnp.asarray([[[0.0, 2.0]]]),)  # hidden units are both 3
    np.testing.assert_allclose(critic(jnp.ones((1, 2)), jnp.ones((1, 1)), keep), [[2 * 30 + 0.5]])
