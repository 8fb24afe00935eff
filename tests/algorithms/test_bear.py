"""BEAR: worked by hand, and whole updates recorded from the authors' code."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from holdfast.algorithms import bear
from holdfast.core.config import as_arrays
from holdfast.core.noise import Tape
from holdfast.core.spec import Seen
from holdfast.core.trained import Trained
from holdfast.parts import matching, nets, optimisers
from support.formulas import flat_critic, flat_vae, mlp
from support.marks import quick
from support.tapes import Golden, common, replay, samples_first, vae, warm_then

pytestmark = pytest.mark.usefixtures("x64")


def constant_policy(mean, log_std):
    return nets.GaussianHeadsPolicy(mlp((np.zeros((2, 2)), [mean, log_std])))


def test_bear_actor_loss():
    """One sample at tanh(.2 + .5 * .1): Q = a + offsets 1 and 3."""
    eps, obs = jnp.full((2, 3, 1), 0.1), jnp.zeros((3, 2))
    actor, alpha = constant_policy(0.2, math.log(0.5)), 2.0
    behaviour = jnp.full((2, 3, 1), 1.25)
    mmd = math.sqrt(2 - 2 * math.exp(-1 / 2) + 1e-6)
    for aggregate, offset in (("min", 1.0), ("mean", 2.0)):
        cfg = bear.BEAR(kernel="gaussian", sigma=1.0, aggregate=aggregate, std_penalty=0.4)
        args = (alpha, (behaviour, eps), obs, as_arrays(cfg))
        actor_loss = jax.jit(bear.actor_loss)
        loss, metrics = actor_loss(actor, flat_critic(1.0, 3.0), *args)
        assert metrics["mmd"] == pytest.approx(mmd)
        assert metrics["spread"] == pytest.approx(1.0)  # half the distance of the two
        assert loss == pytest.approx(-(math.tanh(0.25) + offset) + 0.4 * 1.0 + alpha * mmd)
        assert actor_loss(actor, None, *args)[0] == pytest.approx(alpha * mmd)  # the warm start


def test_the_multiplier_climbs_above_the_threshold_and_stays_in_bounds():
    start = Trained.new(jnp.asarray(0.0), optimisers.adam(0.1))
    up, metrics = matching.dual_step(start, 0.1, jnp.asarray(0.3), 0.05)
    down, _ = matching.dual_step(start, 0.1, jnp.asarray(0.01), 0.05)
    assert float(up.net) == pytest.approx(0.1, rel=1e-4)
    assert float(down.net) == pytest.approx(-0.1, rel=1e-4)
    assert metrics["multiplier/loss"] == pytest.approx(-0.25)
    far = Trained.new(jnp.asarray(9.99), optimisers.adam(0.1))
    assert float(matching.dual_step(far, 0.1, jnp.asarray(0.3), 0.05)[0].net) == 10


def test_acting_takes_the_best_candidate():
    """Values grow with the action: the largest of the recorded candidates is taken."""
    cfg = bear.BEAR(acting_candidates=3)
    adam = optimisers.adam(0.0)
    actor = constant_policy(0.0, 0.0)
    trained = [Trained.new(x, adam) for x in (flat_vae(), actor, flat_critic(0.0, 9.0), jnp.asarray(0.0))]
    state = bear.State(*trained, actor, flat_critic(0.0, 0.0))
    eps = jnp.asarray([[[0.1], [3.0]], [[-1.0], [0.0]], [[0.5], [1.0]]])
    action, _ = bear.act(cfg, state, Seen(jnp.zeros((2, 2)), jnp.zeros(2)), (), Tape({"act": eps}), "sample")
    np.testing.assert_allclose(action, np.tanh([[0.5], [3.0]]))


@pytest.mark.parametrize("name", quick(["bear_laplacian", "bear_gaussian"], "bear_gaussian"))
def test_bear(name):
    g = Golden(name)
    cfg = bear.BEAR(
        aggregate={"0": "min", "2": "mean"}[g.setting("version")],
        **common(
            g,
            "sigma=mmd_sigma match_samples=n_mmd_samples q_samples=n_mmd_samples candidates=n_target_actions "
            "mix=critic_mix_lambda multiplier_lr=lagrange_lr kernel std_penalty threshold actor_lr critic_lr "
            "vae_lr",
        ),
    )

    def actor(root, suffix=""):  # log_std is not clipped there
        return nets.GaussianHeadsPolicy(g.mlp(f"{root}/actor", suffix), low=-jnp.inf, high=jnp.inf)

    state = bear.State(
        Trained.new(vae(g, "params"), optimisers.adam(cfg.vae_lr)),
        Trained.new(actor("params"), optimisers.adam(cfg.actor_lr)),
        Trained.new(g.critic("params"), optimisers.adam(cfg.critic_lr)),
        Trained.new(g.scalar("params/log_lagrange"), optimisers.adam(cfg.multiplier_lr)),
        actor("target"),
        g.critic("target"),
    )

    def expected(state, suffix=None):
        if suffix is None:
            nets = (state.vae.net, state.actor.net, state.critic.net, state.multiplier.net)
            return *nets, state.target_actor, state.target_critic
        at = "expected/params"
        nets = (vae(g, at, suffix), actor(at, suffix), g.critic(at, suffix), g.scalar(f"{at}/log_lagrange", suffix))
        return *nets, actor("expected/target", suffix), g.critic("expected/target", suffix)

    losses = {"vae/loss": "vae_loss", "critic/loss": "critic_loss", "actor/loss": "actor_loss"}
    tape = samples_first("target_action", "vae_decode_latent", "actor_action")
    slopes = {"multiplier": "log_lagrange"}
    update = warm_then(bear.algorithm, cfg, {*losses, "multiplier/gradient_norm"})
    replay(bear.algorithm, cfg, state, g, expected, losses, update=update, tape=tape, slopes=slopes)


def test_bear_reports_a_wrong_q_samples():
    (fault,) = bear.check(bear.BEAR(q_samples=9))
    assert fault.startswith("q_samples")


def test_bear_reports_a_wrong_kernel():
    (fault,) = bear.check(bear.BEAR(kernel="cauchy"))
    assert fault.startswith("kernel")
