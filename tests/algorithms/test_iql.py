"""IQL: update steps recorded from the authors' code."""

from __future__ import annotations

import jax.numpy as jnp
import pytest

from holdfast.algorithms import iql
from holdfast.core.trained import Trained
from holdfast.parts import nets
from support.tapes import Golden, common, replay

pytestmark = pytest.mark.usefixtures("x64")


def test_recorded_steps():
    g = Golden("iql")
    cfg = iql.IQL(
        **common(
            g,
            "expectile inverse_temperature=temperature actor_decay_steps=max_steps max_weight actor_lr "
            "value_lr critic_lr",
        )
    )

    def actor(root, suffix=""):
        return nets.GaussianPolicy(g.mlp(f"{root}/actor", suffix), jnp.asarray(g[f"{root}/actor/log_std{suffix}"]))

    tx = iql.optimisers_of(cfg)
    state = iql.State(
        Trained.new(actor("params"), tx.actor),
        Trained.new(nets.Value(g.mlp("params/value")), tx.value),
        Trained.new(g.critic("params"), tx.critic),
        g.critic("target"),
    )

    def expected(state, suffix=None):
        if suffix is None:
            return state.actor.net, state.value.net, state.critic.net, state.target_critic
        value = nets.Value(g.mlp("expected/params/value", suffix))
        return (
            actor("expected/params", suffix),
            value,
            g.critic("expected/params", suffix),
            g.critic("expected/target", suffix),
        )

    losses = {"value/loss": "value_loss", "actor/loss": "actor_loss", "critic/loss": "critic_loss"}
    replay(iql.algorithm, cfg, state, g, expected, losses)
