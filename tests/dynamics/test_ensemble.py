"""Ensembles: their loss and steps recorded from OfflineRL-Kit, penalties and scales worked by hand."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from holdfast.core.noise import Noise
from holdfast.core.trained import Trained
from holdfast.dynamics import ensemble, penalties
from holdfast.parts import layers, optimisers
from support.tapes import TOLERANCE, Golden, close

pytestmark = pytest.mark.usefixtures("x64")


def recorded(g: Golden, root: str, suffix: str = "") -> ensemble.Gaussian:
    bounds = (jnp.asarray(g[f"{root}/{name}{suffix}"]) for name in ("max_logvar", "min_logvar"))
    return ensemble.Gaussian(g.mlp(root, suffix, activation="swish"), *bounds)


def test_the_steps_of_an_ensemble():
    g = Golden("dynamics_ensemble")
    tx = optimisers.adam(g.setting("lr"))
    state = Trained.new(recorded(g, "params/dynamics"), tx)
    scale = ensemble.Scale(jnp.asarray(g["scaler/mean"][0]), jnp.asarray(g["scaler/std"][0]))
    index = g["batch/bootstrap_index"]
    obs, action, reward, following = (g[f"batch/{n}"][index] for n in ("obs", "action", "reward", "next_obs"))
    x = scale(jnp.concatenate([jnp.asarray(obs), jnp.asarray(action)], -1))
    y = ensemble.change_and_reward(jnp.asarray(obs), jnp.asarray(following), jnp.asarray(reward))
    np.testing.assert_allclose(y, g["expected/targets"][index], rtol=TOLERANCE)
    decay = tuple(g["config/weight_decays"].tolist())
    weight = g.setting("logvar_loss_coef")
    run = jax.jit(lambda state: state.step(tx, ensemble.likelihood_loss, x, y, decay, weight, name="model"))
    for step in range(1, g.steps + 1):
        state, metrics = run(state)
        assert metrics["model/loss"] == pytest.approx(g[f"expected/loss/step{step}"].item(), rel=TOLERANCE)
        close(f"step {step}", state.net, recorded(g, "expected/params/dynamics", f"/step{step}"), TOLERANCE)


def test_a_sampled_step_and_its_penalties():
    g = Golden("dynamics_ensemble")
    scale = ensemble.Scale(jnp.asarray(g["scaler/mean"][0]), jnp.asarray(g["scaler/std"][0]))
    net = recorded(g, "expected/params/dynamics", f"/step{g.steps}")
    model = ensemble.Ensemble(net, scale, ensemble.identity(5), jnp.arange(2), net.nets)
    obs, action = jnp.asarray(g["batch/obs"]), jnp.asarray(g["batch/action"])
    mean, std = model.predict(obs, action)
    which = jnp.asarray(g["noise/step_elite_index"])
    eps = jnp.asarray(g["noise/step_gaussian"])[which, jnp.arange(len(obs))]
    found = ensemble.outcome(obs, mean, std, which, eps)
    near = {"rtol": 2e-5, "atol": 2e-5}  # the recording rounds here
    np.testing.assert_allclose(found.next_obs, g["expected/step/next_obs"], **near)
    np.testing.assert_allclose(found.reward, g["expected/step/raw_reward"].reshape(-1), **near)
    change = mean[..., :-1]
    for name, value in (
        ("aleatoric", penalties.largest_std(std)),
        ("pairwise_diff", penalties.distance_to_mean(obs[None] + change)),
        ("ensemble_std", penalties.ensemble_std(obs[None] + change)),
    ):
        np.testing.assert_allclose(value, g[f"expected/step/penalty_{name}"].reshape(-1), err_msg=name, **near)


@pytest.mark.parametrize("members", [2, 3, 4, 7])
def test_penalties_by_hand(members):
    rng = np.random.default_rng(members)
    mean = rng.normal(size=(members, 5, 3))
    pairs = [np.linalg.norm(mean[i] - mean[j], axis=-1) for i, j in itertools.combinations(range(members), 2)]
    np.testing.assert_allclose(penalties.pairwise_disagreement(jnp.asarray(mean)), np.max(pairs, 0))
    value = rng.normal(size=(members, 4, 6))
    wanted = np.std(value.mean(1), axis=0, ddof=1)
    np.testing.assert_allclose(penalties.bellman_inconsistency(jnp.asarray(value)), wanted)
    std = np.abs(mean)
    np.testing.assert_allclose(penalties.largest_std(jnp.asarray(std)), np.sqrt((std**2).sum(-1)).max(0))


def test_bounds_of_the_log_variance():
    low, high = jnp.full(3, -3.0), jnp.full(3, 1.0)
    found = ensemble.bounded(jnp.asarray([-100.0, -1.0, 100.0]), low, high)
    assert found[0] == pytest.approx(-3, abs=0.1)
    assert found[2] == pytest.approx(1, abs=0.1)
    once = 1 - np.log1p(np.exp(1 + 1.0))
    assert found[1] == pytest.approx(-3 + np.log1p(np.exp(once + 3)))


def test_scales():
    x = jnp.asarray([[0.0, 2, 5], [2, 2, 5], [4, 2, 11]])
    one = ensemble.standard(x)
    np.testing.assert_allclose(one.width, [np.sqrt(8 / 3), 1, np.sqrt(8)])
    constant = jnp.full((1_900, 1), 0.1, jnp.float32)
    assert 0 < constant.std() < 1e-6  # rounding
    assert ensemble.standard(constant).width == 1
    other = ensemble.absolute(x)
    np.testing.assert_allclose(other.width, [4 / 3, 0, 8 / 3], atol=1e-7)
    np.testing.assert_allclose(one.undo(one(x)), x, atol=1e-12)


def test_weight_decay_has_a_coefficient_for_each_layer():
    """Ones in layers of 2 x 3, 3 x 4 and 4 x 4 weights, for two members."""
    shapes = ((2, 3), (3, 4), (4, 4))
    ones = layers.MLP(tuple(layers.Linear(jnp.ones((2, *shape)), jnp.ones((2, shape[1]))) for shape in shapes), ())
    assert ensemble.weight_decay(ones, (1.0, 2.0, 3.0)) == pytest.approx(0.5 * 2 * (6 * 1 + 12 * 2 + 16 * 3))
    assert ensemble.weight_decay(ones, (1.0, 3.0)) == pytest.approx(0.5 * 2 * (6 * 1 + 12 * 1 + 16 * 3))


def test_initial_weights_are_truncated_normals():
    layer = ensemble.truncated_init(Noise(jax.random.PRNGKey(1)), 100, 200)
    std = 1 / (2 * 10)
    assert np.abs(layer.weight).max() <= 2 * std
    assert layer.weight.std() == pytest.approx(0.88 * std, rel=0.02)
    assert not layer.bias.any()
