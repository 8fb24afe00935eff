"""Named draws and recorded tapes."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from holdfast.core.noise import Noise, Tape, normals
from support.formulas import (
    NOISE,
    same,
)

pytestmark = pytest.mark.usefixtures("x64")


def test_the_same_name_gives_the_same_numbers_and_other_names_others():
    same(NOISE.normal("a", (4,)), NOISE.normal("a", (4,)))
    a, b = NOISE.normal("a", (10_000,)), NOISE.normal("b", (10_000,))
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.04
    assert stats.kstest(a, "norm").pvalue > 1e-3
    streams = [NOISE, NOISE.sub("a"), NOISE.sub("b"), NOISE.fold(0), NOISE.fold(1), NOISE.sub("a").sub("a")]
    assert len({float(s.normal("a", ())) for s in streams}) == len(streams)


def test_one_more_draw_changes_no_other_draw():
    def few(noise):
        return noise.normal("x", (3,))

    def more(noise):
        noise.uniform("new", (5,)), noise.sub("sub").normal("x", (3,))
        return noise.normal("x", (3,))

    same(few(NOISE), more(NOISE))


def test_noise_under_jit_and_vmap():
    keys = jnp.stack([jax.random.PRNGKey(s) for s in range(3)])
    f = lambda key: Noise(key).sub("s").fold(2).normal("x", (4,))  # noqa: E731
    together = jax.jit(jax.vmap(f))(keys)
    for i in range(3):
        same(together[i], f(keys[i]))
    assert len(np.unique(together)) == 12
    folded = jax.vmap(lambda i: NOISE.fold(i).normal("x", ()))(jnp.arange(3))
    same(folded, [float(NOISE.fold(i).normal("x", ())) for i in range(3)])


def test_kinds_of_noise():
    assert abs(float(NOISE.bernoulli("b", 0.3, (10_000,)).mean()) - 0.3) < 4 * math.sqrt(0.21 / 10_000)
    drawn = NOISE.integers("i", (10_000,), 7)
    assert stats.chisquare(np.bincount(drawn, minlength=7)).pvalue > 1e-3
    traced = jax.jit(lambda n: NOISE.integers("i", (100,), n))(jnp.asarray(3))
    assert set(traced.tolist()) == {0, 1, 2}
    uniform = NOISE.uniform("u", (10_000,))
    assert float(uniform.min()) >= 0
    assert float(uniform.max()) < 1
    assert stats.kstest(uniform, "uniform").pvalue > 1e-3
    assert NOISE.normal("x", (2,), jnp.float32).dtype == jnp.float32


def test_a_tape_plays_its_arrays_and_lists_the_unused_ones():
    tape = Tape({"a": np.ones(2), "s/b": np.zeros((2, 1)), "s/3/c": np.array([1, 0]), "never": np.ones(1)})
    same(tape.normal("a", (2,)), [1, 1])
    same(tape.sub("s").uniform("b", (2, 1)), [[0], [0]])
    assert tape.unused() == {"s/3/c", "never"}
    assert tape.sub("s").fold(3).bernoulli("c", 0.5, (2,)).tolist() == [True, False]
    assert tape.integers("a", (2,), 5).tolist() == [1, 1]
    assert tape.unused() == {"never"}


def test_a_tape_refuses_draws_that_it_does_not_hold():
    tape = Tape({"a": np.ones(2)})
    with pytest.raises(ValueError, match=r"'a' has shape \(2,\), the program asks for \(3,\)"):
        tape.normal("a", (3,))
    with pytest.raises(KeyError, match="holds no 'b'"):
        tape.normal("b", (2,))
    assert tape.unused() == {"a"}


SHAPES = [(), (3,), (10, 256, 6), (7, 333), (1025, 1)]
SLOW = [pytest.param(shape, jnp.float64, marks=pytest.mark.slow) for shape in SHAPES if shape != (7, 333)]


@pytest.mark.parametrize(("shape", "dtype"), [*((s, jnp.float32) for s in SHAPES), ((7, 333), jnp.float64), *SLOW])
def test_normals_equal_those_of_jax(shape, dtype):
    key = jax.random.key(3)
    found = jax.jit(lambda key: normals(key, shape, dtype))(key)
    assert found.dtype == dtype
    np.testing.assert_allclose(found, jax.random.normal(key, shape, dtype), rtol=1e-6)
