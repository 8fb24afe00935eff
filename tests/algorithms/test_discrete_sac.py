"""Discrete SAC: formulas worked by hand."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from holdfast.algorithms import discrete_sac
from holdfast.core.contract import Context
from holdfast.core.noise import Tape
from holdfast.core.spec import Spec
from holdfast.parts.distributions import Categorical
from support.formulas import NOISE, array, batch, same

pytestmark = pytest.mark.usefixtures("x64")


LOGITS = np.array([[0.0, 1, 2, -1], [3, 0, 0, 0]])


Q = np.array([[1.0, -2, 0.5, 3], [0, 1, -1, 2]])


def test_soft_value_is_a_sum_over_actions(run):
    p = special.softmax(LOGITS, 1)
    wanted = (p * (Q - 0.3 * np.log(p))).sum(1)
    same(run(lambda x, q: discrete_sac.soft_value(Categorical(x), q, 0.3), LOGITS, Q), wanted)
    # the best policy is softmax(Q / alpha), its value alpha log sum exp(Q / alpha)
    best = run(lambda q: discrete_sac.soft_value(Categorical(q / 0.3), q, 0.3), Q)
    same(best, 0.3 * special.logsumexp(Q / 0.3, 1))
    slope = run(jax.grad(lambda x: discrete_sac.soft_value(Categorical(x), Q, 0.3).sum()), jnp.asarray(Q / 0.3))
    assert np.abs(slope).max() < 1e-12


def test_illegal_actions_have_no_influence(run):
    mask = jnp.asarray([[True, True, False, True], [False, True, True, False]])
    p = np.where(mask, special.softmax(LOGITS, 1), 0)
    p /= p.sum(1, keepdims=True)
    log_p = np.log(p, where=p > 0, out=np.zeros_like(p))

    def value(x, q):
        return discrete_sac.soft_value(Categorical(x).among(mask), q, 0.3)

    same(run(value, LOGITS, Q), (p * (Q - 0.3 * log_p)).sum(1))
    slope = run(jax.grad(lambda x: value(x, Q).sum()), jnp.asarray(LOGITS))
    assert np.isfinite(slope).all()
    assert (np.asarray(slope)[~mask] == 0).all()
    none = Categorical(jnp.asarray(LOGITS)).among(jnp.zeros((2, 4), bool))  # after an end nothing may be legal
    p = special.softmax(LOGITS, 1)  # the dist as it is: the end cuts the bootstrap
    same(run(discrete_sac.soft_value, none, Q, 0.3), (p * (Q - 0.3 * np.log(p))).sum(1))


def test_the_temperature_rises_if_the_entropy_is_below_its_goal(run):
    entropy, goal = array(0.2, 0.4), array(1, 1)
    slope, found = run(jax.grad(discrete_sac.temperature_loss, has_aux=True), jnp.asarray(0.5), entropy, goal)
    same(slope, 0.3 - 1)  # log alpha moves against it: up
    same(found["alpha"], math.exp(0.5))


@pytest.mark.slow
@pytest.mark.parametrize("masked", [False, True])
def test_an_update(masked):
    cfg = discrete_sac.DiscreteSAC(discount=0.9, hidden=(8,), entropy_share=0.5)
    state = discrete_sac.init(cfg, Context(Spec((1,), 4, discrete=True)), NOISE)
    legal = np.array([[True, True, False, True], [True, True, False, False]]) if masked else np.ones((2, 4), bool)
    masks = {"mask": jnp.asarray(legal), "next_mask": jnp.asarray(legal[::-1])} if masked else {}
    b = batch(action=jnp.asarray([1, 0]), **masks)
    after, metrics = discrete_sac.update(cfg, state, b, Tape({}), jnp.asarray(0))  # no draw at all
    x = np.where(legal[::-1], state.actor.net(b.next_obs).logits, -np.inf)
    p = special.softmax(x, 1)
    v = (p * state.target_critic.all(b.next_obs).min(0)).sum(1) + stats.entropy(p, axis=1)  # alpha is 1
    y = np.array([1 + 0.9 * v[0], 2])
    assert float(metrics["critic/target"]) == pytest.approx(y.mean())
    assert float(metrics["temperature/goal"]) == pytest.approx(0.5 * np.log(legal.sum(1)).mean())
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(after))
