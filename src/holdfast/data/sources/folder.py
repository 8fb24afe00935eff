"""Folders of columns: logs larger than memory, one NumPy file a column, which are mapped and not read.

A folder `NAME.columns` has `metadata.json` and a file `COLUMN.npy` for each column of a `Dataset`. Rows of one size one
after another need no index: any rows are read at the speed of the disk, without unpacking, and any tool that reads
NumPy's format can write them.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ...core.errors import UserError
from ...core.files import object_in, read_regular
from .. import spaces
from ..arrays import OBSERVATION_COLUMNS, STORED_COLUMNS
from ..chunks import chunks
from ..dataset import Dataset
from ..facts import provenance_in
from .files import header_of

SUFFIX = ".columns"
METADATA = "metadata.json"
COLUMNS = ("observations", "actions", "rewards", "terminations", "truncations", "offsets")


def is_folder(path: Path) -> bool:
    """Whether a path is a folder of columns."""
    return path.is_dir() and (path / METADATA).exists() and (path / "offsets.npy").exists()


def load(path: Path, *, id: str | None = None) -> Dataset:
    """A data set whose columns are mapped from a folder of columns. Nothing but the episodes' bounds is read.

    Args:
        path: the folder.
        id: name of the data set; None: the name in its metadata.

    Raises:
        UserError: a missing or damaged file, or columns that do not agree.
    """
    meta = object_in(read_regular(path / METADATA), str(path / METADATA))
    try:
        observation_space = spaces.from_json(meta["observation_space"], f"{path}: observation_space")
        action_space = spaces.from_json(meta["action_space"], f"{path}: action_space")
    except (ValueError, KeyError, TypeError) as e:
        raise UserError(f"{path}: its metadata cannot be read ({e!r}); write the folder again") from e
    found = {name: mapped(path / f"{name}.npy") for name in COLUMNS}
    more = {name: mapped(path / f"{name}.npy") for name in STORED_COLUMNS if (path / f"{name}.npy").exists()}
    return Dataset(
        **{name: found[name] for name in COLUMNS[:-1]},
        offsets=np.array(found["offsets"]),
        observation_space=observation_space,  # type: ignore[arg-type]
        action_space=action_space,  # type: ignore[arg-type]
        id=id or meta.get("id", path.stem),
        env_spec=meta.get("env_spec"),
        reference=meta.get("reference"),
        columns=more,
        provenance={**provenance_in(meta, str(path)), "source": "columns", "path": str(path)},
    )


def mapped(path: Path) -> np.ndarray:
    """The array of an NPY file, mapped read-only.

    Raises:
        UserError: the file does not exist, is not a regular NPY file, holds Python objects, or has another size than it
            declares.
    """
    shape, fortran, dtype, start = header_of(path)
    if fortran and len(shape) > 1:
        raise UserError(f"{path} is in column order, expected rows one after another: write it again")
    if not math.prod(shape):
        return np.zeros(shape, dtype)
    return np.memmap(path, dtype, "r", start, shape)


def release(column: np.ndarray) -> None:
    """Give back the memory of what was read of a mapped column; the system reads it again when it is used."""
    base: Any = column
    while base is not None and not isinstance(base, mmap.mmap):
        base = getattr(base, "base", None) if not hasattr(base, "_mmap") else base._mmap
    if base is not None and hasattr(base, "madvise"):
        base.madvise(mmap.MADV_DONTNEED)


class Writer:
    """Writes a folder of columns in parts of whole episodes, so that no more than a part is in memory."""

    def __init__(self, folder: Path, like: Mapping[str, np.ndarray], steps: int, episodes: int) -> None:
        """
        Args:
            folder: an empty folder.
            like: an array of each column's type, `[..., *row]`, without offsets.
            steps: N, transitions in all.
            episodes: E, episodes in all.
        """
        self.arrays = {}
        self.at = dict.fromkeys(like, 0)
        self.offsets = np.zeros(episodes + 1, np.int64)
        self.episode = 0
        rows = {True: steps + episodes, False: steps}
        for name, column in like.items():
            shape = (rows[_of_observations(name)], *column.shape[1:])
            file = folder / f"{name}.npy"
            self.arrays[name] = np.lib.format.open_memmap(file, "w+", column.dtype.newbyteorder("<"), shape)
        self.folder = folder

    def add(self, columns: Mapping[str, np.ndarray], lengths: np.ndarray) -> None:
        """Append episodes: their columns `[rows, ...]`, and the transitions of each, `[episodes]`."""
        for name, column in columns.items():
            begin = self.at[name]
            for part in chunks(len(column), math.prod(column.shape[1:])):
                self.arrays[name][begin + part.start : begin + part.stop] = column[part]
            self.at[name] = begin + len(column)
            release(self.arrays[name])
        ends = self.offsets[self.episode] + np.cumsum(lengths)
        self.offsets[self.episode + 1 : self.episode + 1 + len(lengths)] = ends
        self.episode += len(lengths)

    def close(self, metadata: bytes) -> None:
        """Write what is left: the episodes' bounds and the metadata.

        Raises:
            ValueError: the episodes are not as many as declared.
        """
        short = [name for name, array in self.arrays.items() if self.at[name] != len(array)]
        if short or self.episode != len(self.offsets) - 1:
            raise ValueError(f"columns {short} or episodes are incomplete")
        for array in self.arrays.values():
            array.flush()
        np.save(self.folder / "offsets.npy", self.offsets, allow_pickle=False)
        (self.folder / METADATA).write_bytes(metadata)


def episode_blocks(offsets: np.ndarray, rows: int) -> Iterator[slice]:
    """Slices of consecutive episodes with at most `rows` transitions each, or one longer episode.

    Args:
        offsets: first transition of each episode, and their number, [E + 1].
        rows: the most transitions of a slice.
    """
    episodes = len(offsets) - 1
    first = 0
    while first < episodes:
        last = int(np.searchsorted(offsets, offsets[first] + rows, side="right")) - 1
        last = min(max(last, first + 1), episodes)
        yield slice(first, last)
        first = last


def write(dataset: Dataset, folder: Path, metadata: bytes, rows: int = 100_000) -> None:
    """Write a data set as a folder of columns, `rows` transitions at a time.

    Args:
        dataset: the data set, whose columns may be mapped themselves.
        folder: an empty folder.
        metadata: contents of `metadata.json`.
        rows: transitions in memory at once.
    """
    columns: dict[str, np.ndarray] = {name: getattr(dataset, name) for name in COLUMNS[:-1]}
    columns |= dict(dataset.columns)
    writer = Writer(folder, columns, dataset.n_steps, dataset.n_episodes)
    for part in episode_blocks(dataset.offsets, rows):
        lo, hi = (int(dataset.offsets[e]) for e in (part.start, part.stop))
        seen = slice(lo + part.start, hi + part.stop)
        given = {name: column[_rows(name, lo, hi, seen)] for name, column in columns.items()}
        writer.add(given, dataset.lengths[part])
        for column in columns.values():
            release(column)
    writer.close(metadata)


def _rows(name: str, lo: int, hi: int, seen: slice) -> slice:
    return seen if _of_observations(name) else slice(lo, hi)


def _of_observations(name: str) -> bool:
    return name == "observations" or name in OBSERVATION_COLUMNS
