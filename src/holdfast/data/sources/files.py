"""Opens HDF5 and NPZ files that nobody has checked. Every failure is a `UserError` of one line.

Pickles are never read, no other file is opened, and what a file declares is compared with its size before memory is
taken.
"""

from __future__ import annotations

import math
import re
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from ...core.errors import UserError
from ...core.files import require_regular

if TYPE_CHECKING:
    import h5py

MOST_UNPACKED = 100  # times the file's size; compressed logs have a tenth of it
ALWAYS_UNPACKED = 2**27  # bytes that even a small file may unpack to


class Budget:
    """The bytes that a file may still unpack to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = require_regular(path)
        self.left = max(ALWAYS_UNPACKED, MOST_UNPACKED * self.size)

    def take(self, count: int, name: str) -> None:
        """Take the bytes of a column.

        Raises:
            UserError: the columns read so far and this one are too large for a file of this size.
        """
        self.left -= count
        if self.left < 0:
            raise UserError(
                f"{self.path}: {name} declares {count:,} bytes, too many for a file of {self.size:,} bytes "
                f"(at most {MOST_UNPACKED} times its size are read): write the file again"
            )


class Column:
    """One data set of an HDF5 file, of which nothing is read before it is indexed."""

    def __init__(self, node: h5py.Dataset, name: str, budget: Budget) -> None:
        """
        Raises:
            UserError: its values are stored in other files, or they are references.
        """
        where = f"{budget.path}: {name}"
        if node.external or node.is_virtual:
            raise UserError(f"{where} is stored in other files, which are not read: write the file again")
        self.dtype: np.dtype = node.dtype
        if self.dtype.hasobject and (self.dtype.metadata is None or "vlen" not in self.dtype.metadata):
            raise UserError(f"{where} holds references, expected numbers")
        if node.shape is None:
            raise UserError(f"{where} is empty, expected an array")
        self.node = node
        self.name = name
        self.budget = budget
        self.shape: tuple[int, ...] = node.shape

    def __len__(self) -> int:
        return self.shape[0] if self.shape else 0

    def __getitem__(self, rows: tuple[()] | slice) -> Any:
        """Read the values; `rows` is as h5py takes it, `()` for all."""
        self.budget.take(math.prod(self.shape) * self.dtype.itemsize, self.name)
        chunk = math.prod(self.node.chunks or (0,)) * self.dtype.itemsize
        if chunk > ALWAYS_UNPACKED:
            self.budget.take(chunk, f"a chunk of {self.name}")
        if rows != () or self.dtype.hasobject or 0 in self.shape:
            return self.node[rows]
        import h5py

        values = np.empty(self.shape, self.dtype)  # whole: a selection takes longer than a short column
        self.node.id.read(h5py.h5s.ALL, h5py.h5s.ALL, values)
        return values if self.shape else values[()]


class Group(Mapping[str, Any]):
    """One group of an HDF5 file: `Group` and `Column` by name. Links to other files are refused."""

    def __init__(self, node: h5py.Group, name: str, budget: Budget) -> None:
        self.node = node
        self.name = name
        self.budget = budget

    def __iter__(self) -> Iterator[str]:
        return iter(self.node)

    def __len__(self) -> int:
        return len(self.node)

    def __contains__(self, name: object) -> bool:
        path = str(name)
        return self._find(path) is not None if "/" in path else self._has(path)

    def __getitem__(self, name: str) -> Any:
        found = self._find(name)
        if found is None:
            raise KeyError(name)
        return found

    def column_names(self) -> list[str]:
        """The names of the arrays in this group, of which nothing is read. Links and single numbers are left out."""
        import h5py

        own = [name for name in self.node if isinstance(self.node.get(name, getlink=True), h5py.HardLink)]
        nodes = {name: self.node[name] for name in own}
        return [name for name, node in nodes.items() if isinstance(node, h5py.Dataset) and node.shape]

    def _has(self, name: str) -> bool:
        """Whether there is a member of this name. It is not opened, which takes longer.

        Raises:
            UserError: it is a link.
        """
        import h5py

        links = self.node.id.links
        key = name.encode()
        if not key or not links.exists(key):
            return False
        if links.get_info(key).type != h5py.h5l.TYPE_HARD:
            where = f"{self.budget.path}: {self.name}/{name}" if self.name else f"{self.budget.path}: {name}"
            raise UserError(f"{where} is a link, which is not followed: write the file again")
        return True

    def _find(self, path: str) -> Group | Column | None:
        """The member at a path of names separated by `/`; None if there is none."""
        import h5py

        first, _, rest = path.partition("/")
        if not self._has(first):
            return None
        name = f"{self.name}/{first}" if self.name else first
        node = self.node[first]
        if isinstance(node, h5py.Group):
            group = Group(node, name, self.budget)
            return group._find(rest) if rest else group
        return None if rest or not isinstance(node, h5py.Dataset) else Column(node, name, self.budget)


@contextmanager
def open_hdf5(path: Path) -> Iterator[Group]:
    """Open an HDF5 file for reading.

    Raises:
        UserError: the file does not exist, is not an HDF5 file, is truncated, refers to other files, declares more than
            it can hold, or fails while it is read.
    """
    import h5py

    _require_file(path)
    try:
        with h5py.File(path, "r") as file:
            yield Group(file, "", Budget(path))
    except UserError:
        raise
    except Exception as e:  # a damaged file fails with various errors, at various places
        reason = "truncated" if "truncated" in str(e) else "not HDF5, or damaged"
        raise UserError(f"{path}: cannot be read ({reason}); expected an HDF5 file, fetch or write it again") from e


def agents_in(file: Mapping[str, Any]) -> list[str]:
    """The names of the agents whose logs are in a file, see `data.teams.files`. Empty for the log of one agent.

    Args:
        file: arrays by key (`AGENT/observations`), or the root of an HDF5 file, in which an agent is a group.
    """
    if not isinstance(file, Group):
        return [name.removesuffix("/observations") for name in file if name.endswith("/observations")]
    groups = [name for name in file if not re.fullmatch(r"episode_\d+", name)]  # the others are Minari's episodes
    return [name for name in groups if isinstance(file.get(f"{name}/observations"), Column)]


def require_one_agent(file: Mapping[str, Any], path: Path) -> None:
    """Refuse the log of a team.

    Raises:
        UserError: naming its agents.
    """
    agents = agents_in(file)
    if agents:
        raise UserError(
            f"{path} is the log of a team ({', '.join(agents[:4])}): train on it with --agents independent, or read it "
            "with holdfast.load_team"
        )


def require_rows(columns: Mapping[str, Any], path: Path) -> None:
    """Refuse columns that declare different numbers of rows, before one is read.

    Args:
        columns: arrays or `Column`s by name.
        path: the file.

    Raises:
        UserError: naming the first column that differs.
    """
    first = next(iter(columns), None)
    for name, column in columns.items():
        if column.shape[:1] != columns[str(first)].shape[:1]:
            rows = column.shape[0] if column.shape else "no"
            raise UserError(
                f"{path}: {name} has {rows} rows, {first} {len(columns[str(first)])}; expected one row a step in each"
            )


class Members(Mapping[str, np.ndarray]):
    """The arrays of an NPZ file by name. A member is read when it is used for the first time."""

    def __init__(self, path: Path) -> None:
        """
        Raises:
            UserError: the file does not exist, or is not an NPZ file.
        """
        _require_file(path)
        self.path = path
        self.budget = Budget(path)
        self.read: dict[str, np.ndarray] = {}
        with self._explained(), zipfile.ZipFile(path) as file:
            names = file.namelist()
        self.names = {name.removesuffix(".npy"): name for name in names}

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self.read:
            member = self.names[name]
            with self._explained(), zipfile.ZipFile(self.path) as file:
                size = file.getinfo(member).file_size
                self.budget.take(size, name)
                with file.open(member) as raw:
                    _require_header(raw, size, f"{self.path}: {name}")
                with file.open(member) as raw:
                    self.read[name] = np.lib.format.read_array(raw, allow_pickle=False)
        return self.read[name]

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Every error as a `UserError`."""
        path = self.path
        try:
            yield
        except UserError:
            raise
        except ValueError as e:
            if "pickle" in str(e) or "Object arrays" in str(e):
                raise UserError(
                    f"{path}: holds Python objects or is not an NPZ file; expected plain arrays (pickles are never "
                    "read)"
                ) from e
            reason = " ".join(str(e).split())[:200]
            raise UserError(f"{path}: cannot be read ({reason}); expected an NPZ file, fetch or write it again") from e
        except Exception as e:  # zip, zlib and numpy raise errors of their own
            raise UserError(
                f"{path}: cannot be read (not NPZ, or damaged); expected an NPZ file, fetch or write it again"
            ) from e


