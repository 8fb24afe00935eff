"""Drawing batches on the device: transitions, n-step rows, windows and chunks from columns, views and rings.

Mixes are static (each source gives its share of a batch) or proportional (every row is equally likely).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, cast

import jax
import jax.numpy as jnp

from ...core.contract import Anchor, Chunks, Needs, NStep, Transitions, Windows
from ...core.errors import UserError
from ...core.noise import Noise
from ...core.spec import Array, Batch, Scalar, Step
from ...core.tree import PyTree, field
from .buffer import Ring, add
from .columns import Columns


class View(PyTree):
    """Some transitions of columns, by index: the training or the holdout episodes, say."""

    columns: Columns
    index: jax.Array  # [n] transitions
    count: jax.Array | None = None  # int32: only so many of `index` are there; None: all


class Growing(PyTree):
    """The first transitions of columns: a log that is still being written."""

    columns: Columns
    count: jax.Array  # int32, transitions that are there


Source = Columns | View | Ring | Growing


class Members(PyTree):
    """The rows of a team: a source for each agent."""

    sources: tuple[Source, ...]
    together: bool = field(static=True)  # whether row i is the same moment for all agents, so that they draw together


OneOrTeam = Source | Members


def grown(columns: Columns, updates: Step, rate: float) -> Growing:
    """The columns of a growing log, `updates` updates before its end; each update adds `rate` transitions."""
    n = columns.row.shape[0]
    missing = jnp.floor(jnp.asarray(updates, jnp.float32) * rate).astype(jnp.int32)
    return Growing(columns, jnp.clip(n - missing, 1, n))


def size(source: OneOrTeam) -> Any:
    """How many transitions a source holds; traced for sources that grow."""
    if isinstance(source, Ring):
        return source.size
    if isinstance(source, Growing) or (isinstance(source, View) and source.count is not None):
        return source.count
    if isinstance(source, Members):
        return sum(size(one) for one in source.sources)
    return (source.index if isinstance(source, View) else source.row).shape[0]


def rows(columns: Columns, index: jax.Array) -> Batch:
    """The transitions at `index` [...] as a batch [..., *]. Observation t and t+1 come from one array."""
    at = columns.row[index]
    return Batch(
        obs=jax.tree.map(lambda x: x[at], columns.obs),
        action=columns.action[index],
        reward=columns.reward[index],
        next_obs=jax.tree.map(lambda x: x[at + 1], columns.obs),
        terminated=columns.terminated[index],
        truncated=columns.truncated[index],
        mask=None if columns.mask is None else columns.mask[at],
        next_mask=None if columns.mask is None else columns.mask[at + 1],
        extra={name: column[index] for name, column in columns.extra.items()},
    )


def at(source: Source, index: jax.Array) -> Batch:
    """The transitions of any source at `index` [...], which counts its own rows."""
    if isinstance(source, Ring):
        return jax.tree.map(lambda x: x[index], source.rows)
    if isinstance(source, View):
        return rows(source.columns, source.index[index])
    return rows(source.columns if isinstance(source, Growing) else source, index)


def spans(source: Source, index: jax.Array, length: int, discount: Scalar) -> Batch:
    """Rows that span up to `length` steps of their episode, from the transitions at `index` [...].

    A span of k steps has the reward `r_0 + discount r_1 + ... + discount^(k-1) r_(k-1)` and leads to the observation
    after its last step; its column "discount" is `discount^(k-1)`, so that `targets.td` bootstraps with `discount^k`.
    It stops at a true end, at a time limit (and bootstraps beyond it), where a log breaks off, and at the newest row.
    A logged column "discount" enters step by step. `next_action` is that of the last step, other columns of the first.
    """
    where, steps, alive = _until_the_end(source, index, length)
    factor = discount * steps.extra["discount"] if "discount" in steps.extra else jnp.full_like(steps.reward, discount)
    weight = jnp.cumprod(jnp.concatenate([jnp.ones_like(factor[:1]), factor[:-1]]), 0)
    last = alive.sum(0) - 1
    first = at(source, index)
    end = at(source, jnp.take_along_axis(where, last[None], 0)[0])
    onward = jnp.take_along_axis(weight, last[None], 0)[0]
    if "discount" in end.extra:
        onward = onward * end.extra["discount"]
    extra = {name: (end if name == "next_action" else first).extra[name] for name in first.extra}
    return Batch(
        obs=first.obs,
        action=first.action,
        reward=(steps.reward * weight * alive).sum(0),
        next_obs=end.next_obs,
        terminated=end.terminated,
        truncated=end.truncated,
        mask=first.mask,
        next_mask=end.next_mask,
        extra={**extra, "discount": onward},
    )


def windows(source: Source, index: jax.Array, length: int, anchor: Anchor = "last") -> Batch:
    """The `length` steps around the transitions at `index` [...]: leaves [..., length, *], the oldest step first.

    A window does not reach over the start or the end of its episode, over a time limit, over a place where a log breaks
    off, or over the oldest or the newest row of a ring. A shorter window is padded on the left: its column "valid"
    [..., length] is False there. Padding repeats the first valid step, so that every row holds numbers that occur.

    Args:
        source: where the rows are.
        index: numbers of the drawn rows.
        length: K.
        anchor: where the drawn row is in its window, see `core.contract.Windows`.
    """
    if anchor == "full":
        ahead, count = _until_end(source, index, length)
        index = jnp.take_along_axis(ahead, count[None] - 1, 0)[0]
    onward = anchor == "first"
    where, count = (_until_end if onward else _since_start)(source, index, length)
    place = jnp.arange(length).reshape(-1, *[1] * index.ndim)
    step = jnp.maximum(place - (length - count[None]), 0)  # steps since the window's first
    order = step if onward else count[None] - 1 - step
    rows_of = jnp.moveaxis(jnp.take_along_axis(where, order, 0), 0, -1)
    steps = at(source, rows_of)
    extra = {**steps.extra, "valid": jnp.moveaxis(place >= length - count[None], 0, -1)}
    return Batch(**{**vars(steps), "extra": extra, "axis": -2})


def _since_start(source: Source, index: jax.Array, length: int) -> tuple[jax.Array, jax.Array]:
    """Numbers of the row at `index` and of `length` - 1 rows before it, and how many of them are of its episode.

    The newest comes first: [length, ...] and [...].
    """
    where, alive = _backward(source, index, length)
    steps = at(source, where)
    ended = (steps.terminated + steps.truncated) > 0
    return where, jnp.cumprod(alive & jnp.concatenate([jnp.ones_like(ended[:1]), ~ended[1:]]), 0).sum(0)


def _until_end(source: Source, index: jax.Array, length: int) -> tuple[jax.Array, jax.Array]:
    """Numbers of the row at `index` and of `length` - 1 rows after it, and how many of them are of its episode."""
    where, _, alive = _until_the_end(source, index, length)
    return where, alive.sum(0)


def chunks(source: Source, index: jax.Array, length: int) -> Batch:
    """The `length` steps that begin at the transitions at `index` [...]: leaves [..., length, *], in their order.

    A chunk ends where a span does, see `spans`. Its column "valid" [..., length] is False after that; there the last
    valid step is repeated, so that every row holds numbers that occur.
    """
    where, _, alive = _until_the_end(source, index, length)
    valid = alive > 0
    last = jnp.take_along_axis(where, alive.sum(0)[None] - 1, 0)
    steps = at(source, jnp.moveaxis(jnp.where(valid, where, last), 0, -1))
    extra = {**steps.extra, "valid": jnp.moveaxis(valid, 0, -1)}
    return Batch(**{**vars(steps), "extra": extra, "axis": -2})


def _until_the_end(source: Source, index: jax.Array, length: int) -> tuple[jax.Array, Batch, jax.Array]:
    """Numbers of the row at `index` and of the `length` - 1 rows after it, these rows, and whether each belongs to the
    same stretch of steps (1 or 0): [length, ...].
    """
    where, alive = _onward(source, index, length)
    steps = at(source, where)
    ended = (steps.terminated + steps.truncated) > 0
    return where, steps, jnp.cumprod(alive & jnp.concatenate([jnp.ones_like(ended[:1]), ~ended[:-1]]), 0)


def _backward(source: Source, index: jax.Array, length: int) -> tuple[jax.Array, jax.Array]:
    """Numbers of the row at `index` and of the `length` - 1 rows before it, [length, ...], and whether each exists.

    The newest comes first.
    """
    index = index[None]
    back = jnp.arange(length).reshape(-1, *[1] * (index.ndim - 1))
    if isinstance(source, Ring):
        age = (source.cursor - 1 - index) % source.capacity
        return (index - back * source.stride) % source.capacity, age + back * source.stride < source.size
    where = jnp.maximum(index - back, 0)
    columns = source if isinstance(source, Columns) else source.columns
    row = columns.row[source.index[where] if isinstance(source, View) else where]
    joined = row[:-1] == row[1:] + 1  # as in `_onward`
    return where, jnp.concatenate([jnp.ones_like(row[:1], bool), joined])


def _onward(source: Source, index: jax.Array, length: int) -> tuple[jax.Array, jax.Array]:
    """Numbers of the row at `index` and of the `length` - 1 rows after it, [length, ...], and whether each exists."""
    index = index[None]
    ahead = jnp.arange(length).reshape(-1, *[1] * (index.ndim - 1))
    if isinstance(source, Ring):
        where = (index + ahead * source.stride) % source.capacity
        return where, (source.cursor - 1 - index) % source.capacity >= ahead * source.stride
    where = jnp.minimum(index + ahead, size(source) - 1)
    columns = source if isinstance(source, Columns) else source.columns
    row = columns.row[source.index[where] if isinstance(source, View) else where]
    # the last observation of an episode has a row of its own, so row numbers jump by two between episodes
    return where, jnp.concatenate([jnp.ones_like(row[:1], bool), row[1:] == row[:-1] + 1])


def _read_transitions(source: Source, index: jax.Array, needs: Transitions, discount: Scalar) -> Batch:
    return at(source, index)


def _read_n_steps(source: Source, index: jax.Array, needs: NStep, discount: Scalar) -> Batch:
    return spans(source, index, needs.length, discount)


def _read_windows(source: Source, index: jax.Array, needs: Windows, discount: Scalar) -> Batch:
    return windows(source, index, needs.length, needs.anchor)


def _read_chunks(source: Source, index: jax.Array, needs: Chunks, discount: Scalar) -> Batch:
    return chunks(source, index, needs.length)


# How each kind of `Needs` is read; what is not here is refused when a run is planned.
READ: Mapping[type, Callable[[Source, jax.Array, Any, Any], Batch]] = {
    Transitions: _read_transitions,
    NStep: _read_n_steps,
    Windows: _read_windows,
    Chunks: _read_chunks,
}


def preload(ring: Ring, columns: Columns, index: Array) -> Ring:
    """The ring with the transitions of the data at `index` [m] added; the oldest make room.

    Each episode's last row counts as truncated where nothing else ends it, and so does every row where the ring's rows
    are not one after another: n-step rows then end there.
    """
    index = jnp.asarray(index)[-ring.capacity :]
    new = rows(columns, index)
    joined = jnp.append(columns.row[index[1:]] == columns.row[index[:-1]] + 1, False)
    ended = jnp.where(joined & (ring.stride == 1), new.truncated, 1 - new.terminated)
    extra = {name: new.extra[name] for name in ring.rows.extra}
    return add(ring, Batch(**{**vars(new), "truncated": ended, "extra": extra}), jnp.ones(len(index), bool))


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
        return READ[type(needs)](_with(source, written), index, needs, discount)

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


def _with(source: Source, written: Mapping[str, jax.Array]) -> Source:
    """The source with more columns of the data; a ring stays as it is."""
    if isinstance(source, Ring) or not written:
        return source
    if isinstance(source, Columns):
        return Columns(**{**vars(source), "extra": {**source.extra, **written}})
    more = _with(source.columns, written)
    return type(source)(**{**vars(source), "columns": more})


def pool(sources: Mapping[str, OneOrTeam]) -> list[str]:
    """The sources of a proportional mix: the data and every ring, but no view of the data."""
    return [name for name, source in sources.items() if name == "data" or isinstance(source, Ring)]


def drawn(mix: Mapping[str, float] | str, sources: Mapping[str, OneOrTeam]) -> list[str]:
    """Names of the sources that a mix draws from."""
    return pool(sources) if isinstance(mix, str) else [name for name, share in mix.items() if share > 0]


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
