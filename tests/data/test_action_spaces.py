"""Action spaces of logs that do not say theirs: what is assumed, what options and environments say instead."""

import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete, MultiDiscrete
from tests.support.datasets import fault_of, flat_columns, kinds, write_columns

from holdfast.core.errors import UserError
from holdfast.data import load_dataset
from holdfast.data.action_spaces import bounded, with_action_space
from holdfast.data.convert import convert
from holdfast.data.dataset import Dataset


def log(actions, **more) -> Dataset:
    n = len(actions)
    rng = np.random.default_rng(3)
    ends = np.arange(n) % 5 == 4
    return Dataset.from_arrays(rng.normal(size=(n, 4)), actions, rng.normal(size=n), ends, **more)


@pytest.fixture(params=["a.npz", "a.hdf5", "set-v0"])
def written(request, tmp_path):
    """A function that writes actions to a file of each form."""

    def write(actions):
        if request.param == "set-v0":
            return convert(log(actions), tmp_path / request.param)
        flat = flat_columns(len(actions), width=4)
        return write_columns(tmp_path / request.param, {**flat, "actions": actions})

    return write


def test_ids_that_never_occur_are_reported():
    data = log(np.array([5, 7, 8, 5, 8] * 4))
    fault = fault_of(data, "unused_actions")
    assert (fault.level, fault.count) == ("warn", 6)
    assert "0, 1, 2, 3, 4, 6" in fault.message
    known = log(np.array([5, 7, 8, 5, 8] * 4), action_space=Discrete(5, start=4))
    assert fault_of(known, "unused_actions").level == "note"
    assert "unused_actions" not in kinds(log(np.array([0, 1, 2, 1, 0] * 4)), "warn")


def test_start_and_number_of_actions(written):
    path = written(np.array([5, 7, 8, 5, 8, 6] * 4))
    data = load_dataset(path, action_start=5)
    assert data.action_space == Discrete(4, start=5)
    assert load_dataset(path, action_start=4, action_count=6).action_space == Discrete(6, start=4)
    assert load_dataset(path, action_count=12).action_space == Discrete(12)
    assert kinds(load_dataset(path, action_start=6), "fatal") == ["action_range"]
    with pytest.raises(UserError, match="no bounds: leave --action-bounds out"):
        load_dataset(path, action_bounds=(-1, 1))
    with pytest.raises(UserError, match="expected at least 1"):
        load_dataset(path, action_start=20)


def test_whole_numbers_in_floats(written):
    path = written(np.array([0, 2, 1, 0, 2, 1] * 4, np.float32))
    data = load_dataset(path)
    assert not data.discrete
    assert "--action-kind discrete" in fault_of(data, "action_kind").fix
    assert "--action-kind discrete" in fault_of(data, "action_bounds").fix
    discrete = load_dataset(path, action_kind="discrete")
    assert discrete.action_space == Discrete(3)
    assert discrete.actions.tolist() == [0, 2, 1, 0, 2, 1] * 4 or len(discrete.actions) < 24
    assert discrete.actions.dtype == np.int64
    assert kinds(discrete, "fatal") == []
    box = load_dataset(path, action_kind="continuous", action_bounds=(0, 2))
    assert "action_kind" not in kinds(box, "warn")
    assert box.action_space.high.tolist() == [2.0]
    with pytest.raises(UserError, match="leave --action-start"):
        load_dataset(path, action_start=1)


def test_integers_that_are_continuous_and_fractions_that_are_not(written):
    path = written(np.array([-3, 2, 1, 0, 3, -1] * 4))
    data = load_dataset(path, action_kind="continuous", action_bounds=(-3.0, 3.0))
    assert data.actions.shape[1:] == (1,)
    assert data.actions.dtype.kind == "f"
    assert kinds(data, "fatal") == []
    with pytest.raises(UserError, match="expected a whole number"):
        with_action_space(log(np.array([0.5, 1.0, 0.0, 1.0, 0.5])), Discrete(2))


def test_assumed_bounds_are_reported():
    actions = np.random.default_rng(0).uniform(-1, 1, (20, 2)).astype(np.float32)
    assert fault_of(log(actions), "assumed_bounds").level == "note"
    for known in (log(actions, action_bounds=(-2, 2)), log(actions, action_space=Box(-1, 1, (2,)))):
        assert "assumed_bounds" not in kinds(known, "note")


def test_the_named_environments_space(tmp_path):
    path = write_columns(tmp_path / "a.npz", {**flat_columns(12, 4), "actions": np.tile([0.0, 1.0, 1.0], 4)})
    data = load_dataset(path, env="CartPole-v1")
    assert data.action_space == Discrete(2)
    assert data.actions.dtype == np.int64
    assert "action_kind" not in kinds(data, "warn")
    torque = write_columns(tmp_path / "b.npz", {**flat_columns(12, 3), "actions": np.linspace(-2, 2, 12)})
    assert load_dataset(torque, env="Pendulum-v1").action_space.high.tolist() == [2.0]
    own = load_dataset("bundled/pendulum-mixed", env="CartPole-v1")  # a file that has a space keeps it
    assert own.action_space == load_dataset("bundled/pendulum-mixed").action_space


def test_a_space_of_another_width_changes_nothing():
    data = log(np.zeros((10, 3), np.float32))
    for space in (Discrete(3), Box(-1, 1, (2,)), Box(-1, 1, (3, 1)), MultiDiscrete([2, 2])):
        assert with_action_space(data, space) is data


def test_environments_without_bounds():
    free = Box(-np.inf, np.inf, (2,))
    assert bounded(free, (-3, 1), "X").low.tolist() == [-3.0, -3.0]
    assert bounded(free, None, "X") is free
    with pytest.raises(UserError, match="within the bounds of X, -1 to 1"):
        bounded(Box(-1, 1, (2,)), (-2, 1), "X")
    with pytest.raises(UserError, match="actions of X have no bounds"):
        bounded(Discrete(2), (-2, 1), "X")


def test_options_without_data_are_refused():
    from holdfast.training.run import train

    with pytest.raises(UserError, match="--cut-jumps: this says how to read logged data"):
        train("sac", env="Pendulum-v1", steps=10, data_options={"cut_jumps": True})
