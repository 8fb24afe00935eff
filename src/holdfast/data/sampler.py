"""Drawing batches on the device: rows of columns, views of them, and static mixes of sources."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from ..core.contract import Needs
from ..core.errors import UserError
from ..core.spec import Batch
from ..core.tree import PyTree
from .buffer import Ring
from .columns import Columns


class View(PyTree):
    """Some transitions of columns, by index: the training or the holdout episodes, say."""

    columns: Columns
    index: jax.Array  # [n] transitions


Source = Columns | View | Ring


def size(source: Source) -> Any:
    """How many transitions a source holds; traced where it grows."""
    if isinstance(source, Ring):
        return source.size
    return (source.index if isinstance(source, View) else source.row).shape[0]


def rows(columns: Columns, index: jax.Array) -> Batch:
    """The transitions at `index` [...] as a batch [..., *]. Observation t and t+1 come from one array."""
    at = columns.row[index]
    return Batch(
        obs=columns.obs[at],
        action=columns.action[index],
        reward=columns.reward[index],
        next_obs=columns.obs[at + 1],
        terminated=columns.terminated[index],
        truncated=columns.truncated[index],
        mask=None if columns.mask is None else columns.mask[at],
        next_mask=None if columns.mask is None else columns.mask[at + 1],
        extra={name: column[index] for name, column in columns.extra.items()},
    )


def shares(mix: Mapping[str, float], batch_size: int) -> dict[str, int]:
    """Rows of a batch that each source gives: proportional, by largest remainder, every source at least one.

    Raises:
        UserError: the batch has fewer rows than the mix has sources.
    """
    mix = {name: share for name, share in mix.items() if share > 0}
    if batch_size < len(mix):
        raise UserError(
            f"batch_size is {batch_size}, but the mix has {len(mix)} sources ({', '.join(mix)}): raise --batch-size"
        )
    total = sum(mix.values())
    exact = {name: share / total * batch_size for name, share in mix.items()}
    counts = {name: max(1, int(x)) for name, x in exact.items()}
    by_remainder = sorted(exact, key=lambda name: exact[name] - counts[name], reverse=True)
    for name in by_remainder:
        if sum(counts.values()) >= batch_size:
            break
        counts[name] += 1
    while sum(counts.values()) > batch_size:
        counts[max(counts, key=lambda name: counts[name])] -= 1
    return counts


def sample(
    sources: Mapping[str, Source],
    mix: Mapping[str, float],
    batch_size: int,
    needs: Needs,
    noise: Any,
    written: Mapping[str, jax.Array] | None = None,
) -> Batch:
    """One update's batch: rows uniform within each source, with replacement; leaves [B, ...] or [k, B, ...].

    Args:
        sources: by name.
        mix: each one's share of the batch.
        batch_size: B.
        needs: how many slices.
        noise: of the draw.
        written: columns of the data that training itself writes, [N, ...] each; they join `extra`.
    """
    lead = () if needs.batches == 1 else (needs.batches,)
    parts, bounds, start = [], [], 0
    for name, count in shares(mix, batch_size).items():
        source = sources[name]
        index = noise.integers(f"rows_{name}", (*lead, count), size(source))
        if isinstance(source, Ring):
            if written:
                raise UserError(f"columns written in training ({', '.join(written)}) are the data's: '{name}' has none")
            part = jax.tree.map(lambda x, at=index: x[at], source.rows)
        else:
            index = source.index[index] if isinstance(source, View) else index
            part = rows(source.columns if isinstance(source, View) else source, index)
        more = {name: column[index] for name, column in (written or {}).items()}
        parts.append(Batch(**{**vars(part), "extra": part.extra | more}))
        bounds.append((name, start, start + count))
        start += count
    if len(parts) == 1:
        whole = parts[0]
    else:
        whole = jax.tree.map(lambda *x: jnp.concatenate(x, axis=len(lead)), *parts)
    return Batch(**{**vars(whole), "parts": tuple(bounds)})
