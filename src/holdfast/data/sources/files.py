"""Opens HDF5 and NPZ files that may be damaged. Every failure is a `UserError` of one line; pickles are never read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ...core.errors import UserError


@contextmanager
def open_hdf5(path: Path) -> Iterator[Any]:
    """Open an HDF5 file for reading.

    Raises:
        UserError: the file does not exist, is not an HDF5 file, is truncated, or fails while it is read.
    """
    import h5py

    _require_file(path)
    try:
        with h5py.File(path, "r") as file:
            yield file
    except UserError:
        raise
    except Exception as e:  # a damaged file fails with various errors, at various places
        reason = "truncated" if "truncated" in str(e) else "not HDF5, or damaged"
        raise UserError(f"{path}: cannot be read ({reason}); expected an HDF5 file, fetch or write it again") from e


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """All arrays of an NPZ file.

    Raises:
        UserError: the file does not exist, is not an NPZ file, is truncated, or holds Python objects.
    """
    _require_file(path)
    try:
        with open(path, "rb") as raw, np.load(raw, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except ValueError as e:
        if "pickle" in str(e):
            raise UserError(
                f"{path}: holds Python objects or is not an NPZ file; expected plain arrays (pickles are never read)"
            ) from e
        raise UserError(f"{path}: cannot be read ({e}); expected an NPZ file, fetch or write it again") from e
    except Exception as e:  # zip, zlib and numpy raise errors of their own
        raise UserError(
            f"{path}: cannot be read (not NPZ, or damaged); expected an NPZ file, fetch or write it again"
        ) from e


def _require_file(path: Path) -> None:
    if path.is_dir():
        raise UserError(f"{path} is a folder, expected a file")
    if not path.exists():
        raise UserError(f"{path} does not exist; expected a data set file")
