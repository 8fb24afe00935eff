"""TD3: formulas worked by hand."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from holdfast.algorithms import ddpg, td3
from holdfast.core.noise import Tape
from holdfast.core.spec import Seen
from support.formulas import actors, array, batch, identical, same

pytestmark = pytest.mark.usefixtures("x64")


def test_the_actor_loss_uses_the_first_critic(run):
    state = actors(td3)
    obs = array([1], [2])
    a = np.tanh([[0.1, -0.2], [0.2, -0.4]])
    q1 = np.array([1, 2]) + a @ [1, 2]
    same(run(td3.actor_loss, state.actor.net, state.critic.net, obs)[0], -q1.mean())


def test_the_target_and_the_delay_of_the_actor():
    cfg, state = td3.TD3(discount=0.9, polyak=0.5), actors(td3)
    eps = array([1, -5], [0, 0])  # .2 * 1; -1 is clipped to -.5
    noise = Tape({"target_policy": eps})
    a = np.tanh([0.9, 0.3]) + np.array([0.2, -0.5])
    q = min(3 + a @ [0, 1], 1.5 + a @ [1, 0])  # slow critics: 1 s + a2, .5 s + a1
    y = np.array([1 + 0.9 * q, 2])  # the second row is a true end
    first, metrics = td3.update(cfg, state, batch(), noise, jnp.asarray(0))
    assert float(metrics["critic/target"]) == pytest.approx(y.mean())
    q1, q2 = np.array([1 + 0.5, 2 - 2]), np.array([2 - 0.5, 4 - 1])
    assert float(metrics["critic/loss"]) == pytest.approx(((q1 - y) ** 2).mean() + ((q2 - y) ** 2).mean())
    assert metrics["actor/loss"][1] == 0  # updates 1, 3, ... move the actor and all targets
    same_as_before = (first.actor, first.target_actor, first.target_critic)
    assert identical(same_as_before, (state.actor, state.target_actor, state.target_critic))
    second, metrics = td3.update(cfg, first, batch(), noise, jnp.asarray(1))
    assert metrics["actor/loss"][1] == 1
    now, before, slow = second.actor.net.net, first.actor.net.net, second.target_actor.net
    assert not identical(now, before)
    same(slow.layers[0].weight, 0.5 * (now.layers[0].weight + array([0.3, 0.1])))


@pytest.mark.parametrize("module", [td3, ddpg])
def test_exploration_noise_is_used_only_to_explore(module):
    cfg, state = module.algorithm.Config(exploration_noise=0.5), actors(module)
    seen = Seen(array([1], [10]), jnp.zeros(2))
    best = np.tanh([[0.1, -0.2], [1, -2]])
    for mode in ("best", "sample"):
        same(module.act(cfg, state, seen, (), Tape({}), mode)[0], best)
    found = module.act(cfg, state, seen, (), Tape({"act": array([1, 0], [2, -1])}), "explore")[0]
    same(found, np.clip(best + np.array([[0.5, 0], [1, -0.5]]), -1, 1))
