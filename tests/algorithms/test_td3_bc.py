"""TD3+BC: formulas worked by hand, and update steps recorded from the authors' code."""

from __future__ import annotations

import numpy as np
import pytest

from holdfast.algorithms import td3_bc
from holdfast.core.contract import Context
from holdfast.core.spec import Spec
from holdfast.parts import nets
from support.formulas import NOISE, array, batch, critics, mlp, same
from support.tapes import Golden, common, delayed_actor, replay

pytestmark = pytest.mark.usefixtures("x64")


def test_the_actor_loss_with_dropout(run):
    # pi(s) = tanh(s + s): one of two hidden units is dropped, the other doubled, or both are kept
    actor = nets.DeterministicPolicy(mlp(([[1, 1]], [0, 0]), ([[1], [1]], [0])))
    obs, keep = array([0.5], [1]), (array([2, 0], [1, 1]),)
    rows = batch(obs=obs, action=array([0], [0]))
    action = np.tanh([[1.0], [2.0]])
    q = np.array([[0.5], [1.0]]) + 3 * action  # critic: s + 3 a
    loss, found = run(td3_bc.actor_loss, actor, critics([1, 3]), 2.5, rows, 1.0, keep)
    same(found["cloning"], (action**2).mean())
    same(loss, (action**2).mean() - 2.5 * q.mean() / np.abs(q).mean())


@pytest.mark.slow
def test_the_critics_may_have_layer_norm():
    cfg = td3_bc.TD3BC(critic_layer_norm=True, hidden=(4, 3))
    made = td3_bc.init(cfg, Context(Spec((2,), 1)), NOISE)
    assert [norm.weight.shape for norm in made.critic.net.nets.norms] == [(2, 4), (2, 3)]
    assert not made.actor.net.net.norms
    assert not td3_bc.init(td3_bc.TD3BC(), Context(Spec((2,), 1)), NOISE).critic.net.nets.norms


def test_recorded_steps():
    g = Golden("td3_bc")
    cfg = td3_bc.TD3BC(
        policy_every=g.setting("policy_freq"),
        **common(g, "alpha", "policy_noise", "noise_clip", "actor_lr", "critic_lr"),
    )

    def actor(root, suffix=""):
        return nets.DeterministicPolicy(g.mlp(f"{root}/actor", suffix))

    state, expected = delayed_actor(g, td3_bc.optimisers_of(cfg), actor)

    replay(
        td3_bc.algorithm,
        cfg,
        state,
        g,
        expected,
        {"critic/loss": "critic_loss", "actor/loss": "actor_loss", "actor/lambda": "lmbda"},
    )
