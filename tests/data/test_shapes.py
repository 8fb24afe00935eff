"""One shape for each column: what is taken, what is refused by the name of the column."""

import numpy as np
import pytest

from holdfast.core.errors import UserError
from holdfast.data import load_dataset
from holdfast.data.checks.check import check
from holdfast.data.dataset import Dataset

N = 12


def columns() -> dict:
    rng = np.random.default_rng(1)
    return {
        "observations": rng.normal(size=(N, 4)).astype(np.float32),
        "actions": rng.integers(0, 3, N),
        "rewards": rng.normal(size=N),
        "terminations": np.arange(N) % 6 == 5,
        "truncations": np.zeros(N, bool),
        "next_observations": rng.normal(size=(N, 4)).astype(np.float32),
    }


def optional() -> dict:
    rng = np.random.default_rng(2)
    return {"behaviour_log_prob": -rng.random(N), "discount": rng.random(N), "action_mask": np.ones((N, 3), bool)}


def made(changes=(), **extra):
    return Dataset.from_arrays(**{**columns(), **dict(changes)}, columns={**optional(), **extra})


def test_a_last_axis_of_one_changes_nothing():
    plain = made()
    vectors = {k: v for k, v in columns().items() if "observations" not in k}
    wide = made({k: v[:, None] for k, v in vectors.items()}, **{k: optional()[k][:, None] for k in ("discount",)})
    assert wide.fingerprint == plain.fingerprint
    assert wide.rewards.shape == wide.actions.shape == wide.columns["discount"].shape == (N,)


def test_a_last_axis_of_one_in_episodes_and_fields():
    episodes = [
        {
            "observations": np.arange(5.0) + e,
            "actions": np.array([[1], [0], [2], [1]]),
            "rewards": [[1.0], [2.0], [3.0], [4.0]],
            "terminations": np.array([[0], [0], [0], [1]]),
            "truncations": np.zeros((4, 1)),
            "discount": np.full((4, 1), 0.5),
        }
        for e in range(3)
    ]
    data = Dataset.from_episodes(episodes)
    assert data.rewards.tolist() == [1.0, 2.0, 3.0, 4.0] * 3
    assert data.observations.shape == (15, 1)
    assert data.actions.shape == data.terminations.shape == data.columns["discount"].shape == (12,)


def test_files_with_a_last_axis_of_one(tmp_path):
    flat = columns()
    flat = {
        "observations": flat["observations"],
        "next_observations": flat["next_observations"],
        "actions": flat["actions"][:, None],
        "rewards": flat["rewards"][:, None],
        "terminals": flat["terminations"][:, None],
        "timeouts": flat["truncations"][:, None],
    }
    np.savez(tmp_path / "wide.npz", **flat)
    data = load_dataset(tmp_path / "wide.npz")
    assert (data.n_steps, data.n_episodes, data.rewards.shape) == (N, 2, (N,))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("rewards", np.zeros((N, 3))),
        ("rewards", np.zeros((N, 0))),
        ("rewards", np.float64(1)),
        ("rewards", np.zeros((N, 1, 1))),
        ("rewards", {"a": 1}),
        ("rewards", ["x"] * N),
        ("terminations", np.zeros((N, 0))),
        ("truncations", True),
        ("truncations", np.zeros((N, 1, 1), bool)),
        ("observations", np.zeros((N, 0))),
        ("observations", np.float32(3)),
        ("observations", [[1.0], [1.0, 2.0]]),
        ("next_observations", np.zeros((N, 5))),
        ("next_observations", np.zeros((N, 4, 1))),
        ("actions", np.zeros((N, 1, 1))),
        ("actions", np.zeros((N, 0))),
        ("actions", 1),
        ("discount", np.ones((N, 2))),
        ("behaviour_log_prob", np.ones(())),
        ("action_mask", np.ones(N)),
        ("next_action_mask", np.ones((N, 2))),
    ],
)
def test_another_shape_is_refused_by_name(name, value):
    with pytest.raises(UserError, match=rf"^arrays: {name} "):
        made({name: value}) if name in columns() else made(**{name: value})


def test_widths_are_compared_within_episodes():
    episode = {
        "observations": np.zeros((3, 2)),
        "actions": np.zeros((2, 1)),
        "rewards": np.zeros(2),
        "terminations": np.array([False, True]),
        "truncations": np.zeros(2, bool),
    }
    other = {**episode, "actions": np.zeros((2, 3))}
    with pytest.raises(UserError, match=r"actions of episode 2 has rows of shape \(3,\)"):
        Dataset.from_episodes([episode, episode, other])
    with pytest.raises(UserError, match="episode 1 is a list, expected a mapping"):
        Dataset.from_episodes([episode, [1, 2]])


def test_booleans_are_numbers():
    flat = columns()
    seen = Dataset.from_arrays(**{**flat, "observations": flat["observations"] > 0, "next_observations": None})
    assert seen.observations.dtype == np.float32
    assert set(np.unique(seen.observations)) == {0.0, 1.0}
    two = Dataset.from_arrays(**{**flat, "actions": flat["actions"] > 0, "next_observations": None})
    assert (two.discrete, two.spec.action, two.actions.dtype) == (True, 2, np.int64)
    box = Dataset.from_arrays(**{**flat, "actions": flat["observations"] > 0, "next_observations": None})
    assert (box.discrete, box.actions.shape, box.actions.dtype) == (False, (N, 4), np.float32)
    assert not [f for data in (seen, two, box) for f in check(data) if f.level == "fatal"]


def test_offsets_are_whole_numbers():
    data = made()
    for offsets in (["0", "6", "12"], [0.0, 6.5, 12.0], [[0, 6, 12]], [0, 6j, 12]):
        with pytest.raises(UserError, match="offsets"):
            Dataset(
                data.observations, data.actions, data.rewards, data.terminations, data.truncations, offsets,
                data.observation_space, data.action_space,
            )  # fmt: skip
