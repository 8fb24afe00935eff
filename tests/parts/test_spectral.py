"""Spectral normalisation: worked by hand, and the numbers recorded from UWAC's code."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from holdfast.parts import layers, nets, spectral
from support.formulas import NOISE, mlp
from support.tapes import TOLERANCE, Golden, close

pytestmark = pytest.mark.usefixtures("x64")


def test_spectral_norm_finds_the_largest_singular_value():
    net = nets.mlp(NOISE, (6, 8, 3))
    towards = spectral.directions(NOISE, net)
    for _ in range(300):
        normal, towards = jax.jit(spectral.normalise)(net, towards)
    for layer, raw, u in zip(normal.layers, net.layers, towards, strict=True):
        assert np.linalg.svd(layer.weight)[1][0] == pytest.approx(1)
        np.testing.assert_allclose(layer.weight * np.linalg.svd(raw.weight)[1][0], raw.weight)
        assert np.linalg.norm(u) == pytest.approx(1)


def test_a_spectrally_normalised_layer_does_not_feel_the_scale_of_its_weight():
    layer, (u,) = mlp(([[3.0, 0.0], [0.0, 1.0]], [0.0, 0.0])), (jnp.asarray([1.0, 0.0]),)
    slope = jax.grad(lambda n: spectral.normalise(n, (u,))[0].layers[0].weight.sum())(layer).layers[0].weight
    np.testing.assert_allclose(slope, [[-1 / 9, 1 / 3], [1 / 3, 1 / 3]])  # sum of W / W_00: the last term from sigma
    assert float((slope * layer.layers[0].weight).sum()) == pytest.approx(0)


def test_spectral_norm():
    g = Golden("uwac_exp_weight")
    weight, before = (jnp.asarray(g[f"spectral_norm/{k}"]) for k in ("weight", "u_before"))
    net, (after,) = spectral.normalise(layers.MLP((layers.Linear(weight, jnp.ones(8)),), ()), (before,))
    close("direction", after, g["spectral_norm/u_after"], TOLERANCE)
    close("weight", net.layers[0].weight, g["spectral_norm/weight_normalised"], TOLERANCE)
    close("bias", net.layers[0].bias, jnp.ones(8), TOLERANCE)
