"""Losses and weights against numbers worked by hand."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import pytest
from scipy import optimize

from holdfast.parts import layers, losses
from support.formulas import (
    array,
    same,
)
from support.marks import both

pytestmark = pytest.mark.usefixtures("x64")


@both
def test_expectile(run):
    # u = 2: .7 * 4;  u = -2: |.7 - 1| * 4;  u = 0: 0
    same(run(losses.expectile, array(2, -2, 0), 0.7), [2.8, 1.2, 0])
    same(run(losses.expectile, array(3, -3), 0.5), [4.5, 4.5])  # half the square


@pytest.mark.parametrize("tau", [0.1, 0.5, 0.7, 0.95])
def test_the_minimiser_of_the_expectile_loss_is_the_expectile(run, tau):
    x = array(-1, 0, 0.5, 4, 9)

    def defect(m):  # tau E(x - m)+ = (1 - tau) E(m - x)+
        return float(tau * jnp.maximum(x - m, 0).sum() - (1 - tau) * jnp.maximum(m - x, 0).sum())

    root = optimize.brentq(defect, -1, 9, xtol=1e-13)
    slope = run(jax.grad(lambda m: losses.expectile(x - m, tau).mean()), jnp.asarray(root))
    assert abs(slope) < 1e-10
    if tau == 0.5:
        assert root == pytest.approx(2.5)  # the mean


def test_exp_weight_is_capped_on_the_weight(run):
    # e^(3 * .5) = 4.4817;  e^(3 * 2) = 403 > 100;  e^(3 * 1.5) = 90.017 < 100: below the cap nothing moves
    same(run(losses.exp_weight, array(0.5, 2, 1.5, -1), 3.0, 100.0), [math.exp(1.5), 100, math.exp(4.5), math.exp(-3)])
    same(run(losses.exp_weight, array(1e6, -1e6), 10.0, 100.0), [100, 0])


def test_huber(run):
    # .5: .25 / 2;  3: 1/2 + 1 * 2;  -3, delta 2: 2 + 2 * 1
    same(run(losses.huber, array(0.5, 3, -3)), [0.125, 2.5, 2.5])
    same(run(losses.huber, array(-3, 1), 2.0), [4, 0.5])


def test_squared_weights(run):
    net = layers.MLP((layers.Linear(array([1, 2], [3, 0]), array(9, 9)), layers.Linear(array([-1], [2]), array(9))), ())
    same(run(losses.squared_weights, net), 1 + 4 + 9 + 1 + 4)
