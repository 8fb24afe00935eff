"""Bootstrapped targets."""

from __future__ import annotations

from typing import Any

import jax

from ..core.spec import Batch


def td(batch: Batch, next_value: jax.Array, discount: Any) -> jax.Array:
    """r + discount (1 - terminated) V(s'): [B]. Only a true end cuts the bootstrap, a time limit does not.

    A logged per-step discount (column "discount") multiplies the setting.
    """
    bootstrap = discount * (1 - batch.terminated)
    if "discount" in batch.extra:
        bootstrap = bootstrap * batch.discount
    return batch.reward + bootstrap * next_value
