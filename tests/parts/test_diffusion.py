"""Diffusion policies against numbers worked by hand (float64)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from holdfast.core.spec import Spec
from holdfast.parts import diffusion
from support.formulas import NOISE, array, same

pytestmark = pytest.mark.usefixtures("x64")

OBS = np.array([[1.0], [2.0]])
BETA = 1 - np.exp([-0.05 - 0.5 * 9.9 / 4, -0.05 - 0.5 * 9.9 * 3 / 4])  # of two steps
KEPT = np.cumprod(1 - BETA)


def half(obs, x, t):
    """A network that predicts half of x."""
    return x / 2


def test_the_schedule():
    found = diffusion.schedule(2)
    same(found.beta, BETA)
    same(found.kept, KEPT)
    assert diffusion.schedule(5).kept[-1] < 0.01  # hardly anything of the action is left
    assert (np.diff(diffusion.schedule(5).beta) > 0).all()


def test_noise_and_the_error_of_its_prediction(run):
    action, eps, t = array([0.5, -1], [0, 1]), array([1, 2], [-1, 0.5]), jnp.array([0, 1])
    kept = KEPT[[0, 1]][:, None]
    x = np.sqrt(kept) * action + np.sqrt(1 - kept) * eps
    same(run(lambda a: diffusion.noised(a, eps, t, 2), action), x)
    same(run(lambda a: diffusion.error(half, OBS, a, eps, t, 2), action), (x / 2 - eps) ** 2)


def test_sampling_by_the_posterior(run):
    """The action that x implies is clipped at each step; the last step returns it."""
    eps = array([[0.3], [-3]], [[0.5], [1]])
    implied = np.clip(eps[0] / np.sqrt(KEPT[1]) - np.sqrt(1 / KEPT[1] - 1) * eps[0] / 2, -1, 1)
    mean = BETA[1] * np.sqrt(KEPT[0]) / (1 - KEPT[1]) * implied
    mean += (1 - KEPT[0]) * np.sqrt(1 - BETA[1]) / (1 - KEPT[1]) * eps[0]
    x = mean + np.sqrt(BETA[1] * (1 - KEPT[0]) / (1 - KEPT[1])) * eps[1]
    last = np.clip(x / np.sqrt(KEPT[0]) - np.sqrt(1 / KEPT[0] - 1) * x / 2, -1, 1)
    found = run(lambda eps: diffusion.by_posterior(half, OBS, eps), eps)
    same(found, last)
    assert (np.abs(found) < 1).any()


def test_sampling_step_by_step(run):
    """x is clipped at each step, after its noise; the last step has no noise."""
    eps = array([[0.3], [-3]], [[0.5], [-1]])
    x = np.clip(
        (eps[0] - BETA[1] / np.sqrt(1 - KEPT[1]) * eps[0] / 2) / np.sqrt(1 - BETA[1]) + np.sqrt(BETA[1]) * eps[1], -1, 1
    )
    x = np.clip((x - BETA[0] / np.sqrt(1 - KEPT[0]) * x / 2) / np.sqrt(1 - BETA[0]), -1, 1)
    same(run(lambda eps: diffusion.by_steps(half, OBS, eps), eps), x)


def test_the_gradient_passes_through_all_steps():
    def final(scale):
        return diffusion.by_posterior(lambda obs, x, t: scale * x, OBS, 0.1 * jnp.ones((3, 2, 1))).sum()

    slope = jax.grad(final)(0.5)
    same(slope, (final(0.5 + 1e-6) - final(0.5 - 1e-6)) / 2e-6, rtol=1e-6)


def test_networks_take_several_candidates_for_each_row():
    """The same numbers as for each candidate alone, with a step for each row or one for all."""
    spec = Spec((3,), 2)
    rng = np.random.default_rng(0)
    obs, x = jnp.asarray(rng.normal(size=(4, 3))), jnp.asarray(rng.normal(size=(5, 4, 2)))

    @jax.jit
    def found(noise, obs, x):
        nets = (diffusion.sinusoid_net(noise, spec, (8,)), diffusion.residual_net(noise, spec, (8,)))
        keeps = ((jnp.ones((4, 8)),), (jnp.eye(4, 8),))
        dropped = [nets[1](obs, x[2], jnp.full(4, 3), keep) for keep in keeps]
        each = [(n(obs, x, jnp.asarray(3)), n(obs, x[2], jnp.full(4, 3)), n(obs, x, jnp.asarray(0))) for n in nets]
        return each, dropped

    each, (kept, dropped) = found(NOISE, obs, x)
    for many, one, other in each:
        same(many[2], one, rtol=1e-10)
        assert not np.allclose(many, other)
    same(kept, each[1][1], rtol=1e-10)  # factors of one leave a block's input as it is
    assert not np.allclose(dropped, each[1][1])


def test_the_description_of_a_step():
    same(diffusion.sinusoids(jnp.asarray(0.0), 4), array(0, 0, 1, 1))
    same(diffusion.sinusoids(jnp.asarray(2.0), 4), np.array([np.sin(2), np.sin(2e-4), np.cos(2), np.cos(2e-4)]))
