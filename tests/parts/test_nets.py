"""Critics, values and policies."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from holdfast.core.spec import Spec
from holdfast.parts import layers, nets
from holdfast.parts.distributions import Normal, TanhNormal
from support.formulas import HAND, NOISE, array, mlp, same

pytestmark = pytest.mark.usefixtures("x64")


@pytest.mark.slow
def test_members_of_an_ensemble_differ_and_are_what_each_alone_would_be(run):
    spec = Spec((3,), 2)
    critic = nets.critic(NOISE, spec, (4, 4), n=3)
    for leaf in jax.tree.leaves(critic):
        assert leaf.shape[0] == 3
        for i, j in ((0, 1), (0, 2), (1, 2)):
            assert not np.isclose(leaf[i], leaf[j]).any()
    obs, action = NOISE.normal("obs", (5, 3)), NOISE.normal("action", (5, 2))
    q = run(critic, obs, action)
    assert q.shape == (3, 5)
    for i in range(3):
        one = jax.tree.map(lambda x, i=i: x[i], critic.nets)
        same(q[i, 2], one(jnp.concatenate([obs[2], action[2]]))[0])
    alone = nets.mlp(NOISE.fold(1), (5, 4, 4, 1))
    same(jax.tree.leaves(alone)[0], jax.tree.leaves(critic.nets)[0][1])


def test_a_discrete_critic_takes_the_entry_of_the_action(run):
    critic = nets.critic(NOISE, Spec((3,), 4, discrete=True), (4,))
    obs = NOISE.normal("obs", (5, 3))
    action = jnp.asarray([0, 3, 1, 2, 2])
    every = run(critic.all, obs)
    assert every.shape == (2, 5, 4)
    same(run(critic, obs, action), np.asarray(every)[:, np.arange(5), np.asarray(action)])


def test_value_has_no_last_axis():
    value = nets.Value(mlp(*HAND))
    same(value(array([1, 2], [-1, 0])), [5.5, 6.5])


def test_policies_by_hand(run):
    obs = array([1, 2])
    # the network gives 5.5
    same(run(lambda x: nets.DeterministicPolicy(mlp(*HAND))(x).action, obs), [[math.tanh(5.5)]])
    for squash, kind, mean in (("mean", Normal, math.tanh(5.5)), ("none", Normal, 5.5), ("tanh", TanhNormal, 5.5)):
        policy = nets.GaussianPolicy(mlp(*HAND), array(3.0), low=-5.0, high=2.0, squash=squash)
        dist = run(policy, obs)
        assert isinstance(dist, kind)
        same(dist.mean, [[mean]])
        same(dist.log_std, [[2]])  # clipped
    heads = nets.GaussianHeadsPolicy(mlp(HAND[0], ([[1, 0], [3, -1]], [0.5, -9])), low=-5.0, edge=1e-3)
    dist = run(heads, obs)  # hidden (5, 0): mean 5.5, log std 0 - 9, clipped to -5
    same(dist.mean, [[5.5]])
    same(dist.log_std, [[-5]])
    assert dist.edge == 1e-3
    same(run(lambda x: nets.CategoricalPolicy(mlp(*HAND))(x).logits, obs), [[5.5]])


def test_policies_follow_the_spec():
    continuous, discrete = Spec((3,), 2), Spec((3,), 4, discrete=True)
    kinds = [
        (nets.deterministic_policy, nets.DeterministicPolicy, 2),
        (nets.gaussian_policy, nets.GaussianPolicy, 2),
        (nets.gaussian_heads_policy, nets.GaussianHeadsPolicy, 4),
    ]
    for make, wanted, outputs in kinds:
        made = make(NOISE, continuous, (4,))
        assert type(made) is wanted
        assert made.net.layers[-1].bias.shape == (outputs,)
        made = make(NOISE, discrete, (4,))
        assert type(made) is nets.CategoricalPolicy
        assert made.net.layers[-1].bias.shape == (4,)


@pytest.mark.slow
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
