"""PLAS: worked by hand, and whole updates recorded from the authors' code."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from holdfast.algorithms import plas
from holdfast.core.contract import Context
from holdfast.core.spec import Batch, Spec
from holdfast.core.trained import Trained
from holdfast.parts import layers, optimisers
from holdfast.parts import vae as vaes
from holdfast.parts.perturbation import Perturbation
from support.formulas import NOISE, flat_vae, mlp
from support.tapes import Golden, common, replay, vae

pytestmark = pytest.mark.usefixtures("x64")


def test_plas_acts_through_the_decoder():
    vae = vaes.VAE(flat_vae().encoder, mlp(([[0.0], [0.0], [1.0], [1.0]], [0.0])))
    actor = plas.Actor(mlp((np.zeros((2, 2)), [0.5, -100.0])), None)
    action, latent = actor(vae, jnp.ones((1, 2)), 2.0, 0.0)
    np.testing.assert_allclose(latent, [[2 * math.tanh(0.5), -2]])
    np.testing.assert_allclose(action, [[math.tanh(2 * math.tanh(0.5) - 2)]])


@pytest.mark.slow
def test_the_vae_alone_moves_in_its_phase():
    cfg = plas.PLAS(hidden=(8,), vae_hidden=(8,))
    state = plas.init(cfg, Context(Spec((2,), 1)), NOISE)
    batch = Batch(jnp.ones((4, 2)), jnp.ones((4, 1)), jnp.ones(4), jnp.ones((4, 2)), jnp.zeros(4), jnp.zeros(4))
    first, second = plas.algorithm.phases(cfg)
    assert first.steps == cfg.vae_steps
    assert second.steps is None
    before, phase = first.update(cfg, state, batch, NOISE, 0)
    after, run = plas.update(cfg, before, batch, NOISE, 0)
    assert all(name.startswith("vae/") for name in phase)
    assert not any(name.startswith("vae/") for name in run)

    def same(a, b):
        return all(np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))

    assert not same(before.vae.net, state.vae.net)
    assert same(before.actor, state.actor)
    assert same(after.vae, before.vae)
    assert not same(after.actor.net, before.actor.net)


def frozen_vae(g):
    """The decoder, and an encoder that nobody asks, where none was recorded."""
    if "params/vae_encoder/layer0/weight" in g.arrays:
        return vae(g, "params")
    encoder = layers.MLP((layers.Linear(jnp.zeros((8, 12)), jnp.zeros(12)),), ())
    return vaes.VAE(encoder, g.mlp("params/vae_decoder"))


@pytest.mark.parametrize("name", ["plas", "plas_perturbation"])
def test_plas(name):
    g = Golden(name)
    perturbed = name == "plas_perturbation"
    cfg = plas.PLAS(
        phi=g.setting("phi") if perturbed else 0.0,
        mix=g.setting("lmbda"),
        **common(g, "max_latent_action", "actor_lr", "critic_lr"),
    )

    def actor(root, suffix=""):
        xi = Perturbation(g.mlp(f"{root}/perturbation", suffix)) if perturbed else None
        return plas.Actor(g.mlp(f"{root}/actor", suffix), xi)

    state = plas.State(
        Trained.new(frozen_vae(g), optimisers.adam(cfg.vae_lr)),
        Trained.new(actor("params"), optimisers.adam(cfg.actor_lr)),
        Trained.new(g.critic("params"), optimisers.adam(cfg.critic_lr)),
        actor("target"),
        g.critic("target"),
    )

    def expected(state, suffix=None):
        if suffix is None:
            return state.vae.net, state.actor.net, state.critic.net, state.target_actor, state.target_critic
        online, target = "expected/params", "expected/target"
        slow = (actor(target, suffix), g.critic(target, suffix))
        return frozen_vae(g), actor(online, suffix), g.critic(online, suffix), *slow

    replay(plas.algorithm, cfg, state, g, expected, {"critic/loss": "critic_loss", "actor/loss": "actor_loss"})


def test_plas_reports_a_wrong_vae_hidden():
    (fault,) = plas.check(plas.PLAS(vae_hidden=(0,)))
    assert fault.startswith("vae_hidden")
