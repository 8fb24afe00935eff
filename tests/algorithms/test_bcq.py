"""BCQ: worked by hand, and whole updates recorded from the authors' code."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from holdfast.algorithms import bcq
from holdfast.core.spec import Batch
from holdfast.core.trained import Trained
from holdfast.parts import optimisers
from holdfast.parts.perturbation import Perturbation
from support.formulas import NOISE, flat_critic, flat_vae, mlp
from support.tapes import Golden, common, replay, samples_first, vae

pytestmark = pytest.mark.usefixtures("x64")


def test_bcq_perturbation_is_bounded():
    xi = Perturbation(mlp((np.zeros((3, 1)), [100.0])))
    action = jnp.asarray([[0.2], [0.99]])
    np.testing.assert_allclose(xi(jnp.zeros((2, 2)), action, 0.05), [[0.25], [1.0]])


def test_bcq_perturbation_loss():
    xi = Perturbation(mlp((np.zeros((3, 1)), [100.0])))
    critic = flat_critic(1.0, -7.0)  # the first alone counts
    loss, metrics = bcq.perturbation_loss(xi, critic, jnp.zeros((2, 2)), jnp.asarray([[0.2], [0.4]]), 0.1)
    assert loss == pytest.approx(-(0.3 + 0.5) / 2 - 1)
    assert metrics["change"] == pytest.approx(0.1)


def test_bcq_target():
    """Mixed for each candidate, then the best of them: 0.75 min + 0.25 max of tanh(bias) + offset."""
    cfg = bcq.BCQ(vae_hidden=(), hidden=(), candidates=3, mix=0.75, discount=0.5, phi=0.0)
    one = Batch(*(jnp.ones((1, 2)), jnp.ones((1, 1)), jnp.asarray([2.0]), jnp.ones((1, 2))), jnp.zeros(1), jnp.zeros(1))
    xi = Perturbation(mlp((np.zeros((3, 1)), [0.0])))
    critic = flat_critic(1.0, 3.0)
    adam = optimisers.adam(0.0)
    state = bcq.State(Trained.new(flat_vae(0.3), adam), Trained.new(critic, adam), Trained.new(xi, adam), critic, xi)
    _, metrics = jax.jit(lambda s: bcq.update(bcq.BCQ(**{**vars(cfg), "vae_lr": 0.0}), s, one, NOISE, 0))(state)
    assert metrics["target"] == pytest.approx(2 + 0.5 * (math.tanh(0.3) + 0.75 * 1 + 0.25 * 3))


def test_bcq():
    g = Golden("bcq_continuous")
    cfg = bcq.BCQ(**common(g, "candidates=n_target_actions mix=lmbda phi actor_lr critic_lr vae_lr"))

    def perturbation(root, suffix=""):
        return Perturbation(g.mlp(f"{root}/perturbation", suffix))

    state = bcq.State(
        Trained.new(vae(g, "params"), optimisers.adam(cfg.vae_lr)),
        Trained.new(g.critic("params"), optimisers.adam(cfg.critic_lr)),
        Trained.new(perturbation("params"), optimisers.adam(cfg.actor_lr)),
        g.critic("target"),
        perturbation("target"),
    )

    def expected(state, suffix=None):
        if suffix is None:
            nets = (state.vae.net, state.critic.net, state.perturbation.net)
            return *nets, state.target_critic, state.target_perturbation
        at = "expected/params"
        return (
            vae(g, at, suffix),
            g.critic(at, suffix),
            perturbation(at, suffix),
            g.critic("expected/target", suffix),
            perturbation("expected/target", suffix),
        )

    losses = {
        "vae/loss": "vae_loss",
        "vae/kl": "kl_loss",
        "vae/reconstruction": "recon_loss",
        "critic/loss": "critic_loss",
        "actor/loss": "perturbation_loss",
    }
    replay(bcq.algorithm, cfg, state, g, expected, losses, tape=samples_first("target_latent"))


def test_bcq_reports_a_wrong_acting_candidates():
    (fault,) = bcq.check(bcq.BCQ(acting_candidates=0))
    assert fault.startswith("acting_candidates")
