"""SAC: update steps recorded from d3rlpy."""

from __future__ import annotations

import pytest

from holdfast.algorithms import sac
from holdfast.parts import nets
from support.tapes import Golden, common, replay, soft_learner

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

    state, expected = soft_learner(g, sac.optimisers_of(cfg), actor, g.critic, "log_temp")
    losses = {"critic/loss": "critic_loss", "actor/loss": "actor_loss", "temperature/loss": "temp_loss"}
    replay(sac.algorithm, cfg, state, g, expected, losses, slopes={"temperature": "log_temp"})
