"""Random shifts of images: a crop of a picture with repeated edges, the same for a window, another for s'."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from holdfast.core.noise import Noise
from holdfast.core.spec import ArraySpec, Batch, Spec
from holdfast.data.feed.augment import shifted

SPEC = Spec(ArraySpec((5, 6, 2), "uint8"), 2, discrete=True)


def batch(*lead, axis=-1):
    rng = np.random.default_rng(0)
    obs, after = (jnp.asarray(rng.integers(0, 256, (*lead, 5, 6, 2)), jnp.uint8) for _ in range(2))
    zeros = jnp.zeros(lead)
    return Batch(obs, zeros, zeros, after, zeros, zeros, axis=axis)


def crops(image, pixels):
    """All crops of an image with a border of repeated edge pixels, as bytes."""
    wide = np.pad(image, [(pixels, pixels), (pixels, pixels), (0, 0)], mode="edge")
    places = range(2 * pixels + 1)
    return {wide[i : i + 5, j : j + 6].tobytes(): (i, j) for i in places for j in places}


@pytest.mark.parametrize("lead", [(40,), (2, 20)])
def test_each_image_is_a_crop(lead):
    rows = batch(*lead)
    found = jax.jit(lambda b: shifted(b, SPEC, 2, Noise(jax.random.PRNGKey(1))))(rows)
    assert found.obs.dtype == jnp.uint8
    places = []
    for name in ("obs", "next_obs"):
        before = np.asarray(getattr(rows, name)).reshape(-1, 5, 6, 2)
        after = np.asarray(getattr(found, name)).reshape(-1, 5, 6, 2)
        places.append([crops(a, 2)[b.tobytes()] for a, b in zip(before, after, strict=True)])
        assert {i for i, _ in places[-1]} == {j for _, j in places[-1]} == set(range(5))
    assert places[0] != places[1]


def test_a_window_moves_as_a_whole():
    rows = batch(10, 3, axis=-2)
    found = shifted(rows, SPEC, 1, Noise(jax.random.PRNGKey(2)))
    moves = set()
    for before, after in zip(np.asarray(rows.obs), np.asarray(found.obs), strict=True):
        places = {crops(a, 1)[b.tobytes()] for a, b in zip(before, after, strict=True)}
        assert len(places) == 1
        moves |= places
    assert len(moves) > 2


def test_no_shift_changes_nothing():
    rows = batch(4)
    assert shifted(rows, SPEC, 0, Noise(jax.random.PRNGKey(0))) is rows
    vectors = Batch(jnp.zeros((4, 3)), *[jnp.zeros(4)] * 2, jnp.zeros((4, 3)), *[jnp.zeros(4)] * 2)
    assert shifted(vectors, Spec((3,), 2), 4, Noise(jax.random.PRNGKey(0))) is vectors
