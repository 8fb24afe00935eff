"""Acting by the best of several candidate actions."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from holdfast.parts import candidates
from support.formulas import NOISE, with_and_without_jit

pytestmark = pytest.mark.usefixtures("x64")


def test_candidates():
    q = jnp.asarray([[1.0, 5.0], [2.0, 4.0], [0.0, 6.0]])
    actions = jnp.arange(6.0).reshape(3, 2, 1)
    np.testing.assert_array_equal(with_and_without_jit(candidates.best, q, actions), [[2.0], [5.0]])
    fixed = candidates.normals(NOISE, "best", 7, 3, 2)
    assert fixed.shape == (7, 3, 2)
    np.testing.assert_array_equal(fixed[:, 0], fixed[:, 2])
    np.testing.assert_array_equal(fixed, candidates.normals(NOISE.fold(1), "best", 7, 3, 2))
    drawn = candidates.normals(NOISE, "sample", 7, 3, 2)
    assert not np.array_equal(drawn[:, 0], drawn[:, 2])


def test_the_densest_place():
    """Kernels of width 1: exp(-1/2), exp(-2) and exp(-9/2) at distances 1, 2 and 3."""
    actions = jnp.asarray([[[0.0], [3.0]], [[1.0], [0.0]], [[3.0], [0.0]]])
    found = with_and_without_jit(lambda a: candidates.densest(a, 1.0), actions)
    density = 1 + np.exp([[-0.5, -4.5], [-0.5, -2.0], [-4.5, -2.0]]).sum(1)
    np.testing.assert_array_equal(found, [[[0.0, 1.0, 3.0][density.argmax()]], [0.0]])
    assert density.argmax() == 1
