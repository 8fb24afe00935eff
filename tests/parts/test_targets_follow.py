"""How target networks follow: Polyak averages and copies."""

import jax
import jax.numpy as jnp
import pytest

from holdfast.parts import targets
from support.formulas import array, near


@pytest.mark.parametrize(("every", "step", "rate", "wanted"), [(1, 0, 0.25, 3), (3, 1, 1.0, 2), (3, 2, 1.0, 6)])
def test_how_the_target_network_follows(every, step, rate, wanted):
    found = jax.jit(lambda s: targets.follow(array(6.0), array(2.0), rate, every, s))(step)
    near(found, [wanted])  # .75 * 2 + .25 * 6; not yet; the copy


def test_the_hard_copy_stays_a_branch_under_vmap():
    def follow(new, old, step):
        return jax.vmap(lambda n, o: targets.follow(n, o, 1.0, 5, step))(new, old)

    text = str(jax.make_jaxpr(follow)(jnp.ones((4, 3)), jnp.zeros((4, 3)), 1))
    assert "cond[" in text
    assert "f32[4,3] = select_n" not in text
