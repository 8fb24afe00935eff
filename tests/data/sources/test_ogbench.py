"""OGBench's three layouts."""

import numpy as np
import pytest

from holdfast.core.errors import UserError
from holdfast.data import load_dataset
from support.datasets import (
    ogbench_trajectories,
    write_columns,
)


def require_trajectories(data):
    assert data.lengths.tolist() == [3, 2]
    assert data.observations[:, 0].tolist() == [0, 1, 2, 3, 10, 11, 12]
    np.testing.assert_allclose(data.actions[:, 0], [0, 0.1, 0.2, 0.4, 0.5])
    assert data.truncations.tolist() == [False, False, True, False, True]
    assert not data.terminations.any()


def test_layout_of_the_files(tmp_path):
    path = write_columns(tmp_path / "a.npz", ogbench_trajectories())
    with pytest.raises(UserError, match="no rewards"):
        load_dataset(path)
    data = load_dataset(path, rewards=np.arange(7.0))
    require_trajectories(data)
    assert data.rewards.tolist() == [0, 1, 2, 4, 5]
    by_function = load_dataset(path, rewards=lambda c: -c["observations"][:, 0])
    assert by_function.rewards.tolist() == [0, -1, -2, -10, -11]


def test_compact_layout(tmp_path):
    columns = ogbench_trajectories() | {"rewards": np.arange(7.0), "valids": np.array([1, 1, 1, 0, 1, 1, 0.0])}
    columns["terminals"] = np.array([0, 0, 1, 1, 0, 1, 1.0])
    require_trajectories(load_dataset(write_columns(tmp_path / "a.npz", columns)))


def test_regular_layout_with_masks(tmp_path):
    columns = {
        "observations": np.array([0, 1, 2, 10, 11], np.float32)[:, None],
        "next_observations": np.array([1, 2, 3, 11, 12], np.float32)[:, None],
        "actions": np.array([0, 0.1, 0.2, 0.4, 0.5])[:, None],
        "terminals": np.array([0, 0, 1, 0, 1.0]),
        "rewards": np.zeros(5),
        "masks": np.ones(5),
    }
    require_trajectories(load_dataset(write_columns(tmp_path / "a.npz", columns)))
    columns["masks"] = np.array([1, 0, 1, 1, 0.0])  # a goal inside the first trajectory, and at the end of the second
    data = load_dataset(write_columns(tmp_path / "b.npz", columns))
    assert data.lengths.tolist() == [2, 1, 2]
    assert data.terminations.tolist() == [False, True, False, False, True]
    assert data.truncations.tolist() == [False, False, True, False, False]
    np.testing.assert_array_equal(data.observations[data.observation_rows + 1], columns["next_observations"])
