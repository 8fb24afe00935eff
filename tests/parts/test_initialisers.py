"""Initial weights."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from scipy import stats

from holdfast.parts import initialisers, nets
from support.formulas import (
    NOISE,
    same,
)

pytestmark = pytest.mark.usefixtures("x64")


@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (4, 4), (1, 6), (64, 64)])
def test_orthogonal_weights_are_orthogonal(run, shape):
    layer = run(lambda n: initialisers.orthogonal()(n, *shape), NOISE)
    w = np.asarray(layer.weight)
    assert w.shape == shape
    gram = w.T @ w if shape[0] >= shape[1] else w @ w.T
    same(gram, 2 * np.eye(min(shape)), atol=1e-12)
    assert not layer.bias.any()
    other = initialisers.orthogonal(0.5)(NOISE.sub("other"), *shape).weight
    assert np.linalg.norm(other, 2) == pytest.approx(0.5)


def test_orthogonal_weights_in_float32_stay_orthogonal():
    with jax.enable_x64(False):
        w = np.asarray(initialisers.orthogonal(1.0)(NOISE, 256, 256).weight)
    assert w.dtype == np.float32
    assert np.abs(w.T @ w - np.eye(256)).max() < 1e-5


def test_torch_uniform_bounds():
    layer = initialisers.torch_uniform(NOISE, 100, 400)
    for values in (layer.weight, layer.bias):
        assert np.abs(values).max() <= 0.1
    scaled = np.asarray(layer.weight).ravel()
    assert stats.kstest(scaled, stats.uniform(-0.1, 0.2).cdf).pvalue > 1e-3
    assert np.abs(np.asarray(layer.bias)).max() > 0.09
    layer = initialisers.uniform_init(3e-3, 1e-4)(NOISE, 50, 50)
    assert 2.9e-3 < np.abs(layer.weight).max() <= 3e-3
    assert 0.9e-4 < np.abs(layer.bias).max() <= 1e-4


def test_the_last_layer_may_have_its_own_initialiser():
    net = nets.mlp(NOISE, (3, 4, 2), last=initialisers.uniform_init(1e-3, 0.0))
    assert np.abs(net.layers[0].weight).max() > 0.1
    assert np.abs(net.layers[1].weight).max() <= 1e-3
    assert not net.layers[1].bias.any()
