"""`load_dataset` finds the source of a name; what cannot be read is refused in one line."""

import numpy as np
import pytest

from holdfast.core.errors import UserError
from holdfast.data import load_dataset
from support.datasets import (
    flat_columns,
    write_columns,
)

COLUMNS = ("observations", "actions", "rewards", "terminals", "timeouts")


def test_bundled():
    data = load_dataset("bundled/pendulum-mixed")
    assert (data.n_episodes, data.n_steps, data.env_id, data.horizon) == (168, 33576, "Pendulum-v1", 200)
    assert data.reference == (-1224.0, -150.0)
    assert data.returns().mean() == pytest.approx(-621.7, abs=0.1)
    assert data.fingerprint.startswith("a780f6827cbb1a4d")


def damaged(tmp_path):
    good = write_columns(tmp_path / "good.hdf5", flat_columns(4000))
    bytes_ = good.read_bytes()
    (tmp_path / "short.hdf5").write_bytes(bytes_[: len(bytes_) // 2])
    (tmp_path / "noise.hdf5").write_bytes(np.random.default_rng(0).bytes(5000))
    (tmp_path / "noise.npz").write_bytes(np.random.default_rng(0).bytes(5000))
    archive = write_columns(tmp_path / "good.npz", flat_columns(4000)).read_bytes()
    (tmp_path / "short.npz").write_bytes(archive[: len(archive) // 2])
    np.savez(tmp_path / "pickle.npz", **dict.fromkeys(COLUMNS, np.array([{"a": 1}], object)))
    write_columns(tmp_path / "keys.hdf5", {"observations": np.zeros((3, 1)), "foo": np.zeros(3)})
    (tmp_path / "empty.hdf5").write_bytes(b"")
    (tmp_path / "data.csv").write_text("a,b\n")
    (tmp_path / "folder").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("short.hdf5", "truncated"),
        ("noise.hdf5", "not HDF5, or damaged"),
        ("noise.npz", "NPZ file"),
        ("short.npz", "not NPZ, or damaged"),
        ("pickle.npz", "pickles are never read"),
        ("keys.hdf5", "has no actions, rewards, terminals; it has observations"),
        ("empty.hdf5", "damaged"),
        ("absent.hdf5", "does not exist"),
        ("absent.npz", "does not exist"),
        ("absent", "does not exist"),
        ("folder", "without a data set"),
        ("data.csv", "is a table: say what its columns are with --columns"),
    ],
)
def test_what_cannot_be_read_is_one_line(tmp_path, name, says):
    with pytest.raises(UserError, match=says) as caught:
        load_dataset(damaged(tmp_path) / name)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_unknown_names_suggest_the_nearest():
    with pytest.raises(UserError, match="did you mean 'bundled/pendulum-mixed'"):
        load_dataset("bundled/pendulum")
    with pytest.raises(UserError, match="did you mean 'max_episode_steps'"):
        load_dataset("bundled/pendulum-mixed", max_episode_step=3)


@pytest.mark.parametrize("name", ["~nobody-of-that-name/x", "x" * 5000, "./" + "x/" * 4000, "a\0b", "./a\0b.npz"])
def test_what_cannot_be_a_path_is_one_line(name):
    with pytest.raises(UserError) as caught:
        load_dataset(name)
    assert len(str(caught.value)) < 400
