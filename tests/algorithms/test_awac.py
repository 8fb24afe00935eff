"""AWAC: formulas worked by hand, and update steps recorded from CORL."""

from __future__ import annotations

import math

import jax.numpy as jnp
import pytest

from holdfast.algorithms import awac
from holdfast.core.trained import Trained
from holdfast.parts import nets
from support.formulas import NOISE, array, batch, critics, linear, same
from support.tapes import Golden, common, replay

pytestmark = pytest.mark.usefixtures("x64")


def test_awac_subtracts_the_value_of_the_mode():
    # Q1 = s + a1 + 2 a2, Q2 = 2 s + a1 + 2 a2; critics stand still: lr 1e-12
    cfg = awac.AWAC(value_action="mode", critic_lr=1e-12)
    actor = nets.GaussianPolicy(linear([0.1], [0.2]), array(2, 2), low=-20.0, high=2.0, squash="none")
    critic = critics([1, 1, 2], [2, 1, 2])
    state = awac.State(
        Trained.new(actor, awac.optimisers_of(cfg).actor),
        Trained.new(critic, awac.optimisers_of(cfg).critic),
        critic,
    )
    _, metrics = awac.update(cfg, state, batch(), NOISE, 0)
    # row 1: s 1, a (.5, 0), mode (.1, .2): .5 - .5 = 0;  row 2: s 2, a (0, -1), mode (.2, .4): -2 - 1 = -3
    same(metrics["advantage"], -1.5, rtol=1e-6)
    same(metrics["actor/weight"], (1 + math.exp(-9)) / 2, rtol=1e-6)


def test_recorded_steps():
    g = Golden("awac")
    cfg = awac.AWAC(temperature=g.setting("awac_lambda"), **common(g, "max_weight", "actor_lr", "critic_lr"))

    def actor(root, suffix=""):
        log_std = jnp.asarray(g[f"{root}/actor/log_std{suffix}"])
        return nets.GaussianPolicy(g.mlp(f"{root}/actor", suffix), log_std, low=-20.0, high=2.0, squash="none")

    state = awac.State(
        Trained.new(actor("params"), awac.optimisers_of(cfg).actor),
        Trained.new(g.critic("params"), awac.optimisers_of(cfg).critic),
        g.critic("target"),
    )

    def expected(state, suffix=None):
        if suffix is None:
            return state.actor.net, state.critic.net, state.target_critic
        return (
            actor("expected/params", suffix),
            g.critic("expected/params", suffix),
            g.critic("expected/target", suffix),
        )

    replay(awac.algorithm, cfg, state, g, expected, {"critic/loss": "critic_loss", "actor/loss": "actor_loss"})
