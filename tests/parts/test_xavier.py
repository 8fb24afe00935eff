"""Glorot's initial weights."""

import math

import jax
import numpy as np
import pytest

from holdfast.core.noise import Noise
from holdfast.parts import initialisers
from support.formulas import same

pytestmark = pytest.mark.usefixtures("x64")


@pytest.mark.parametrize("heads", [1, 2])
def test_xavier(heads):
    """Two heads of 25 outputs side by side have the bound of 25, not of 50."""
    layer = initialisers.xavier(heads)(Noise(jax.random.PRNGKey(0)), 100, 50)
    bound = math.sqrt(6 / (100 + 50 / heads))
    assert 0.99 * bound < np.abs(layer.weight).max() <= bound
    assert np.asarray(layer.weight).std() == pytest.approx(bound / math.sqrt(3), rel=0.02)
    same(layer.bias, np.zeros(50))
