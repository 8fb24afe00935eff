"""SAC-N: formulas worked by hand, and update steps recorded from CORL."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from holdfast.algorithms import sac_n
from holdfast.core.contract import Context
from holdfast.core.noise import Tape
from holdfast.core.spec import Spec
from holdfast.parts import initialisers
from support.formulas import NOISE, Fixed, array, batch, critics, same
from support.tapes import replay, soft_actor_critic

pytestmark = pytest.mark.usefixtures("x64")


def test_the_initial_weights_are_the_authors():
    layer = initialisers.torch_weights(bias=0.1)(NOISE, 16, 5)
    same(layer.bias, np.full(5, 0.1))
    same(layer.weight, initialisers.torch_uniform(NOISE, 16, 5).weight)
    assert np.abs(layer.weight).max() <= 0.25
    state = sac_n.init(sac_n.SACN(critics=3, hidden=(8, 8)), Context(Spec((3,), 2)), NOISE)
    layers = state.critic.net.nets.layers
    assert layers[0].weight.shape == (3, 5, 8)
    assert np.abs(layers[-1].weight).max() <= 3e-3
    assert np.abs(state.actor.net.net.layers[-1].weight).max() <= 1e-3
    for i, j in [(0, 1), (0, 2), (1, 2)]:
        assert not np.array_equal(layers[0].weight[i], layers[0].weight[j])


def test_the_actor_loss_for_every_aggregate_of_the_critics(run):
    critic = critics([1, 1, 2], [2, -1, 1], [1, 0, 0])
    obs, action = array([1], [2]), array(0.5, -0.5)
    q = np.array([[1 - 0.5, 2 - 0.5], [2 - 1, 4 - 1], [1, 2]])
    for value in ({"min": q.min(0), "mean": q.mean(0), "mixture": q.mean(0), "lcb": q.mean(0) - 2 * q.std(0)}).items():
        cfg = sac_n.SACN(critics=3, value=value[0], value_deviations=2.0)
        loss, found = run(sac_n.actor_loss, Fixed(action), critic, 0.2, obs, jnp.zeros((2, 2)), cfg)
        same(loss, (0.2 * -0.5 - value[1]).mean())
        same(found["disagreement"], q.std(0).mean())
        same(found["entropy"], 0.5)


@pytest.mark.slow
@pytest.mark.parametrize("value", ["min", "mean", "lcb", "mixture"])
def test_the_target_for_every_aggregate_of_the_critics(value):
    cfg = sac_n.SACN(critics=3, hidden=(4,), value=value, value_deviations=0.5, discount=0.9)
    state, eps, b = sac_n.init(cfg, Context(Spec((1,), 2)), NOISE), array([0.3, -1], [0, 2]), batch()
    tape = dict.fromkeys(("temperature_action", "actor_action", "target_action"), eps)
    after, metrics = sac_n.update(cfg, state, b, Tape(tape | {"mixture_uniform": array(0.1, 0.3, 0.1)}), 0)
    action, log_prob = after.actor.net(b.next_obs).sample_and_log_prob(eps)
    q, own, mixture = state.target_critic(b.next_obs, action), state.critic.net(b.obs, b.action), array(0.2, 0.6, 0.2)
    worth = {"min": q.min(0), "mean": q.mean(0), "lcb": q.mean(0) - 0.5 * q.std(0), "mixture": mixture @ q}
    y = b.reward + 0.9 * (1 - b.terminated) * (worth[value] - jnp.exp(after.temperature.net) * log_prob)
    same(metrics["critic/target"], y.mean(), 1e-9)
    each = ((own - y[None]) ** 2).mean(1).sum()
    same(metrics["critic/loss"], ((mixture @ own - y) ** 2).mean() if value == "mixture" else each, 1e-9)


@pytest.mark.parametrize("name", ["sac_corl", "sac_n"])
def test_recorded_steps(name):
    replay(*soft_actor_critic(name, sac_n, sac_n.SACN))
