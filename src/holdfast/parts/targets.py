"""Bootstrapped targets."""

from __future__ import annotations

from typing import Any

import jax

from ..core.spec import Batch
from ..core.tree import ema


def td(batch: Batch, next_value: jax.Array, discount: Any) -> jax.Array:
    """r + discount (1 - terminated) V(s'): [B]. Only a true end cuts the bootstrap, a time limit does not.

    A logged per-step discount (column "discount") multiplies the setting.
    """
    bootstrap = discount * (1 - batch.terminated)
    if "discount" in batch.extra:
        bootstrap = bootstrap * batch.discount
    return batch.reward + bootstrap * next_value


def follow(new: Any, old: Any, rate: Any, every: int, step: Any) -> Any:
    """The target network after update number `step` (from 0): a Polyak step toward `new` on every `every`-th update.

    Rate 1 and a long interval is the hard copy of DQN; `every` = 1 and a small rate the soft target.
    """
    if every == 1:
        return ema(new, old, rate)
    return jax.lax.cond((step + 1) % every == 0, lambda: ema(new, old, rate), lambda: old)
