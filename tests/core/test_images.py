"""Which observations are images, and their one layout."""

import itertools

import numpy as np
import pytest

from holdfast.core.images import in_layout, layout


def images(shape, lead=(2,), seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*lead, *shape), dtype=np.uint8)


@pytest.mark.parametrize(
    ("shape", "wanted"),
    [
        ((84, 84), (84, 84, 1)),
        ((84, 96, 3), (84, 96, 3)),
        ((4, 84, 84), (84, 84, 4)),
        ((4, 84, 96, 3), (84, 96, 12)),
        ((4, 3, 84, 96), (84, 96, 12)),
        ((10, 10, 4), (10, 10, 4)),
    ],
)
def test_layouts(shape, wanted):
    assert layout(shape, np.uint8) == wanted
    assert in_layout(images(shape), 1).shape == (2, *wanted)


def test_pixels_keep_their_places():
    rows = images((3, 8, 9))
    assert (in_layout(rows, 1)[1, 5, 7] == rows[1, :, 5, 7]).all()
    stack = images((2, 8, 9, 3))
    assert (in_layout(stack, 1)[0, 5, 7] == stack[0, :, 5, 7].ravel()).all()
    first = images((2, 3, 8, 9))
    assert (in_layout(first, 1)[0, 5, 7] == first[0, :, :, 5, 7].ravel()).all()
    assert (in_layout(rows[0], 0) == in_layout(rows, 1)[0]).all()


def test_the_layout_of_the_layout_is_itself():
    for axes in (2, 3, 4):
        for shape in itertools.product((1, 2, 3, 5), repeat=axes):
            found = layout(shape, np.uint8)
            if found is not None:
                assert layout(found, np.uint8) == found
                once = in_layout(images(shape), 1)
                np.testing.assert_array_equal(in_layout(once, 1), once)


def test_booleans_become_black_and_white():
    rows = np.array([[[[True, False]] * 3] * 3])
    assert layout(rows.shape[1:], bool) == (3, 3, 2)
    found = in_layout(rows, 1)
    assert found.dtype == np.uint8
    assert found[0, 1, 1].tolist() == [255, 0]


def test_other_arrays_are_not_images():
    assert layout((128,), np.uint8) is None
    assert layout((84, 84, 3), np.float32) is None
    assert layout((2, 2, 2, 2, 2), np.uint8) is None
    assert layout((0, 4, 4), np.uint8) is None
    assert layout((4, 6, 7, 3), np.uint8) is None  # [6, 7, 12] could be six channels first
