"""SPOT: prices worked by hand, and whole updates recorded from the authors' code."""

from __future__ import annotations

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from holdfast.algorithms import spot
from holdfast.core.config import as_arrays
from holdfast.core.contract import Context
from holdfast.core.noise import Noise, Tape
from holdfast.core.spec import Batch, Spec
from holdfast.core.trained import Trained
from holdfast.parts import nets, optimisers, support
from holdfast.parts import vae as vaes
from support.formulas import NOISE, flat_critic, flat_vae, mlp
from support.tapes import TOLERANCE, Golden, close, common, replay, samples_first, vae

pytestmark = pytest.mark.usefixtures("x64")


@pytest.mark.slow
def test_spot_prices_where_the_latent_says_nothing():
    """Posterior and prior are one, the decoder gives 0: the ELBO's price is the mean square, IWAE's the density."""
    action = jnp.asarray([[0.5], [-1.0]])
    for samples in (1, 4):
        eps = NOISE.normal("eps", (samples, 2, 2))
        elbo = support.elbo_price(flat_vae(), jnp.zeros((2, 2)), action, eps, 0.5)
        np.testing.assert_allclose(elbo, [0.25, 1.0])
        iwae = support.iwae_price(flat_vae(), jnp.zeros((2, 2)), action, eps, 0.5)
        var = 0.5 / 4
        np.testing.assert_allclose(iwae, [0.5 * a**2 / var + 0.5 * math.log(2 * math.pi * var) for a in (0.5, 1.0)])


def test_spot_price_of_a_posterior_off_the_prior():
    """Mean 1, deviation e: KL = -.5 (1 + 2 - 1 - e^2) a dimension; one latent of eps 0 weighs log p(z) - log q(z)."""
    encoder = mlp((np.zeros((3, 4)), [1.0, 1.0, 1.0, 1.0]))
    vae = vaes.VAE(encoder, flat_vae().decoder)
    obs, action, eps = jnp.zeros((1, 2)), jnp.zeros((1, 1)), jnp.zeros((1, 1, 2))
    kl = -0.5 * (1 + 2 - 1 - math.e**2)
    np.testing.assert_allclose(support.elbo_price(vae, obs, action, eps, 0.25), [0.25 * kl])
    beta, log_ratio = 0.25, 2 * (1 - 0.5)
    np.testing.assert_allclose(
        support.iwae_price(vae, obs, action, eps, beta), [0.5 * math.log(2 * math.pi * beta / 4) - log_ratio]
    )


@pytest.mark.slow
def test_spots_critics_may_have_layer_norm_and_its_rates_fall():
    cfg = spot.SPOT(critic_layer_norm=True, hidden=(4, 3), vae_hidden=(4,), actor_decay_steps=4, critic_decay_steps=8)
    state = spot.init(cfg, Context(Spec((2,), 1)), NOISE)
    assert [norm.weight.shape for norm in state.critic.net.nets.norms] == [(2, 4), (2, 3)]
    assert not state.actor.net.net.norms
    batch = Batch(jnp.zeros((3, 2)), jnp.ones((3, 1)), jnp.ones(3), jnp.ones((3, 2)), jnp.zeros(3), jnp.ones(3))
    moved, update = [], jax.jit(functools.partial(spot.update, cfg))
    for step in range(9):  # the actor moves every second time: after two moves its rate is 0
        after, _ = update(state, batch, Noise(jax.random.key(step)), jnp.asarray(step))
        leaves = [[jax.tree.leaves(net.net) for net in (s.actor, s.critic)] for s in (state, after)]
        pairs = [zip(old, new, strict=True) for old, new in zip(*leaves, strict=True)]
        moved.append([any((a != b).any() for a, b in pair) for pair in pairs])
        state = after
    assert moved == [[t in (1, 3), t < 8] for t in range(9)]


def test_spot_divides_q_by_its_size():
    cfg = spot.SPOT(support_weight=0.0)
    actor = nets.DeterministicPolicy(mlp((np.zeros((2, 1)), [0.0])))
    eps = jnp.zeros((1, 3, 2))
    for scale in (1.0, 100.0):
        critic = nets.Critic(jax.tree.map(lambda x, s=scale: s * x, flat_critic(2.0, 0.0).nets))
        loss, _ = spot.actor_loss(actor, critic, flat_vae(), jnp.zeros((3, 2)), (), eps, cfg)
        assert loss == pytest.approx(-1)


def spot_case(name):
    g = Golden(name)
    cfg = spot.SPOT(
        **common(
            g,
            "support_weight=lambd kl_weight=beta samples=num_samples policy_every=policy_freq iwae "
            "policy_noise noise_clip actor_dropout actor_lr critic_lr",
        )
    )

    def actor(root, suffix=""):
        return nets.DeterministicPolicy(g.mlp(f"{root}/actor", suffix))

    state = spot.State(
        Trained.new(vae(g, "params"), optimisers.adam(cfg.vae_lr)),
        Trained.new(actor("params"), spot.optimisers_of(cfg).actor),
        Trained.new(g.critic("params"), spot.optimisers_of(cfg).critic),
        actor("target"),
        g.critic("target"),
    )
    return g, cfg, actor, state


@pytest.mark.parametrize("name", ["spot", "spot_iwae"])
def test_spot(name):
    g, cfg, actor, state = spot_case(name)

    def expected(state, suffix=None):
        if suffix is None:
            return state.vae.net, state.actor.net, state.critic.net, state.target_actor, state.target_critic
        online, target = "expected/params", "expected/target"
        slow = (actor(target, suffix), g.critic(target, suffix))
        return vae(g, "params"), actor(online, suffix), g.critic(online, suffix), *slow

    def tape(arrays):
        arrays = samples_first("vae_latent")(arrays)
        return {k.replace("mask_", "").replace("actor_layer", "actor_dropout_"): v for k, v in arrays.items()}

    g.arrays.pop("noise/vae_training_latent", None)  # of the phase before, see test_spot_vae
    losses = {"critic/loss": "critic_loss", "actor/loss": "actor_loss"}
    replay(spot.algorithm, cfg, state, g, expected, losses, tape=tape)


def test_spot_vae():
    """The phase before, in which the VAE is fitted."""
    g, cfg, _, state = spot_case("spot")
    cfg = dataclasses.replace(cfg, vae_lr=g.setting("vae_lr"))
    phase = spot.algorithm.phases(cfg)[0]
    state = spot.State(**{**vars(state), "vae": Trained.new(vae(g, "params"), optimisers.adam(cfg.vae_lr))})
    batch = g.batch()
    run = jax.jit(lambda state, eps: phase.update(as_arrays(cfg), state, batch, Tape({"vae_posterior": eps}), 0))
    for i, eps in enumerate(g["noise/vae_training_latent"]):
        state, metrics = run(state, eps)
        close(f"step {i + 1}", state.vae.net, vae(g, "expected/params", f"/step{i + 1}"), TOLERANCE)
        assert metrics["vae/loss"] == pytest.approx(g[f"expected/vae_loss/step{i + 1}"], rel=TOLERANCE)


def test_spot_reports_a_wrong_samples():
    (fault,) = spot.check(spot.SPOT(samples=0))
    assert fault.startswith("samples")
