"""Small data sets and files of data for tests."""

import dataclasses
from pathlib import Path

import h5py
import numpy as np
from gymnasium.spaces import Box, Discrete

from holdfast.data import Dataset, load_dataset
from holdfast.data.checks.check import check

# how the columns of a table are declared
ROLES = {
    "episode": "who",
    "time": "at",
    "observations": {
        "x": {"missing": "mean"},
        "sex": "one-hot",
        "grade": {"kind": "ordinal", "categories": ["low", "mid", "high"]},
    },
    "action": "dose",
    "reward": "pay",
    "last_row": "terminal",
}
LIMIT = '{"id": "X-v0", "max_episode_steps": 20}'


def two_episodes() -> Dataset:
    """Two episodes of three steps."""
    ends = np.array([0, 0, 1, 0, 0, 1], bool)
    seen = np.arange(16, dtype=np.float32).reshape(8, 2)
    actions = np.arange(6, dtype=np.float32)[:, None] / 10
    return Dataset(seen, actions, np.ones(6), ends, ~ends & False, [0, 3, 6], Box(-99, 99, (2,)), Box(-1, 1, (1,)))


def sound_dataset(discrete: bool = False, episodes: int = 6, steps: int = 20) -> Dataset:
    """Smooth observations, varied actions, rewards from the action and the move."""
    rng = np.random.default_rng(0)
    out = []
    for _ in range(episodes):
        actions = rng.uniform(-1, 1, (steps, 2)).astype(np.float32)
        start = rng.uniform(-0.1, 0.1, (1, 2))
        moves = np.concatenate([start, actions * 0.3 + rng.normal(0, 0.05, (steps, 2))]).cumsum(0)
        out.append(
            {
                "observations": moves.astype(np.float32),
                "actions": (actions[:, 0] > 0).astype(np.int64) if discrete else actions,
                "rewards": (np.diff(moves, axis=0)[:, 0] - 0.1 * (actions**2).sum(1)).astype(np.float64),
                "terminations": np.zeros(steps, bool),
                "truncations": np.arange(steps) == steps - 1,
            }
        )
    bounds = None if discrete else (-1, 1)
    return Dataset.from_episodes(out, action_bounds=bounds, env_spec=LIMIT.replace("20", str(steps)))


def kinds(data, level="fatal"):
    """The kinds of the faults of a level."""
    return [f.kind for f in check(data) if f.level == level]


def fault_of(data, kind):
    """The only fault of that kind."""
    found = [f for f in check(data) if f.kind == kind]
    assert len(found) == 1, found
    return found[0]


def changed(data, name, row, value):
    """The data set with one value of a column changed."""
    column = getattr(data, name).copy()
    column[row] = value
    return dataclasses.replace(data, **{name: column})


def masked_dataset() -> Dataset:
    """Discrete actions from 3, ends of both kinds, every optional column, 64-bit observations."""
    rng = np.random.default_rng(0)
    episodes = []
    for steps, end in ((4, "terminations"), (1, "truncations"), (6, "truncations")):
        flags = {"terminations": np.zeros(steps, bool), "truncations": np.zeros(steps, bool)}
        flags[end][-1] = True
        episodes.append(
            {
                "observations": rng.normal(size=(steps + 1, 2)),
                "actions": rng.integers(3, 6, steps),
                "rewards": rng.normal(size=steps),
                "action_mask": rng.random((steps + 1, 3)) > 0.2,
                "behaviour_log_prob": -rng.random(steps),
                "discount": rng.random(steps),
                **flags,
            }
        )
    return Dataset.from_episodes(episodes, action_space=Discrete(3, start=3), reference=(1.5, 2.5))


def pendulum_dataset() -> Dataset:
    """Ten episodes of the bundled data set."""
    return load_dataset("bundled/pendulum-mixed").select(np.arange(5, 15))


def write_columns(path: Path, columns: dict) -> Path:
    """Write columns to an NPZ or HDF5 file, by its suffix."""
    if path.suffix == ".npz":
        np.savez(path, **columns)
    else:
        with h5py.File(path, "w") as file:
            for name, column in columns.items():
                file[name] = column
    return path


def flat_columns(n=12, width=11) -> dict:
    """Columns with D4RL's names: a terminal at row 4, a timeout at row 8."""
    rng = np.random.default_rng(0)
    return {
        "observations": rng.normal(size=(n, width)).astype(np.float32),
        "actions": rng.uniform(-1, 1, (n, 3)).astype(np.float32),
        "rewards": rng.normal(size=n).astype(np.float32),
        "terminals": np.arange(n) == 4,
        "timeouts": np.arange(n) == 8,
    }


def ogbench_trajectories():
    """Two trajectories of 3 and 2 transitions in the form of OGBench's files: the last row of each only closes it."""
    return {
        "observations": np.array([0, 1, 2, 3, 10, 11, 12], np.float32)[:, None],
        "actions": np.arange(7, dtype=np.float32)[:, None] / 10,
        "terminals": np.array([0, 0, 0, 1, 0, 0, 1], np.float32),
    }
