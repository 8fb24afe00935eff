"""A wrapper that gives images in the one layout that networks take, bytes [height, width, channels]."""

from __future__ import annotations

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Space

from ...core import images


def image_box(space: Space) -> Space:
    """The Box of images in their one layout if `space` is a Box of images; other spaces are returned as they are."""
    shape = images.layout(space.shape, space.dtype) if isinstance(space, Box) else None
    if shape is None or (shape == space.shape and space.dtype == np.uint8):
        return space
    return Box(0, 255, shape, np.uint8)


class ImageLayout(gymnasium.ObservationWrapper):
    """An environment whose images have the layout that `core.images.in_layout` gives."""

    def __init__(self, env: gymnasium.Env) -> None:
        super().__init__(env)
        self.observation_space = image_box(env.observation_space)

    def observation(self, observation: np.ndarray) -> np.ndarray:
        """One observation."""
        return images.in_layout(np.asarray(observation), 0)
