"""The window: the rows of a log larger than memory that are on the device, exchanged block by block during training.

The log is cut into blocks of whole episodes. The window has `SLOTS` of them. The blocks come in a random order, a new
one for each pass over the log, and each takes the place of the block that has been in the window the longest. Which
blocks the window has at an update follows from the seed and the number of the update, so a resumed run has the same
rows. Batches are uniform over the rows of the window. A block is read from the disk while the updates before it run.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ...core.errors import UserError
from ...core.tree import Tree
from ..arrays import OBSERVATION_COLUMNS
from ..dataset import Dataset
from ..sources.folder import episode_blocks, release
from .columns import Columns, prepare
from .row_sources import View
from .treatment import Fitted

SLOTS = 16  # blocks of a window


class Wanted(NamedTuple):
    """The columns that training reads."""

    fitted: Fitted
    columns: Sequence[str]
    discount: float | None


class Size(NamedTuple):
    """The size of a window."""

    rows: int  # transitions, at most, unless an episode is longer than a block
    batch: int  # rows that an update draws
    draws: float = 2.0  # how often a row is drawn, on average, while its block is in the window
    multiple: int = 1  # the window changes at multiples of so many updates


class Window:
    """The window over a data set. `at` gives the rows of an update."""

    def __init__(
        self, dataset: Dataset, wanted: Wanted, size: Size, seed: int, place: Callable[[Any], Any] = jax.device_put
    ) -> None:
        """
        Args:
            dataset: the data set, whose columns may be mapped from a disk.
            wanted: the columns to prepare.
            size: how many rows, and how long they stay.
            seed: seed of the order of the blocks.
            place: puts arrays on the devices that train.

        Raises:
            UserError: the data set has too few episodes for blocks of this size.
        """
        self.dataset = dataset
        self.wanted = wanted
        self.seed = seed
        self.place = place
        self.blocks = list(episode_blocks(dataset.offsets, max(1, size.rows // SLOTS)))
        if len(self.blocks) < SLOTS:
            raise UserError(
                f"--window {size.rows}: {dataset.id} has {dataset.n_steps:,} rows in {dataset.n_episodes:,} episodes, "
                f"which is less than {SLOTS} blocks of whole episodes: leave --window out, or ask for fewer rows"
            )
        edges = np.array([(block.start, block.stop) for block in self.blocks])
        steps = dataset.offsets[edges[:, 1]] - dataset.offsets[edges[:, 0]]
        self.capacity = int(steps.max())  # transitions of a slot
        self.height = int((steps + edges[:, 1] - edges[:, 0]).max())  # its rows of observations
        updates = size.draws * float(steps.mean()) / size.batch
        self.every = size.multiple * max(1, round(updates / size.multiple))  # updates until the next block
        self.counts = [0] * SLOTS  # transitions in each slot
        self.newest = -1  # number of the newest block, counted over all passes
        self.columns: Columns | None = None
        self._orders: dict[int, np.ndarray] = {}
        self._reader = ThreadPoolExecutor(1, "holdfast-window")
        self._ahead: tuple[int, Future[Columns]] | None = None

    def at(self, step: int) -> View:
        """The rows of update `step`. Views of earlier updates must not be used any more.

        The device reuses the memory of blocks that leave.
        """
        newest = SLOTS - 1 + step // self.every
        if self.columns is None or not self.newest <= newest < self.newest + SLOTS:
            self._fill(newest)
        for number in range(self.newest + 1, newest + 1):
            self._exchange(number)
        if self._ahead is None or self._ahead[0] != newest + 1:
            self._ahead = (newest + 1, self._reader.submit(self._read, newest + 1))
        return self._view()

    def next_exchange(self, step: int) -> int:
        """The first update after `step` whose window is another one."""
        return (step // self.every + 1) * self.every

    def pieces(self, lo: int, hi: int) -> Iterator[tuple[int, int]]:
        """The updates lo <= step < hi in parts with one window each."""
        while lo < hi:
            end = min(hi, self.next_exchange(lo))
            yield lo, end
            lo = end

    def describe(self) -> str:
        """The window in words."""
        rows = SLOTS * self.dataset.n_steps // len(self.blocks)
        return (
            f"a window of {SLOTS} of {len(self.blocks)} blocks, about {rows:,} of {self.dataset.n_steps:,} rows; a new "
            f"block every {self.every} updates"
        )

    def _block_of(self, number: int) -> slice:
        """The episodes of the block with a number that counts over all passes."""
        whole, place = divmod(number, len(self.blocks))
        if whole not in self._orders:
            self._orders = {k: v for k, v in self._orders.items() if k >= whole - 1}
            self._orders[whole] = np.random.default_rng([self.seed, whole]).permutation(len(self.blocks))
        return self.blocks[self._orders[whole][place]]

    def _read(self, number: int) -> Columns:
        """The prepared columns of a block, on the host, padded to the size of a slot."""
        part = self._block_of(number)
        data = episodes(self.dataset, part)
        found = prepare(data, self.wanted.fitted, self.wanted.columns, self.wanted.discount)
        for column in (self.dataset.observations, self.dataset.actions, *self.dataset.columns.values()):
            release(column)

        def padded(x: np.ndarray, rows: int) -> np.ndarray:
            return np.concatenate([x, np.zeros((rows - len(x), *x.shape[1:]), x.dtype)])

        def of_rows(tree: Tree) -> Any:
            return jax.tree.map(lambda x: padded(x, self.capacity), tree)

        tall = jax.tree.map(lambda x: padded(x, self.height), (found.obs, found.mask))
        flat = {name: of_rows(getattr(found, name)) for name in FLAT}
        return Columns(obs=tall[0], mask=tall[1], **flat)

    def _fill(self, newest: int) -> None:
        """Read the whole window."""
        numbers = [newest - (newest - slot) % SLOTS for slot in range(SLOTS)]
        blocks = [self._read(number) for number in numbers]
        placed = [_placed(block, slot, self.height) for slot, block in enumerate(blocks)]
        self.columns = jax.tree.map(lambda *x: self.place(jax.device_put(np.concatenate(x))), *placed)
        self.counts = [self._steps(number) for number in numbers]
        self.newest = newest

    def _exchange(self, number: int) -> None:
        """Put the next block into the slot of the oldest one."""
        ahead = self._ahead
        block = ahead[1].result() if ahead is not None and ahead[0] == number else self._read(number)
        slot = number % SLOTS
        placed = _placed(block, slot, self.height)
        self.columns = _written(self.columns, placed, jnp.int32(slot))
        self.counts[slot] = self._steps(number)
        self.newest = number

    def _steps(self, number: int) -> int:
        part = self._block_of(number)
        return int(self.dataset.offsets[part.stop] - self.dataset.offsets[part.start])

    def _view(self) -> View:
        assert self.columns is not None
        index = np.zeros(SLOTS * self.capacity, np.int32)
        count = sum(self.counts)
        index[:count] = np.concatenate(
            [np.arange(n, dtype=np.int32) + slot * self.capacity for slot, n in enumerate(self.counts)]
        )
        return View(self.columns, jax.device_put(index), jnp.int32(count))


FLAT = ("row", "action", "reward", "terminated", "truncated", "extra")  # columns with one row a transition


def _placed(block: Columns, slot: int, height: int) -> Columns:
    """The block with the numbers of its observations in the window."""
    return Columns(**{**vars(block), "row": block.row + np.int32(slot * height)})


@functools.partial(jax.jit, donate_argnums=0)
def _written(window: Columns, block: Columns, slot: jax.Array) -> Columns:
    def write(whole: jax.Array, part: jax.Array) -> jax.Array:
        return jax.lax.dynamic_update_slice_in_dim(whole, part, slot * part.shape[0], 0)

    return jax.tree.map(write, window, block)


def episodes(dataset: Dataset, part: slice) -> Dataset:
    """A data set of consecutive episodes, without a copy of their columns."""
    lo, hi = (int(dataset.offsets[e]) for e in (part.start, part.stop))
    steps = slice(lo, hi)
    seen = slice(lo + part.start, hi + part.stop)
    names = ("actions", "rewards", "terminations", "truncations")
    return dataclasses.replace(
        dataset,
        observations=dataset.observations[seen],
        **{name: getattr(dataset, name)[steps] for name in names},
        offsets=dataset.offsets[part.start : part.stop + 1] - lo,
        columns={k: v[seen if k in OBSERVATION_COLUMNS else steps] for k, v in dataset.columns.items()},
    )


@jax.tree_util.register_static
class NotInMemory:
    """In place of the columns in `Context.data`, if only a window of them is in memory. Every use is refused."""

    def __init__(self, algorithm: str) -> None:
        self._algorithm = algorithm

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        raise UserError(
            f"--window: {self._algorithm} reads all rows of the log before it starts; use an algorithm that learns "
            "from batches alone, e.g. bc, td3_bc or iql"
        )
