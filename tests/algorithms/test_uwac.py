"""UWAC: worked by hand, and whole updates recorded from the authors' code."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from holdfast.algorithms import uwac
from holdfast.core.contract import Context
from holdfast.core.spec import Spec
from holdfast.core.trained import Trained
from holdfast.parts import nets, optimisers
from support.formulas import NOISE, flat_critic, rows
from support.tapes import Golden, common, replay, samples_first, vae, warm_then

pytestmark = pytest.mark.usefixtures("x64")


def test_uwac_weights():
    variance = jnp.asarray([0.0, 1.0, 4.0])
    np.testing.assert_allclose(uwac.certainty(uwac.UWAC(beta=0.5), variance), np.exp([0, -0.5, -2]))
    np.testing.assert_allclose(uwac.certainty(uwac.UWAC(beta=2.0, exp_weight=False), variance), [1, 1, 0.5])


def test_uwac_critic_loss():
    """Errors 1 and 3 of two critics, weight .25."""
    batch = rows(jnp.zeros((1, 2)), jnp.zeros((1, 1)))
    args = ((), jnp.asarray([1.0]), jnp.asarray([0.25]), (), batch)
    assert uwac.critic_loss(flat_critic(2.0, 4.0), *args)[0] == pytest.approx(0.25 * (1 + 9))


@pytest.mark.slow
def test_uwac_weight_inside_or_outside_the_square():
    """One row of weight w: the loss with the weight inside the square is w times that with the weight outside."""
    batch = rows(jnp.ones((1, 2)), jnp.zeros((1, 1)), jnp.ones(1))
    found = {}
    for squared in (True, False):
        cfg = uwac.UWAC(hidden=(8,), vae_hidden=(4,), passes=0, squared_weight=squared, beta=50.0)
        state = uwac.init(cfg, Context(Spec((2,), 1)), NOISE)
        found[squared] = uwac.update(cfg, state, batch, NOISE, 0)[1]
    weight = float(found[True]["weight"])
    assert 0 < weight < 0.99
    assert found[True]["critic/loss"] == pytest.approx(weight * float(found[False]["critic/loss"]))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["uwac_exp_weight", "uwac_inverse_weight"])
def test_uwac(name):
    """With passes as drawn by the authors, a mask for every row, and no spectral normalisation."""
    g = Golden(name)
    cfg = uwac.UWAC(
        shared_masks=False,
        spectral_norm=False,
        **common(
            g,
            "passes=n_passes threshold=mmd_threshold sigma=mmd_sigma match_samples=n_mmd_samples "
            "candidates=n_target_actions mix=critic_mix_lambda actor_lr=policy_lr critic_lr=qf_lr "
            "multiplier_lr=alpha_lr beta exp_weight dropout kernel vae_lr",
        ),
    )

    def actor(root, suffix=""):
        return nets.GaussianHeadsPolicy(g.mlp(f"{root}/actor", suffix), low=-5.0, high=2.0)

    state = uwac.State(
        Trained.new(vae(g, "params"), optimisers.adam(cfg.vae_lr)),
        Trained.new(actor("params"), optimisers.adam(cfg.actor_lr)),
        Trained.new(g.critic("params"), optimisers.adam(cfg.critic_lr)),
        Trained.new(g.scalar("params/log_alpha"), optimisers.adam(cfg.multiplier_lr)),
        g.critic("target"),
        (),
    )

    def expected(state, suffix=None):
        if suffix is None:
            nets = (state.vae.net, state.actor.net, state.critic.net, state.multiplier.net)
            return *nets, state.target_critic
        at = "expected/params"
        nets = (vae(g, at, suffix), actor(at, suffix), g.critic(at, suffix), g.scalar(f"{at}/log_alpha", suffix))
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


def test_uwac_reports_a_wrong_passes():
    (fault,) = uwac.check(uwac.UWAC(passes=1))
    assert fault.startswith("passes")


def test_uwac_reports_a_wrong_dropout():
    (fault,) = uwac.check(uwac.UWAC(dropout=0.0))
    assert fault.startswith("dropout")