def read_npz(path: Path) -> Members:
    """The arrays of an NPZ file, each of which is read when it is used.

    Raises:
        UserError: the file does not exist or is not an NPZ file; when a member is used: it is truncated, holds Python
            objects, or declares more than the file can hold.
    """
    return Members(path)


def header_of(path: Path) -> tuple[tuple[int, ...], bool, np.dtype, int]:
    """What an NPY file declares: shape, whether it is in column order, type, and the first byte of its numbers.

    Raises:
        UserError: the file does not exist, is not an NPY file, holds Python objects, or has another size than declared.
    """
    _require_file(path)
    try:
        with open(path, "rb") as raw:
            return _require_header(raw, require_regular(path), str(path))
    except UserError:
        raise
    except Exception as e:  # NumPy has no common error type
        raise UserError(f"{path}: cannot be read (not NPY, or damaged); write it again") from e


def _require_header(raw: IO[bytes], size: int, where: str) -> tuple[tuple[int, ...], bool, np.dtype, int]:
    """What the header of an array declares, compared with the bytes that follow it: see `header_of`."""
    version = np.lib.format.read_magic(raw)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(raw)
    if dtype.hasobject:
        raise UserError(f"{where} holds Python objects; expected plain arrays (pickles are never read)")
    declared = math.prod(shape) * dtype.itemsize
    if declared != size - raw.tell():
        raise UserError(
            f"{where} declares {declared:,} bytes and has {size - raw.tell():,}: it is damaged, write the file again"
        )
    return shape, fortran, dtype, raw.tell()


def _require_file(path: Path) -> None:
    if path.is_dir():
        raise UserError(f"{path} is a folder, expected a file")
    if not path.exists():
        raise UserError(f"{path} does not exist; expected a data set file")
    require_regular(path)
