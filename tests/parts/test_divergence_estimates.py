"""BRAC's divergence estimates: worked by hand, and the numbers recorded from the authors' code."""

from __future__ import annotations

import math

import jax.numpy as jnp
import numpy as np
import pytest

from holdfast.core.trained import Trained
from holdfast.parts import divergence_estimates, layers, optimisers
from holdfast.parts.distributions import TanhNormal
from holdfast.parts.divergence_estimates import divergence
from support.formulas import array, critics, same
from support.tapes import Golden

pytestmark = pytest.mark.usefixtures("x64")


def test_dual_estimates(run):
    softplus = [math.log(1 + math.exp(x)) for x in (0.3, -2)]
    same(run(lambda p, d: divergence_estimates.dual_estimate(p, d, "wasserstein"), array(0.3), array(-2)), [2.3])
    wanted = math.log(softplus[0] + 1e-8) - softplus[1] + 1
    same(run(lambda p, d: divergence_estimates.dual_estimate(p, d, "kl_dual"), array(0.3), array(-2)), [wanted])


def test_the_dual_kl_is_a_bound_that_its_best_discriminator_reaches():
    """Over three actions: softplus(c) = pi / b gives sum pi log(pi / b), anything else gives less."""
    pi, b = np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.2, 0.6])
    best = np.log(np.expm1(pi / b))

    def estimate(c):
        c = jnp.asarray(c)
        return float(
            (
                divergence_estimates.dual_estimate(c, jnp.zeros(3), "kl_dual")
                - divergence_estimates.dual_estimate(jnp.zeros(3), jnp.zeros(3), "kl_dual")
            )
            @ pi
        ) + float(divergence_estimates.dual_estimate(jnp.zeros(3), c, "kl_dual") @ b)

    kl = (pi * np.log(pi / b)).sum()
    assert estimate(best) == pytest.approx(kl, abs=1e-7)
    for shift in ([0.3, 0, 0], [0, -0.5, 0.2], [1, 1, 1]):
        assert estimate(best + np.array(shift)) < kl


def test_discriminator_loss(run):
    """c = 3 a1 + 4 a2: slope 5, so the penalty is 2 * (5 - 1)^2; the estimate is c(policy) - c(data)."""
    net = critics([0, 3, 4])
    action, logged = array([0.5, 0], [0, 0.5]), array([0, 0], [0.1, 0])
    given = (jnp.zeros((2, 1)), action, logged, array(0.2, 0.9), 2.0)
    loss, found = run(lambda *a: divergence_estimates.discriminator_loss(net, *a, "wasserstein"), *given)
    estimate = ((1.5 - 0) + (2 - 0.3)) / 2
    same(loss, 2 * 16 - estimate, 1e-8)
    same(found["slope"], 5, 1e-8)


def test_kl_divergence(run):
    """Mean over two draws of log pi - log b, b's density at actions kept 1e-3 from the bounds."""
    dist, other = TanhNormal(array([0.2]), array([0])), TanhNormal(array([-0.3]), array([-1]), 1e-3)
    draws = (array([[0.1]], [[9]]),)  # the second is saturated
    found = run(
        lambda d: divergence_estimates.divergence(("kl", 1.0), lambda obs: other, dist, None, None, None, d), draws
    )
    action, log_pi = dist.sample_and_log_prob(array([0.1]))
    edge, log_edge = dist.sample_and_log_prob(array([9]))
    assert edge[0, 0] > 1 - 1e-3
    wanted = log_pi - other.log_prob(action) + log_edge - other.log_prob(array([1 - 1e-3]))
    same(found, wanted / 2, 1e-8)


def test_bounded_policy(run):
    net = layers.MLP((layers.Linear(jnp.zeros((1, 2)), array(0.4, 0.6)),), ())
    dist = run(divergence_estimates.BoundedPolicy(net), array([1]))
    same(dist.log_std, [[-5 + 2.5 * (math.tanh(0.6) + 1)]])
    assert dist.edge == 1e-3
    for x, edge in ((100, 0), (-100, -5)):  # the range
        net = layers.MLP((layers.Linear(jnp.zeros((1, 2)), array(0.4, x)),), ())
        same(divergence_estimates.BoundedPolicy(net)(array([1])).log_std, [[edge]])


def test_learned_weights_stay_in_range(run):
    """Plain descent of rate 1 on -w (excess): w + mean excess, projected."""
    tx = optimisers.sgd(1.0, 0.0)
    for excess, wanted in (([0.1, 0.3], 0.7), ([-2, -2], 0.0), ([4, 4], 1.5)):
        weight = Trained.new(jnp.asarray(0.5), tx)
        moved, found = run(
            lambda w, e: divergence_estimates.learn_weight(w, tx, e, 1.5, "weight"), weight, array(*excess)
        )
        same(moved.net, wanted)
        same(found["weight/loss"], -0.5 * np.mean(excess))


@pytest.mark.parametrize("name", ["brac_v", "brac_p"])
def test_brac_mmd(name):
    g = Golden(name)
    x, y = (jnp.asarray(g[f"mmd/samples{i}"]) for i in (1, 2))

    class Samples:  # distributions whose draws are the recorded samples
        def repeat(self, n):
            return self

        def sample(self, eps):
            return eps

    none = jnp.zeros((6, 3))
    found = divergence(("mmd", 20.0), lambda obs: Samples(), Samples(), none, none, none, (x, y))
    np.testing.assert_allclose(found, g["mmd/laplacian_sigma20"], rtol=1e-9)
