"""MCQ: the critics' loss worked by hand, and whole updates recorded from OfflineRL-Kit."""

from __future__ import annotations

import jax.numpy as jnp
import pytest

from holdfast.algorithms import mcq
from holdfast.core.spec import Batch
from holdfast.core.trained import Trained
from holdfast.parts import nets, optimisers
from support.formulas import flat_critic
from support.tapes import Golden, common, replay, samples_first, vae

pytestmark = pytest.mark.usefixtures("x64")


def test_mcq_critic_loss():
    """Data errors 1 and 2 (critic values .5 + offset), policy errors 3 and 4 from the bound, weighed .7 and .3."""
    obs, action = jnp.zeros((1, 2)), jnp.asarray([[0.5]])
    batch = Batch(obs, action, jnp.zeros(1), obs, jnp.zeros(1), jnp.zeros(1))
    states, own, bound = jnp.zeros((2, 2)), jnp.asarray([[0.0], [0.0]]), jnp.asarray([-3.0, -3.0])
    loss, metrics = mcq.critic_loss(flat_critic(0.0, 1.0), jnp.asarray([-0.5]), batch, bound, states, own, 0.7)
    assert loss == pytest.approx(0.7 * (1 + 4) + 0.3 * (9 + 16))
    assert metrics["q"] == pytest.approx(1.0)
    assert metrics["policy_q"] == pytest.approx(0.5)


def test_mcq():
    g = Golden("mcq")
    cfg = mcq.MCQ(
        **common(
            g,
            "in_weight=lmbda candidates=n_sampled_actions max_temperature=alpha_clip_max "
            "temperature_lr=alpha_lr target_entropy actor_lr critic_lr vae_lr",
        )
    )

    def actor(root, suffix=""):  # the kit's density has 1e-6 in the logarithm, ours is exact
        low, high, floor = (g.setting(k) for k in ("log_std_min", "log_std_max", "tanh_eps"))
        return nets.GaussianHeadsPolicy(g.mlp(f"{root}/actor", suffix), low=low, high=high, floor=floor)

    state = mcq.State(
        Trained.new(vae(g, "params"), optimisers.adam(cfg.vae_lr)),
        Trained.new(actor("params"), optimisers.adam(cfg.actor_lr)),
        Trained.new(g.critic("params"), optimisers.adam(cfg.critic_lr)),
        g.critic("target"),
        Trained.new(g.scalar("params/log_alpha"), optimisers.adam(cfg.temperature_lr)),
    )

    def expected(state, suffix=None):
        if suffix is None:
            nets = (state.vae.net, state.actor.net, state.critic.net)
            return *nets, state.target_critic, state.temperature.net
        at = "expected/params"
        nets = (vae(g, at, suffix), actor(at, suffix), g.critic(at, suffix))
        return *nets, g.critic("expected/target", suffix), g.scalar(f"{at}/log_alpha", suffix)

    for step in range(1, g.steps + 1):  # the two critics stepped apart there, together here
        total = g[f"expected/critic1_loss/step{step}"] + g[f"expected/critic2_loss/step{step}"]
        g.arrays[f"expected/critic_loss/step{step}"] = total
    losses = {
        "vae/loss": "vae_loss",
        "critic/loss": "critic_loss",
        "actor/loss": "actor_loss",
        "temperature/loss": "alpha_loss",
    }
    replay(mcq.algorithm, cfg, state, g, expected, losses, tape=samples_first("decode_latent"))


def test_mcq_reports_a_wrong_in_weight():
    (fault,) = mcq.check(mcq.MCQ(in_weight=1.5))
    assert fault.startswith("in_weight")
