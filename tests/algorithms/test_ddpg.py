"""DDPG: formulas worked by hand."""

from __future__ import annotations

import math

import jax.numpy as jnp
import numpy as np
import pytest

from holdfast.algorithms import ddpg
from holdfast.core.contract import Context
from holdfast.core.noise import Tape
from holdfast.core.spec import Spec
from support.formulas import NOISE, actors, array, batch, same

pytestmark = pytest.mark.usefixtures("x64")


@pytest.mark.slow
def test_an_update_moves_every_network_and_draws_nothing():
    cfg, state = ddpg.DDPG(discount=0.9, polyak=0.5), actors(ddpg, many=1)
    after, metrics = ddpg.update(cfg, state, batch(), Tape({}), jnp.asarray(0))
    y = np.array([1 + 0.9 * (3 + math.tanh(0.3)), 2])  # the slow critic is s + a2
    assert float(metrics["critic/target"]) == pytest.approx(y.mean())
    assert float(metrics["critic/loss"]) == pytest.approx(((np.array([1.5, 0]) - y) ** 2).mean())
    same(after.target_actor.net.layers[0].weight, 0.5 * (after.actor.net.net.layers[0].weight + array([0.3, 0.1])))
    slow, now = after.target_critic.nets.layers[0].weight, after.critic.net.nets.layers[0].weight
    same(slow, 0.5 * (now + array([[1], [0], [1]])))
    assert len(ddpg.init(cfg, Context(Spec((1,), 2)), NOISE).critic.net.nets.layers[0].weight) == 1
