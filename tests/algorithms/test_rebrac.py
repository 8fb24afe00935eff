"""ReBRAC: formulas worked by hand, and update steps recorded from the authors' code."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from holdfast.algorithms import rebrac
from holdfast.core.contract import Context
from holdfast.core.noise import Tape
from holdfast.core.spec import Spec
from holdfast.parts import nets
from support.formulas import NOISE, actors, array, batch, identical, same
from support.tapes import Golden, common, delayed_actor, replay

pytestmark = pytest.mark.usefixtures("x64")


def test_the_actor_loss(run):
    state, b = actors(rebrac), batch()
    a = np.tanh([[0.1, -0.2], [0.2, -0.4]])
    q = np.minimum([1, 2] + a @ [1, 2], [2, 4] + a @ [-1, 1])
    cloning = ((a - [[0.5, 0], [0, -1]]) ** 2).sum(1).mean()  # a sum over action dimensions
    loss, found = run(rebrac.actor_loss, state.actor.net, state.critic.net, 0.3, b)
    same(loss, 0.3 * cloning - q.mean() / np.abs(q).mean())
    same(found["lambda"], 1 / np.abs(q).mean())

    # lambda is not differentiated: the slope of Q's part is that of -lambda Q with lambda held
    def held(net):
        action = net(b.obs).mode()
        return 0.3 * rebrac.distance(action, b.action).mean() - state.critic.net(b.obs, action).min(0).mean() * scale

    scale = 1 / np.abs(q).mean()
    slope = jax.grad(lambda net: rebrac.actor_loss(net, state.critic.net, 0.3, b)[0])(state.actor.net)
    jax.tree.map(same, slope, jax.grad(held)(state.actor.net))


def test_the_target_and_when_the_actor_moves():
    cfg, state = rebrac.ReBRAC(critic_penalty=0.5, discount=0.9, polyak=0.5), actors(rebrac)
    b = batch(extra={"next_action": array([0.5, -0.5], [1, 1])})
    noise = Tape({"target_policy": array([1, -5], [0, 0])})
    a = np.tanh([0.9, 0.3]) + np.array([0.2, -0.5])
    q = min(3 + a @ [0, 1], 1.5 + a @ [1, 0]) - 0.5 * ((a - [0.5, -0.5]) ** 2).sum()
    first, metrics = rebrac.update(cfg, state, b, noise, jnp.asarray(0))
    assert float(metrics["critic/target"]) == pytest.approx((1 + 0.9 * q + 2) / 2)
    assert metrics["actor/loss"][1] == 1  # the first update is a full one
    before, slow = state.actor.net.net.layers[0].weight, first.target_actor.net.layers[0].weight
    assert not np.array_equal(first.actor.net.net.layers[0].weight, before)
    same(slow, 0.5 * (before + array([0.3, 0.1])))  # the target actor follows the old actor ...
    slow, now = first.target_critic.nets.layers[0].weight, first.critic.net.nets.layers[0].weight
    same(slow, 0.5 * (now + array([[1], [0], [1]], [[0.5], [1], [0]])))  # ... and the target critics the new critics
    second, metrics = rebrac.update(cfg, first, b, noise, jnp.asarray(1))
    assert metrics["actor/loss"][1] == 0
    unmoved = (first.actor, first.target_actor, first.target_critic)
    assert identical((second.actor, second.target_actor, second.target_critic), unmoved)


def test_the_critics_have_layer_norm_after_their_activations():
    state = rebrac.init(rebrac.ReBRAC(hidden=(8, 8)), Context(Spec((3,), 2)), NOISE)
    assert state.critic.net.nets.norm == "post"
    assert len(state.critic.net.nets.norms) == 2
    assert state.actor.net.net.norms == ()


def test_recorded_steps():
    g = Golden("rebrac")
    assert g.setting("normalize_q")
    cfg = rebrac.ReBRAC(
        **common(
            g,
            "actor_penalty=actor_bc_coef critic_penalty=critic_bc_coef policy_every=policy_freq policy_noise "
            "noise_clip actor_lr critic_lr",
        )
    )

    def actor(root, suffix=""):
        return nets.DeterministicPolicy(g.mlp(f"{root}/actor", suffix))

    def critic(root, suffix=""):
        return nets.Critic(g.mlp(f"{root}/critics", suffix, norm="post", eps=g.setting("layernorm_eps")))

    state, expected = delayed_actor(g, rebrac.optimisers_of(cfg), actor, critic)
    losses = {"critic/loss": "critic_loss", "actor/loss": "actor_loss"}
    replay(rebrac.algorithm, cfg, state, g, expected, losses, batch=with_next_action(g))


def with_next_action(g):
    batch = g.batch()
    return type(batch)(**{**vars(batch), "extra": {"next_action": jnp.asarray(g["batch/next_action"])}})
