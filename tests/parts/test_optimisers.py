"""Optimisers and schedules against numbers worked by hand."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from holdfast.parts import optimisers
from holdfast.parts.layers import Linear
from support.formulas import (
    array,
    same,
)

pytestmark = pytest.mark.usefixtures("x64")


def test_adam_by_hand(run):
    # after one step m/(1 - b1) = g, v/(1 - b2) = g^2: the move is lr g / (|g| + eps) = lr sign(g)
    tx = optimisers.adam(0.1)
    grads = (array(4, -0.5), array(2, 0.5))
    params, opt = array(1, 2), tx.init(array(1, 2))
    m = v = np.zeros(2)
    wanted = np.array([1.0, 2.0])
    for t, g in enumerate(grads, 1):
        move, opt = run(tx.update, g, opt, params)
        params = optax.apply_updates(params, move)
        m, v = 0.9 * m + 0.1 * np.asarray(g), 0.999 * v + 0.001 * np.asarray(g) ** 2
        wanted = wanted - 0.1 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        same(params, wanted, 1e-9)
    same(optimisers.adam(0.1).update(grads[0], tx.init(params), params)[0], [-0.1, 0.1], 1e-6)


def test_gradients_are_clipped_to_a_norm_before_adam(run):
    # |(3, 4)| = 5 -> (3, 4) / (5 + 1e-6); with eps = 1 the first move is -lr g / (|g| + 1)
    tx = optimisers.adam(1.0, eps=1.0, clip_norm=1.0)
    move, _ = run(tx.update, array(3, 4), tx.init(array(0, 0)), array(0, 0))
    x, y = 3 / (5 + 1e-6), 4 / (5 + 1e-6)
    same(move, [-x / (1 + x), -y / (1 + y)], 1e-9)


def test_cosine(run):
    schedule = optimisers.cosine(2.0, 100)
    # (1 + cos(pi t / 100)): t = 0 -> 2, a quarter -> 1 + 1/sqrt 2, half -> 1, the end and beyond -> 0
    same(run(schedule, jnp.asarray([0, 25, 50, 100, 1000])), [2, 1 + 0.5**0.5, 1, 0, 0], atol=1e-12)
    assert optimisers.cosine(2.0, "constant")(7) == 2.0
    swept = jax.vmap(lambda lr: optimisers.cosine(lr, 100)(50))(array(2, 4))
    same(swept, [1, 2])


def test_a_rate_that_rises_and_then_falls_to_a_tenth(run):
    rate = optimisers.warmed(2.0, 4.0, "constant")
    same(run(rate, array(0, 1, 3, 4, 100)), [0.5, 1, 2, 2, 2])
    falling = optimisers.warmed(2.0, 4.0, 12)  # t + 1 = 8 is half of the way from 4 to 12
    same(run(falling, array(1, 3, 7, 9, 11, 100)), [1, 2, 1, 1 + np.cos(0.75 * np.pi), 0.2, 0.2], 1e-12)
    with pytest.raises(ValueError, match="over_the_run"):
        optimisers.warmed(2.0, 4.0, "run")


def test_adamw_by_hand():
    """The norm 5 is clipped to 1; the first step of Adam is the sign; weights shrink by rate times decay."""
    net = (Linear(array([3.0]), array(4.0)), array(0.0))
    grads = (Linear(array([3.0]), array(4.0)), array(0.0))
    for linear_only, shrunk in ((False, 1.0), (True, 0.0)):
        tx = optimisers.adamw(0.1, 0.5, 1.0, linear_only=linear_only)
        moved, opt = jax.jit(tx.update)(grads, tx.init(net), net)
        same(moved[0].weight, [[-0.1 - 0.1 * 0.5 * 3.0]], 1e-6)
        same(moved[0].bias, [-0.1 - 0.1 * 0.5 * 4.0 * shrunk], 1e-6)
        same(opt[0].mu[0].weight, [[0.1 * 3 / (5 + 1e-6)]], 1e-9)
        same(opt[0].nu[0].weight, [[0.001 * (3 / (5 + 1e-6)) ** 2]], 1e-9)


def test_lamb_by_hand():
    """Each array moves by the rate times its own norm, in the direction of the sign of the gradient and its decay."""
    params = {"a": array(3, 4), "b": array(0, 0)}
    grads = {"a": array(0.01, -0.01), "b": array(0.02, 0.01)}
    tx = optimisers.lamb(0.1, 0.5, 0.25)
    moved, _ = jax.jit(tx.update)(grads, tx.init(params), params)
    step = np.array([1 + 0.5 * 3, -1 + 0.5 * 4])
    same(moved["a"], -0.1 * step * 5 / np.linalg.norm(step), 1e-5)
    same(moved["b"], [-0.1, -0.1], 1e-5)  # a norm of 0 has no ratio
