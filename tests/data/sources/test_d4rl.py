"""D4RL's files."""

import numpy as np
import pytest

from holdfast.data import load_dataset
from support.datasets import (
    flat_columns,
    write_columns,
)


@pytest.mark.parametrize("ending", ["hdf5", "npz"])
def test_d4rl_file(tmp_path, ending):
    columns = flat_columns() | {"infos/action_log_probs": np.arange(12.0)}
    if ending == "npz":
        del columns["infos/action_log_probs"]
    data = load_dataset(write_columns(tmp_path / f"hopper_medium-v2.{ending}", columns))
    assert data.id == "hopper-medium-v2"
    assert data.lengths.tolist() == [5, 3, 2]
    assert data.env_id == "Hopper-v5"
    assert data.reference == (-20.272305, 3234.3)
    np.testing.assert_array_equal(data.rewards, columns["rewards"][[0, 1, 2, 3, 4, 5, 6, 7, 9, 10]])
    if ending == "hdf5":
        assert data.columns["behaviour_log_prob"].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 9, 10]


def test_stored_next_observations_can_be_ignored(tmp_path):
    columns = flat_columns()
    columns["next_observations"] = np.roll(columns["observations"], -1, axis=0)
    path = write_columns(tmp_path / "x.hdf5", columns)
    assert load_dataset(path).n_steps == 12
    assert load_dataset(path, use_next_observations=False).n_steps == 10


def test_without_timeouts_the_time_limit_of_the_environment_is_used(tmp_path):
    columns = flat_columns(1003)
    del columns["timeouts"]
    columns["terminals"][:] = False
    data = load_dataset(write_columns(tmp_path / "hopper_random.hdf5", columns))
    assert data.lengths.tolist() == [999, 2]
    assert load_dataset(tmp_path / "hopper_random.hdf5", max_episode_steps=500).lengths.tolist() == [499, 499, 2]
