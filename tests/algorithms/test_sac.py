"""SAC: update steps recorded from d3rlpy."""

from __future__ import annotations

import jax.numpy as jnp
import pytest

from holdfast.algorithms import sac
from holdfast.core.trained import Trained
from holdfast.parts import nets
from support.tapes import Golden, common, replay

pytestmark = pytest.mark.usefixtures("x64")


def test_recorded_steps():
    g = Golden("sac")
    cfg = sac.SAC(
        temperature_lr=g.setting("temp_lr"),
        temperature_loss="exp",
        **common(g, "target_entropy", "actor_lr", "critic_lr"),
    )

    def actor(root, suffix=""):
        return nets.GaussianHeadsPolicy(g.mlp(f"{root}/actor", suffix), low=-20.0)

    def log_temperature(root, suffix=""):
        return jnp.asarray(g[f"{root}/log_temp{suffix}"]).reshape(())

    tx = sac.optimisers_of(cfg)
    state = sac.State(
        Trained.new(actor("params"), tx.actor),
        Trained.new(g.critic("params"), tx.critic),
        g.critic("target"),
        Trained.new(log_temperature("params"), tx.temperature),
    )

    def expected(state, suffix=None):
        if suffix is None:
            return state.actor.net, state.critic.net, state.target_critic, state.temperature.net
        at = "expected/params"
        return actor(at, suffix), g.critic(at, suffix), g.critic("expected/target", suffix), log_temperature(at, suffix)

    losses = {"critic/loss": "critic_loss", "actor/loss": "actor_loss", "temperature/loss": "temp_loss"}
    replay(sac.algorithm, cfg, state, g, expected, losses, slopes={"temperature": "log_temp"})
