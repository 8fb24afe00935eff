"""Drawing batches on the device: which rows an update reads, from one source or from a mix of several.

Mixes are static (each source gives its share of a batch) or proportional (every row is equally likely).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, cast

import jax
import jax.numpy as jnp

from ...core.contract import Needs, Transitions
from ...core.errors import UserError
from ...core.noise import Noise
from ...core.spec import Batch, Scalar
from .buffer import Ring
from .readers import READ
from .row_sources import Members, OneOrTeam, Source, pool, size, with_written


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
    sources: Mapping[str, OneOrTeam],
    mix: Mapping[str, float] | str,
    batch_size: int,
    needs: Needs,
    noise: Noise,
    written: Mapping[str, jax.Array] | None = None,
    discount: Scalar | None = None,
    fixed: Noise | None = None,
) -> Any:
    """One update's batch: rows uniform within each source, with replacement; leaves [B, ...] or [k, B, ...].

    From the rows of a team comes a tuple of batches, one for each agent.

    Args:
        sources: by name.
        mix: each one's share of the batch; or "proportional", every row of the data and of the rings alike.
        batch_size: B.
        needs: what a row is, how many slices, and the columns that rings must have.
        noise: noise of the draw.
        written: columns of the data that training itself writes, [N, ...] each; they join `extra`.
        discount: discount of rows that span several steps.
        fixed: noise that is the same for every update: of the bootstrap samples, if `needs` asks for them.

    Raises:
        UserError: columns that a ring does not have.
    """
    if isinstance(sources.get("data"), Members):
        return _of_each_agent(sources, mix, batch_size, needs, noise, written or {}, discount, fixed)
    lead = () if needs.batches == 1 else (needs.batches,)
    written = written or {}

    def draw(name: str, index: jax.Array) -> Batch:
        source = cast(Source, sources[name])
        if isinstance(source, Ring):
            _require_columns(name, source, needs, written)
        return READ[type(needs)](with_written(source, written), index, needs, discount)

    if isinstance(mix, str):
        return _proportional({name: size(sources[name]) for name in pool(sources)}, (*lead, batch_size), draw, noise)
    parts, bounds, start = [], [], 0
    for name, count in shares(mix, batch_size).items():
        index = noise.integers(f"rows_{name}", (*lead, count), size(sources[name]))
        if fixed is not None and isinstance(needs, Transitions) and needs.bootstrap:
            index = bootstrapped(fixed, index, size(sources[name]))
        parts.append(draw(name, index))
        bounds.append((name, start, start + count))
        start += count
    whole = jax.tree.map(lambda *x: jnp.concatenate(x, axis=len(lead)), *_alike(parts))
    return Batch(**{**vars(whole), "parts": tuple(bounds)})


def _of_each_agent(
    sources: Mapping[str, Any],
    mix: Mapping[str, float] | str,
    batch_size: int,
    needs: Needs,
    noise: Noise,
    written: Mapping[str, Any],
    discount: Scalar | None,
    fixed: Noise | None,
) -> tuple[Batch, ...]:
    """A batch for each agent, from its own rows. Agents whose rows belong together draw the same ones."""
    team: Members = sources["data"]
    found = []
    for i in range(len(team.sources)):
        own = {name: source.sources[i] for name, source in sources.items()}
        columns = {name: column[i] for name, column in written.items()}
        draws = noise if team.together else noise.sub(f"agent_{i}")
        again = fixed if fixed is None or team.together else fixed.sub(f"agent_{i}")
        found.append(sample(own, mix, batch_size, needs, draws, columns, discount, again))
    return tuple(found)


def bootstrapped(fixed: Noise, index: jax.Array, rows: jax.Array | int) -> jax.Array:
    """The rows at the places `index` [k, B] of k bootstrap samples of `rows` rows, one for each slice.

    Place i of sample j always has the same row, which follows from `fixed`, i and j: nothing is stored.
    """

    def row(sample: jax.Array, place: jax.Array) -> jax.Array:
        return fixed.fold(sample).fold(place).integers("row", (), rows)

    samples = jnp.broadcast_to(jnp.arange(index.shape[0])[:, None], index.shape)
    return jax.vmap(jax.vmap(row))(samples, index)


def _proportional(
    sizes: Mapping[str, Any], shape: tuple[int, ...], draw: Callable[[str, jax.Array], Batch], noise: Noise
) -> Batch:
    """Rows of all the sources laid end to end: each is drawn from every one, and the one it fell on is kept."""
    index = noise.integers("rows", shape, sum(sizes.values()))
    parts, starts, start = [], [], 0
    for name, count in sizes.items():
        parts.append(draw(name, jnp.clip(index - start, 0, jnp.maximum(count - 1, 0))))
        starts.append(start)
        start = start + count
    whole, *others = _alike(parts)
    for begin, other in zip(starts[1:], others, strict=True):
        here = functools.partial(_choose, index >= begin)
        whole = jax.tree.map(here, other, whole)
    return whole


def _choose(pred: jax.Array, yes: jax.Array, no: jax.Array) -> jax.Array:
    return jnp.where(pred.reshape(*pred.shape, *[1] * (yes.ndim - pred.ndim)), yes, no)


def _alike(parts: list[Batch]) -> list[Batch]:
    """The parts with the columns that all of them have; steps without a logged discount have 1."""
    if any("discount" in part.extra for part in parts):
        parts = [_discounted(part) for part in parts]
    common = [name for name in parts[0].extra if all(name in part.extra for part in parts)]
    return [Batch(**{**vars(part), "extra": {name: part.extra[name] for name in common}}) for part in parts]


def _discounted(part: Batch) -> Batch:
    return Batch(**{**vars(part), "extra": {"discount": jnp.ones_like(part.reward), **part.extra}})


def _require_columns(name: str, ring: Ring, needs: Needs, written: Mapping[str, jax.Array]) -> None:
    if written:
        raise UserError(
            f"this phase writes the columns {', '.join(written)} of the data, and collected rows ('{name}') have none "
            "such: draw from the data alone, or refresh the state only"
        )
    missing = [column for column in needs.columns if column not in ring.rows.extra]
    if missing:
        raise UserError(
            f"collected rows ('{name}') have no column {', '.join(missing)}: collect whole episodes "
            "(Collect(whole=True)), or draw from the data alone"
        )
