"""Adam with a bound on the norm of the gradient."""

import jax
import pytest

from holdfast.parts import optimisers
from support.formulas import array, same

pytestmark = pytest.mark.usefixtures("x64")


def test_clipping_leaves_the_optimisers_state_as_it_is(run):
    """A phase may begin to clip; gradients within the bound are left alone, zero ones stay zero."""
    free, bound = optimisers.adam(0.1), optimisers.adam(0.1, clip_norm=5.0)
    state = free.init(array(0, 0))
    assert jax.tree.structure(state) == jax.tree.structure(bound.init(array(0, 0)))
    for gradient in ([3.0, 3.9], [0.0, 0.0]):
        same(run(bound.update, array(*gradient), state)[0], run(free.update, array(*gradient), state)[0])
    _, (moments, _) = run(bound.update, array(6.0, 8.0), state)
    same(moments.mu, 0.1 * array(6, 8) * 5 / (10 + 1e-6))
