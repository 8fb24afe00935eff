"""Images: which observations are images, and their one layout, bytes [height, width, channels]."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import DTypeLike

Shape = tuple[int, ...]


def layout(shape: Shape, dtype: DTypeLike) -> Shape | None:
    """The shape [height, width, channels] of an image; None for other arrays.

    Bytes (uint8) and booleans with two to four axes are images:

    * [height, width] has one channel;
    * [channels, height, width] has the channels first if that axis is shorter than both others, as in a stack of grey
      frames; otherwise three axes are [height, width, channels];
    * four axes are a stack of frames, [frames, height, width, channels] or [frames, channels, height, width]: the
      channels of all frames become channels of one image. A stack whose height is below its width and its number of
      channels is not accepted, because its layout could be mistaken.

    Args:
        shape: shape of one observation.
        dtype: its type.
    """
    if np.dtype(dtype) not in (np.uint8, np.bool_) or not 2 <= len(shape) <= 4 or not math.prod(shape):
        return None
    if len(shape) == 2:
        return (*shape, 1)
    if len(shape) == 3:
        return (*shape[1:], shape[0]) if _channels_first(shape) else shape
    height, width, channels = (*shape[2:], shape[1]) if _channels_first(shape[1:]) else shape[1:]
    whole = (height, width, shape[0] * channels)
    return None if _channels_first(whole) else whole


def in_layout(images: np.ndarray, lead: int) -> np.ndarray:
    """Images as bytes [..., height, width, channels]. Booleans become 0 and 255.

    Images in this layout are returned as they are.

    Args:
        images: [*lead, *shape] of a shape and a type for which `layout` is not None.
        lead: number of leading axes.
    """
    if images.dtype == bool:
        images = images.astype(np.uint8) * np.uint8(255)
    shape = images.shape[lead:]
    if len(shape) == 2:
        return images[..., None]
    if len(shape) == 3:
        return np.ascontiguousarray(np.moveaxis(images, -3, -1)) if _channels_first(shape) else images
    if _channels_first(shape[1:]):
        images = np.moveaxis(images, -3, -1)
    frames_last = np.moveaxis(images, -4, -2)  # [..., height, width, frames, channels]
    return np.ascontiguousarray(frames_last).reshape(*frames_last.shape[:-2], -1)


def _channels_first(shape: Shape) -> bool:
    """Whether [a, b, c] is [channels, height, width]. A shape [height, width, channels] made of it never is."""
    return shape[0] < min(shape[1:])
