"""RLPD: losses and batches against numbers worked by hand, its updates against recorded ones (float64)."""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from holdfast.algorithms import rlpd
from holdfast.core.config import as_arrays
from holdfast.core.contract import Context
from holdfast.core.noise import Noise
from holdfast.core.spec import Spec
from holdfast.core.trained import Trained
from holdfast.parts import nets, optimisers
from holdfast.parts.critics import mean_squared_error
from support.formulas import Flat, array, critics, normal_density, row, same
from support.tapes import Golden, common, replay

pytestmark = pytest.mark.usefixtures("x64")


def test_losses(run):
    """Critics s + a, 2 s + a, 3 s + a on s = 1: the mean over members and rows; the actor follows their mean."""
    critic = critics([1, 1], [2, 1], [3, 1])
    loss, metrics = run(lambda y: mean_squared_error(critic, y, row()), array(2.0))
    same(loss, (0.5**2 + 0.5**2 + 1.5**2) / 3)
    same(metrics["spread"], math.sqrt(2 / 3))
    loss, _ = run(lambda eps: rlpd.actor_loss(Flat(None), critic, 0.2, array([1]), eps), array([0.7]))
    same(loss, 0.2 * normal_density(0.35, 0, 0.5) - (2 + 0.35))


def test_refuses_a_subset_larger_than_the_ensemble():
    assert rlpd.check(rlpd.RLPD(critics=3, subset=3)) == []
    assert rlpd.check(rlpd.RLPD(critics=3, subset=4)) == ["subset is 4, expected at most critics, 3"]


@pytest.mark.slow
def test_one_update_a_step_is_a_slice_of_its_own():
    """With ratio 1 the batch comes without the axis of slices, and the update is that of one slice."""
    cfg = as_arrays(rlpd.RLPD(update_ratio=1, critics=2, hidden=(4,)))
    state = rlpd.init(cfg, Context(Spec((1,), 1)), Noise(jax.random.PRNGKey(0)))
    noise = Noise(jax.random.PRNGKey(1))
    one, _ = rlpd.update(cfg, state, row(), noise, 0)
    sliced = dataclasses.replace(cfg, update_ratio=2)  # not read but for the axis
    other, _ = rlpd.update(sliced, state, jax.tree.map(lambda x: x[None], row()), noise, 0)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        same(a, b)


def test_phases():
    (phase,) = rlpd.phases(rlpd.RLPD(data_share=0.25, warmup=11))
    assert phase.mix == {"data": 0.25, "online": 0.75}
    assert (phase.collect.warmup, phase.collect.every) == (11, 1)  # an update is what belongs to a step
    assert rlpd.needs(rlpd.RLPD(update_ratio=5)).batches == 5


RATES = ("actor_lr", "critic_lr")


def test_recorded_updates():
    g = Golden("rlpd")
    ratio, members = g.setting("utd_ratio"), g.setting("num_qs")
    cfg = rlpd.RLPD(
        update_ratio=ratio,
        critics=members,
        **common(g, "subset=num_min_qs entropy_backup=backup_entropy temperature_lr=temp_lr", *RATES),
    )
    assert g.setting("target_entropy") == -0.5 * g["batch/action"].shape[1]

    def actor(root, suffix=""):
        return nets.GaussianHeadsPolicy(g.mlp(f"{root}/actor", suffix), low=-20.0, high=2.0)

    def critic(root, suffix=""):
        return nets.Critic(g.mlp(f"{root}/critics", suffix, norm="pre", eps=g.setting("layernorm_eps")))

    state = rlpd.State(
        Trained.new(actor("params"), optimisers.adam(cfg.actor_lr)),
        Trained.new(critic("params"), optimisers.adam(cfg.critic_lr)),
        critic("target"),
        Trained.new(g.scalar("params/log_temp"), optimisers.adam(cfg.temperature_lr)),
    )

    def expected(state, suffix=None):
        if suffix is None:
            return state.actor.net, state.critic.net, state.target_critic, state.temperature.net
        at = "expected/params"
        found = (actor(at, suffix), critic(at, suffix), critic("expected/target", suffix))
        return *found, g.scalar(f"{at}/log_temp", suffix)

    def tape(drawn):  # the members recorded are the two that our uniforms rank first
        chosen = drawn["target_subset"].astype(int)
        order = jnp.ones((ratio, members)).at[jnp.arange(ratio)[:, None], chosen].set(0.0)
        return {**drawn, "target_subset": order}

    for step in range(1, g.steps + 1):  # ours is the mean over the slices
        each = [g[f"expected/critic_loss/step{step}/utd{i}"] for i in range(1, ratio + 1)]
        g.arrays[f"expected/critic_losses/step{step}"] = np.mean(each)
    losses = {"critic/loss": "critic_losses", "actor/loss": "actor_loss", "actor/entropy": "entropy"}
    losses |= {"temperature/loss": "temperature_loss", "temperature/alpha": "temperature_used"}
    batch = jax.tree.map(lambda x: x.reshape(ratio, -1, *x.shape[1:]), g.batch())
    replay(rlpd.algorithm, cfg, state, g, expected, losses, batch=batch, tape=tape)
