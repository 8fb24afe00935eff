"""Reading of HDF5 files: every kind of column has the values and the type that h5py gives."""

import h5py
import numpy as np
import pytest

from holdfast.data.sources.files import open_hdf5

ROWS = np.arange(12, dtype=np.float32).reshape(4, 3)
COLUMNS = {
    "rows": ROWS,
    "big-endian": ROWS.astype(">f8"),
    "flags": np.array([True, False]),
    "bytes": np.arange(5, dtype=np.uint8),
    "none": np.zeros((0, 3)),
    "number": np.float64(3.5),
    "words": np.array([b"ab", b"c"]),
    "word": "text",
}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "log.hdf5"
    with h5py.File(path, "w") as file:
        for name, values in COLUMNS.items():
            file[f"group/{name}"] = values
        file.create_dataset("group/packed", data=ROWS, compression="gzip", chunks=(2, 3))
    return path


@pytest.mark.parametrize("name", [*COLUMNS, "packed"])
def test_a_column_is_read_whole(path, name):
    with h5py.File(path) as file:
        wanted = file[f"group/{name}"][()]
    with open_hdf5(path) as file:
        found = file["group"][name][()]
    assert type(found) is type(wanted)
    assert getattr(found, "dtype", None) == getattr(wanted, "dtype", None)
    np.testing.assert_array_equal(found, wanted)


def test_a_part_of_a_column(path):
    with open_hdf5(path) as file:
        np.testing.assert_array_equal(file["group/packed"][1:3], ROWS[1:3])


def test_names_that_are_not_there(path):
    with open_hdf5(path) as file:
        assert "rows" in file["group"]
        assert "columns" not in file["group"]
        assert "" not in file["group"]
        assert "group/columns" not in file
