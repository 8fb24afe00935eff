"""Random shifts of the images of a batch (DrQ, Kostrikov, Yarats, Fergus 2020, arXiv:2004.13649)."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from ...core.noise import Noise
from ...core.spec import Batch, Spec


def shifted(batch: Batch, spec: Spec, pixels: int, noise: Noise) -> Batch:
    """The batch with every image moved by up to `pixels` in each direction, as with a border of repeated edge pixels.

    Observations and next observations have their own shifts: the paper's method with K = M = 1. All images of a window
    have the same shift.

    Args:
        batch: rows with images [..., height, width, channels].
        spec: shapes of the problem.
        pixels: the largest shift, 4 in the paper. 0: none, and nothing is drawn.
        noise: draws "shift_obs" and "shift_next_obs".
    """
    if not pixels or not spec.images:
        return batch
    lead = batch.reward.shape[: batch.reward.ndim + batch.axis + 1]  # without the steps of a window
    moved = {}
    for name in ("obs", "next_obs"):
        shift = noise.integers(f"shift_{name}", (*lead, 2), 2 * pixels + 1) - pixels
        images = getattr(batch, name)
        one = _moved
        for _ in lead:
            one = jax.vmap(one)
        moved[name] = one(images, shift)
    return Batch(**{**vars(batch), **moved})


def _moved(images: jax.Array, shift: jax.Array) -> jax.Array:
    """Images [..., height, width, channels] whose pixels come from `shift` [2] rows and columns further on."""
    height, width = images.shape[-3:-1]
    rows = jnp.clip(jnp.arange(height) + shift[0], 0, height - 1)
    columns = jnp.clip(jnp.arange(width) + shift[1], 0, width - 1)
    return images[..., rows, :, :][..., columns, :]
