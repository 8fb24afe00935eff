"""Splits by whole episodes: training and holdout episodes share no step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from ..core.errors import UserError


class Episodes(Protocol):
    """The part of a `Dataset` that a split needs."""

    @property
    def id(self) -> str: ...

    @property
    def n_episodes(self) -> int: ...


def by_episodes(dataset: Episodes, shares: Mapping[str, float], seed: int) -> dict[str, np.ndarray]:
    """Episodes of each part, drawn without replacement.

    Every part gets at least one episode. If the shares add up to one, the last part gets the rest. A run splits once,
    by its first seed, so all its replicas have the same holdout episodes.

    Args:
        dataset: the data set.
        shares: share of the episodes by part, e.g. `{"train": 0.8, "holdout": 0.2}`.
        seed: seed of the draw.

    Returns:
        Sorted indices of episodes by part.

    Raises:
        UserError: shares that are not positive or add up to more than one, or fewer episodes than parts.
    """
    if min(shares.values(), default=0) <= 0 or sum(shares.values()) > 1 + 1e-9:
        raise UserError(f"shares {dict(shares)} of a split must be positive and add up to at most 1")
    count = dataset.n_episodes
    if count < len(shares):
        raise UserError(
            f"{dataset.id}: {count} episodes are too few to split into {', '.join(shares)}: bring at least one for each"
        )
    order = np.random.default_rng(seed).permutation(count)
    edges = np.round(np.append(0, np.cumsum(list(shares.values()))) * count).astype(int)
    for i in range(1, len(edges)):
        edges[i] = max(edges[i], edges[i - 1] + 1)
    for i in range(len(edges) - 1, 0, -1):
        edges[i] = min(edges[i], count - (len(edges) - 1 - i))
    return {part: np.sort(order[a:b]) for part, a, b in zip(shares, edges[:-1], edges[1:], strict=True)}
