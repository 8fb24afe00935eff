"""End flags under the names of other libraries, and columns of ends that no reader reads."""

import numpy as np
import pytest
from tests.support.datasets import flat_columns, kinds, write_columns

from holdfast.core.errors import UserError
from holdfast.data import load_dataset
from holdfast.data.checks.check import check


def test_ends_of_d3rlpy_1(tmp_path):
    flat = flat_columns()
    del flat["timeouts"]
    ends = np.isin(np.arange(12), [4, 7, 11]).astype(np.float32)
    path = write_columns(tmp_path / "old.h5", {**flat, "episode_terminals": ends, "discrete_action": False})
    data = load_dataset(path)
    assert data.lengths.tolist() == [5, 2, 3]  # the rows 7 and 11 have no next observation
    assert data.terminations.sum() == 1
    assert data.truncations.sum() == 2
    assert "unread_ends" not in kinds(data, "warn")
    both = load_dataset(write_columns(tmp_path / "old.npz", {**flat_columns(), "episode_terminals": ends}))
    assert both.lengths.tolist() == [5, 2, 2]


@pytest.mark.parametrize("suffix", [".npz", ".hdf5"])
def test_gymnasiums_names(tmp_path, suffix):
    flat = flat_columns()
    other = {**flat, "terminations": flat["terminals"], "truncations": flat["timeouts"][:, None]}
    renamed = {k: v for k, v in other.items() if k not in ("terminals", "timeouts")}
    plain = load_dataset(write_columns(tmp_path / f"a{suffix}", flat))
    data = load_dataset(write_columns(tmp_path / f"b{suffix}", renamed))
    assert data.fingerprint == plain.fingerprint
    assert kinds(data, "warn") == kinds(plain, "warn")
    if suffix == ".npz":
        assert load_dataset(tmp_path / "b.npz", form="d4rl").fingerprint == plain.fingerprint
    del renamed["truncations"]
    assert load_dataset(write_columns(tmp_path / f"c{suffix}", renamed)).terminations.sum() == 1


@pytest.mark.parametrize("suffix", [".npz", ".hdf5"])
def test_unread_ends_are_named(tmp_path, suffix):
    more = {
        "dones": np.zeros(12),
        "episode_id": np.arange(12) // 3,
        "infos/is_last": np.zeros(12),
        "weights": np.ones(12),
    }
    more = {k: v for k, v in more.items() if suffix == ".hdf5" or "/" not in k}
    data = load_dataset(write_columns(tmp_path / f"a{suffix}", {**flat_columns(), **more}))
    (fault,) = [f for f in check(data) if f.kind == "unread_ends"]
    assert fault.level == "warn"
    assert all(name in fault.message for name in more if name != "weights")
    assert "weights" not in fault.message
    twice = {**flat_columns(), "terminations": flat_columns()["terminals"]}
    (fault,) = [
        f for f in check(load_dataset(write_columns(tmp_path / f"b{suffix}", twice))) if f.kind == "unread_ends"
    ]
    assert fault.where.column == "terminations"


def test_flags_are_named_as_the_file_names_them(tmp_path):
    flat = {**flat_columns(), "timeouts": np.zeros((12, 2))}
    with pytest.raises(UserError, match=r"a.hdf5: timeouts has shape \(12, 2\)"):
        load_dataset(write_columns(tmp_path / "a.hdf5", flat))
