"""MOPO: the penalised reward, the order of its update, and the shares of a batch."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import pytest

from holdfast.algorithms import model_based, mopo
from holdfast.core.contract import Context
from holdfast.core.noise import Noise
from holdfast.core.spec import Batch, Spec
from holdfast.core.tree import ema
from holdfast.data.feed.sampler import shares
from holdfast.dynamics.ensemble import Outcome
from support.formulas import NOISE, same

pytestmark = pytest.mark.usefixtures("x64")

STD = jnp.asarray([[[3.0, 4.0], [0.0, 1.0]], [[1.0, 0.0], [6.0, 8.0]]])  # two members, two rows, (change, reward)
MEAN = jnp.asarray([[[0.0, 0.0], [1.0, 1.0]], [[2.0, 0.0], [1.0, 3.0]]])
FOUND = Outcome(jnp.zeros((2, 1)), jnp.asarray([10.0, 20.0]), MEAN, STD)


@pytest.mark.parametrize(("penalty", "u"), [("std", [5.0, 10.0]), ("distance", [1.0, 1.0])])
def test_rewards_are_lowered_by_the_uncertainty(penalty, u):
    cfg = mopo.MOPO(penalty=penalty, penalty_weight=0.5)
    verdict = mopo.judge_of(cfg)(jnp.zeros((2, 1)), jnp.zeros((2, 1)), FOUND)
    same(verdict.reward, [10 - 0.5 * u[0], 20 - 0.5 * u[1]])
    assert not verdict.halt.any()


def test_all_networks_of_an_update_are_those_from_before_it():
    """The actor's step is the same whatever the rate of the critics, and the temperature's whatever the actor's."""
    cfg = mopo.MOPO(hidden=(4,), model_hidden=(4,), members=2, elites=1, actor_lr=1e-2, critic_lr=1e-2)
    ctx = Context(Spec((2,), 1))
    state = mopo.init(cfg, ctx, NOISE)
    rng = Noise(jax.random.PRNGKey(3))
    rows = (rng.normal("obs", (6, 2)), jnp.tanh(rng.normal("action", (6, 1))), rng.normal("reward", (6,)))
    batch = Batch(*rows, rng.normal("next", (6, 2)), jnp.zeros(6), jnp.zeros(6))
    run = jax.jit(lambda cfg: mopo.update(cfg, state, batch, NOISE, 0)[0])
    new = run(cfg)
    other = run(dataclasses.replace(cfg, critic_lr=1e-1))
    still = run(dataclasses.replace(cfg, actor_lr=1e-1))
    for a, b in zip(jax.tree.leaves(new.actor.net), jax.tree.leaves(other.actor.net), strict=True):
        same(a, b)
    same(new.temperature.net, still.temperature.net)
    for a, b in zip(
        jax.tree.leaves(new.target_critic), jax.tree.leaves(ema(new.critic.net, state.critic.net, 0.005)), strict=True
    ):
        same(a, b)


def test_a_batch_has_twelve_logged_rows_of_256():
    policy = mopo.phases(mopo.MOPO())[1]
    assert shares(policy.mix, 256) == {"data": 12, "model": 244}
    assert policy.rings == {"model": 50_000 * 5 * 5}


def test_mopo_reports_wrong_settings():
    wrong = dataclasses.replace(mopo.MOPO(), horizon=0, real_ratio=1.5, elites=9, members=1, termination="guess")
    found = " ".join(mopo.check(wrong))
    for name in ("horizon is 0", "real_ratio is 1.5", "elites is 9", "members is 1", "termination is 'guess'"):
        assert name in found
    assert model_based.RING == "model"
