"""Logs of single steps, of sessions, of transitions in no order, and of time-outs that are a row late."""

import numpy as np
import pytest
from tests.support.datasets import fault_of, kinds, write_columns

from holdfast.core.errors import UserError
from holdfast.data import load_dataset
from holdfast.data.checks.check import require_sound
from holdfast.data.checks.dynamics import stray_starts
from holdfast.data.dataset import Dataset


def sessions(n=40, steps=6, paid="last", seed=0) -> dict:
    """Sessions of a shop: a purchase in the last row, or small rewards in every row too."""
    rng = np.random.default_rng(seed)
    last = np.arange(n * steps) % steps == steps - 1
    rewards = np.where(last, (np.arange(n * steps) // steps) % 3, 0.0)
    rewards = rewards + (0.1 if paid == "all" else 0.0)
    return {
        "observations": rng.normal(size=(n * steps, 3)).astype(np.float32),
        "actions": rng.integers(0, 4, n * steps),
        "rewards": rewards,
        "terminations": np.zeros(n * steps, bool),
        "truncations": last,
    }


def test_a_session_keeps_its_only_reward():
    log = sessions()
    data = Dataset.from_arrays(**log)
    assert data.rewards.sum() == log["rewards"].sum()
    assert data.lengths.tolist() == [6] * 40
    assert data.terminations[data.offsets[1:] - 1].all()
    assert not data.truncations.any()
    assert fault_of(data, "terminal_sessions").level == "warn"
    assert kinds(data) == []
    rows = Dataset.from_arrays(**log, terminal_sessions=False)
    assert rows.lengths.tolist() == [5] * 40
    assert rows.rewards.sum() == 0
    assert "26 rewards other than 0" in fault_of(rows, "left_out").message


def test_rewards_at_stake_are_reported():
    log = sessions(paid="all")
    data = Dataset.from_arrays(**log)
    assert data.n_steps == 200
    assert "40 rewards other than 0 are on them" in fault_of(data, "left_out").message
    kept = Dataset.from_arrays(**log, terminal_sessions=True)
    assert kept.rewards.tolist() == log["rewards"].tolist()
    assert "terminal_sessions" not in kinds(kept, "warn")


def test_sessions_with_next_observations_are_not_changed():
    log = sessions()
    following = np.roll(log["observations"], -1, 0)
    data = Dataset.from_arrays(**log, next_observations=following)
    assert data.truncations.sum() == 40
    assert data.rewards.sum() == log["rewards"].sum()


def test_sessions_in_files(tmp_path):
    log = sessions()
    flat = {"terminals": log.pop("terminations"), "timeouts": log.pop("truncations"), **log}
    for name in ("a.npz", "a.hdf5"):
        path = write_columns(tmp_path / name, flat)
        assert load_dataset(path).rewards.sum() == log["rewards"].sum()
        assert load_dataset(path, terminal_sessions=True).n_steps == 240
        assert load_dataset(path, terminal_sessions=False).n_steps == 200


def test_single_steps_raise_no_alarm_about_starts():
    rng = np.random.default_rng(5)
    n = 3000
    wild = rng.standard_t(2, size=(n, 5)) * (1 + 20 * (rng.random((n, 1)) < 0.2))
    clicks = (rng.random(n) < 0.1).astype(float)
    data = Dataset.from_arrays(wild, rng.integers(0, 5, n), clicks, np.ones(n, bool))
    assert not len(stray_starts(data))
    assert "stray_start" not in kinds(data, "warn")
    fault = fault_of(data, "one_step")
    assert (fault.level, "allow=['one_step']" in fault.fix) == ("fatal", True)
    require_sound(data, ["one_step"])


def test_transitions_in_no_order():
    log = sessions(n=30)
    following = log["observations"] + 0.1
    order = np.random.default_rng(1).permutation(180)
    columns = [log[k][order] for k in ("observations", "actions", "rewards")]
    ends = log["truncations"][order] & (log["rewards"][order] > 0)
    data = Dataset.from_arrays(*columns, ends, None, following[order])
    assert data.n_episodes == 180
    assert kinds(data) == []
    fault = fault_of(data, "one_step")
    assert fault.level == "warn"
    assert "single transitions" in fault.message


@pytest.mark.parametrize("late", [0, 1, -1, 2])
def test_time_outs_that_are_late(late):
    rng = np.random.default_rng(7)
    walks = [np.linspace(5, -15, 60)[:, None] + rng.normal(size=(60, 3)) * 0.1 for _ in range(20)]
    ends = np.roll(np.tile(np.arange(60) == 59, 20), late)
    n = len(ends)
    actions = rng.uniform(-1, 1, (n, 2)).astype(np.float32)
    data = Dataset.from_arrays(np.concatenate(walks), actions, actions[:, 0], np.zeros(n, bool), ends)
    assert bool({"suspect_jump", "stray_start"} & set(kinds(data, "warn"))) == bool(late)
    if late == 1:
        assert "one row late" in fault_of(data, "suspect_jump").fix


@pytest.mark.parametrize("name", ["log.csv", "deep/log.parquet", "pendulum-mixd.npz", "pendulum_mixed", "hopper"])
def test_a_misspelt_name_is_not_looked_for_at_minari(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pendulum-mixed.npz").touch()
    with pytest.raises(UserError, match="does not exist") as caught:
        load_dataset(name)
    assert "server" not in str(caught.value)
    assert ("did you mean" in str(caught.value)) == ("pendulum" in name)
    (tmp_path / "log.csv").touch()
    with pytest.raises(UserError, match="is a table: say what its columns are with --columns"):
        load_dataset("log.csv")
