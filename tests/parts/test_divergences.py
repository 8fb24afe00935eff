"""The maximum mean discrepancy: worked by hand, and the numbers recorded from BEAR's code."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from holdfast.parts import divergences
from support.formulas import NOISE, with_and_without_jit
from support.tapes import TOLERANCE, Golden, close

pytestmark = pytest.mark.usefixtures("x64")


def test_mmd_by_hand():
    x, y = jnp.asarray([[0.0], [2.0]])[:, None], jnp.asarray([[1.0]])[:, None]
    k = {"laplacian": [math.exp(-1), math.exp(-0.5)], "gaussian": [math.exp(-2), math.exp(-0.5)]}  # distances 2, 1
    for name, (two, one) in k.items():
        squared = (2 + 2 * two) / 4 + 1 - 2 * one
        np.testing.assert_allclose(
            with_and_without_jit(lambda x, y, n=name: divergences.mmd_squared(x, y, n, 1.0), x, y), [squared]
        )
        np.testing.assert_allclose(divergences.mmd(x, y, name, 1.0), [math.sqrt(squared + 1e-6)])


@pytest.mark.slow
def test_mmd_of_the_same_samples_has_a_gradient():
    x = NOISE.normal("x", (4, 3, 2))
    for name in ("laplacian", "gaussian"):
        value, slope = jax.value_and_grad(lambda y, n=name: divergences.mmd(x, y, n, 20.0).sum())(x)
        assert value == pytest.approx(3e-3)
        assert np.isfinite(slope).all()


@pytest.mark.parametrize("kernel", ["laplacian", "gaussian"])
@pytest.mark.parametrize("sigma", [0.2, 1.0, 10.0])
def test_mmd(kernel, sigma):
    g = Golden("bear_laplacian")
    x, y = (jnp.moveaxis(jnp.asarray(g[f"mmd/samples{i}"]), 1, 0) for i in (1, 2))
    close("mmd", divergences.mmd(x, y, kernel, sigma), g[f"mmd/{kernel}/sigma{sigma}"], TOLERANCE)
