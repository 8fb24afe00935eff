"""Pictures of environments in JAX, for videos."""

import jax.numpy as jnp
import numpy as np
import pytest

from holdfast import UserError
from holdfast.environments.gym.adapter import make_env
from holdfast.environments.jax import spread


def test_a_picture_of_spread():
    pytest.importorskip("PIL")
    corners = jnp.array([[-1.0, 1.0], [1.0, 1.0], [-1.0, -1.0]])  # of the agents; the second coordinate points up
    places = jnp.array([[0.0, 0.0], [0.5, 0.0], [9.0, 0.0]])  # the last one is outside of the picture
    image = spread.picture((corners, jnp.zeros((3, 2)), places))
    assert image.shape == (400, 400, 3)
    assert image.dtype == np.uint8
    colours = {"left above": (67, 67), "right above": (67, 333), "left below": (333, 67)}
    wanted = [tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5)) for colour in spread.COLOURS]
    assert [tuple(image[at]) for at in colours.values()] == wanted
    for at in ((200, 200), (200, 267)):
        assert tuple(image[at]) == (0, 0, 0)
    assert tuple(image[333, 333]) == (255, 255, 255)
    across = (np.abs(image[67].astype(int) - wanted[0]).sum(1) == 0).sum()
    assert abs(across - 40) <= 2  # the diameter, 0.3 of the 3 units of the picture


def test_environments_without_pictures():
    with pytest.raises(UserError, match="'jax/Climbing-v0' draws no pictures, so it cannot be recorded"):
        make_env("jax/Climbing-v0", render_mode="rgb_array")
    env = make_env("jax/Spread-v0")
    env.reset(seed=0)
    assert env.unwrapped.render() is None
