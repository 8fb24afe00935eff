"""UWAC: worked by hand, and whole updates recorded from the authors' code."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from holdfast.algorithms import uwac
from holdfast.core.contract import Context
from holdfast.core.spec import Batch, Spec
from holdfast.core.trained import Trained
from holdfast.parts import nets, optimisers
from support.formulas import NOISE, flat_critic, mlp
from support.tapes import Golden, common, replay, samples_first, vae, warm_then

pytestmark = pytest.mark.usefixtures("x64")


def test_uwac_variance_is_exact_for_one_hidden_layer():
    """Hidden units 1 and 2 with weights 3 and 4 out: p / (1 - p) ((1 * 3)^2 + (2 * 4)^2); mean the plain Q."""
    net = mlp(([[1.0, 2.0], [0.0, 0.0], [0.0, 0.0]], [0.0, 0.0]), ([[3.0], [4.0]], [0.5]))
    critic = nets.Critic(jax.tree.map(lambda x: jnp.stack([x, x]), net))
    obs, action = jnp.asarray([[1.0, 0.0]]), jnp.zeros((1, 1))
    cfg = uwac.UWAC(dropout=0.2, hidden=(2,), passes=4)
    mean, variance = uwac.moments(critic, obs, action, (), cfg)
    np.testing.assert_allclose(mean, [[11.5], [11.5]])
    np.testing.assert_allclose(variance, np.full((2, 1), 0.25 * (9 + 64)))
    # all four masks as four passes: the mean of their squares, weighed by chance, is that variance
    masks = np.asarray([[0, 0], [0, 1], [1, 0], [1, 1]]) / 0.8
    chance = np.asarray([0.2 * 0.2, 0.2 * 0.8, 0.8 * 0.2, 0.8 * 0.8])
    q = masks @ np.asarray([3.0, 8.0]) + 0.5
    assert chance @ q == pytest.approx(11.5)
    assert chance @ (q - 11.5) ** 2 == pytest.approx(0.25 * 73)
    keep = (jnp.broadcast_to(jnp.asarray(masks)[:, None, None], (4, 2, 1, 2)),)
    drawn_mean, drawn_variance = uwac.moments(critic, obs, action, keep, cfg)
    np.testing.assert_allclose(drawn_mean, np.full((2, 1), q.mean()))
    np.testing.assert_allclose(drawn_variance, np.full((2, 1), q.var(ddof=1)))


def test_uwac_variance_to_first_order_is_near_that_of_many_passes():
    cfg = uwac.UWAC(hidden=(64, 64), passes=2000)
    critic = uwac.init(cfg, Context(Spec((2,), 1)), NOISE).critic.net
    obs, action = NOISE.normal("o", (8, 2)), NOISE.uniform("a", (8, 1))
    drawn = uwac.moments(critic, obs, action, uwac.masks(cfg, NOISE, "keep", (8,)), cfg)
    mean, variance = uwac.moments(critic, obs, action, (), cfg)
    np.testing.assert_allclose(variance, drawn[1], rtol=0.3)
    np.testing.assert_allclose(mean, drawn[0], atol=0.2 * float(jnp.sqrt(drawn[1]).max()))


def test_uwac_masks():
    assert uwac.masks(uwac.UWAC(passes=0), NOISE, "m", (3, 5)) == ()
    shared = uwac.masks(uwac.UWAC(passes=4, hidden=(6, 7)), NOISE, "m", (3, 5))
    assert [m.shape for m in shared] == [(4, 2, 3, 5, 6), (4, 2, 3, 5, 7)]
    np.testing.assert_array_equal(shared[0][:, :, 0, 0], shared[0][:, :, 2, 4])
    own = uwac.masks(uwac.UWAC(passes=4, hidden=(6, 7), shared_masks=False), NOISE, "m", (3, 5))
    assert not np.array_equal(own[0][:, :, 0, 0], own[0][:, :, 2, 4])


def test_uwac_weights():
    variance = jnp.asarray([0.0, 1.0, 4.0])
    np.testing.assert_allclose(uwac.certainty(uwac.UWAC(beta=0.5), variance), np.exp([0, -0.5, -2]))
    np.testing.assert_allclose(uwac.certainty(uwac.UWAC(beta=2.0, exp_weight=False), variance), [1, 1, 0.5])


def test_uwac_critic_loss():
    """Errors 1 and 3 with weight .5: inside the square a quarter of them, outside half."""
    obs = jnp.zeros((1, 2))
    batch = Batch(obs, jnp.zeros((1, 1)), jnp.zeros(1), obs, jnp.zeros(1), jnp.zeros(1))
    for square, share in ((True, 0.25), (False, 0.5)):
        args = ((), jnp.asarray([1.0]), jnp.asarray([0.5]), (), batch, square)
        assert uwac.critic_loss(flat_critic(2.0, 4.0), *args)[0] == pytest.approx(share * (1 + 9))


@pytest.mark.parametrize("name", ["uwac_exp_weight", "uwac_inverse_weight"])
def test_uwac(name):
    """With passes as drawn by the authors, a mask for every row, and no spectral normalisation."""
    g = Golden(name)
    cfg = uwac.UWAC(
        passes=g.setting("n_passes"),
        shared_masks=False,
        spectral_norm=False,
        threshold=g.setting("mmd_threshold"),
        sigma=g.setting("mmd_sigma"),
        match_samples=g.setting("n_mmd_samples"),
        candidates=g.setting("n_target_actions"),
        mix=g.setting("critic_mix_lambda"),
        actor_lr=g.setting("policy_lr"),
        critic_lr=g.setting("qf_lr"),
        multiplier_lr=g.setting("alpha_lr"),
        **common(g, "beta", "exp_weight", "dropout", "kernel", "vae_lr"),
    )

    def actor(root, suffix=""):
        return nets.GaussianHeadsPolicy(g.mlp(f"{root}/actor", suffix), low=-5.0, high=2.0)

    def log_multiplier(root, suffix=""):
        return jnp.asarray(g[f"{root}/log_alpha{suffix}"]).reshape(())

    state = uwac.State(
        Trained.new(vae(g, "params"), optimisers.adam(cfg.vae_lr)),
        Trained.new(actor("params"), optimisers.adam(cfg.actor_lr)),
        Trained.new(g.critic("params"), optimisers.adam(cfg.critic_lr)),
        Trained.new(log_multiplier("params"), optimisers.adam(cfg.multiplier_lr)),
        g.critic("target"),
        (),
    )

    def expected(state, suffix=None):
        if suffix is None:
            nets = (state.vae.net, state.actor.net, state.critic.net, state.multiplier.net)
            return *nets, state.target_critic
        at = "expected/params"
        nets = (vae(g, at, suffix), actor(at, suffix), g.critic(at, suffix), log_multiplier(at, suffix))
        return *nets, g.critic("expected/target", suffix)

    def tape(arrays):
        arrays = samples_first("target_action", "vae_decode_latent", "actor_action")(arrays)
        found = {k: v for k, v in arrays.items() if not k.startswith("mask_")}
        for i in range(2):
            target = [arrays[f"mask_target_critic{c}_layer{i}"].transpose(2, 1, 0, 3) for c in (1, 2)]
            policy = [arrays[f"mask_critic{c}_policy_layer{i}"].swapaxes(0, 1) for c in (1, 2)]
            found[f"target_dropout_{i}"] = jnp.stack(target, 1)
            found[f"policy_dropout_{i}"] = jnp.stack(policy, 1)
            found[f"data_dropout_{i}"] = jnp.stack([arrays[f"mask_critic{c}_data_layer{i}"] for c in (1, 2)])
        return found

    for step in range(1, g.steps + 1):  # reported there apart, or for each row
        g.arrays[f"expected/critic_loss/step{step}"] = sum(g[f"expected/qf{c}_loss/step{step}"] for c in (1, 2))
        for name in ("critic_weight", "target_var", "mmd"):
            g.arrays[f"expected/{name}/step{step}"] = g[f"expected/{name}/step{step}"].mean()
    losses = {
        "vae/loss": "vae_loss",
        "critic/loss": "critic_loss",
        "actor/loss": "policy_loss",
        "actor/mmd": "mmd",
        "variance": "target_var",
        "weight": "critic_weight",
    }
    slopes = {"multiplier": "log_alpha"}
    update = warm_then(uwac.algorithm, cfg, {*losses, "multiplier/gradient_norm"})
    replay(uwac.algorithm, cfg, state, g, expected, losses, update=update, tape=tape, slopes=slopes)
