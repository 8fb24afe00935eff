"""Optimisers and schedules against numbers worked by hand."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from holdfast.parts import optimisers
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
