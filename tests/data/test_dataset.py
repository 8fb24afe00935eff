import dataclasses

import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete

from holdfast.core.errors import UserError
from holdfast.data.dataset import Dataset


def episode(first: float, steps: int, end: str = "truncations", rewards: float = 1.0) -> dict:
    """Observations count up from `first`, actions are the step's number / 10."""
    columns = {
        "observations": (first + np.arange(steps + 1, dtype=np.float32))[:, None] * np.ones((1, 2), np.float32),
        "actions": np.arange(steps, dtype=np.float32)[:, None] / 10,
        "rewards": np.full(steps, rewards),
        "terminations": np.zeros(steps, bool),
        "truncations": np.zeros(steps, bool),
    }
    columns[end][-1] = True
    return columns


@pytest.fixture
def three() -> Dataset:
    return Dataset.from_episodes([episode(0, 2), episode(100, 3, "terminations", 2.0), episode(200, 1)])


def test_indices(three):
    assert three.n_steps == 6
    assert three.n_episodes == 3
    assert three.lengths.tolist() == [2, 3, 1]
    assert three.episode_of.tolist() == [0, 0, 1, 1, 1, 2]
    assert three.timesteps.tolist() == [0, 1, 0, 1, 2, 0]
    assert three.observation_rows.tolist() == [0, 1, 3, 4, 5, 7]
    starts, nexts = three.observations[three.observation_rows, 0], three.observations[three.observation_rows + 1, 0]
    assert starts.tolist() == [0, 1, 100, 101, 102, 200]
    assert nexts.tolist() == [1, 2, 101, 102, 103, 201]


def test_returns_and_scores(three):
    assert three.returns().tolist() == [2.0, 6.0, 1.0]
    assert three.returns(0.5).tolist() == [1.5, 3.5, 1.0]
    assert three.normalized([1.0]) is None
    scored = dataclasses.replace(three, reference=(1.0, 5.0))
    assert scored.normalized([1.0, 3.0, 7.0]).tolist() == [0.0, 50.0, 150.0]


def test_spec(three):
    spec = dataclasses.replace(three, env_spec='{"id": "X-v0", "max_episode_steps": 3}').spec
    assert (spec.obs, spec.action, spec.discrete, spec.horizon, spec.masked) == ((2,), 1, False, 3, False)
    mask = np.ones((4, 3), bool)
    options = {"action_space": Discrete(3, start=5), "columns": {"action_mask": mask}}
    obs, flags = np.zeros((4, 2), np.float32), np.array([False, False, True])
    counted = Dataset(obs, np.array([5, 6, 7]), np.ones(3), flags, ~flags & False, [0, 3], Box(-1, 1, (2,)), **options)
    assert (counted.spec.action, counted.spec.discrete, counted.spec.masked) == (3, True, True)


def test_select_keeps_order_and_columns(three):
    log_prob = np.arange(6.0)
    data = dataclasses.replace(three, columns={"behaviour_log_prob": log_prob})
    part = data.select([2, 0])
    assert part.observations[:, 0].tolist() == [200, 201, 0, 1, 2]
    assert part.columns["behaviour_log_prob"].tolist() == [5, 0, 1]
    assert part.offsets.tolist() == [0, 1, 3]
    assert data.select(np.array([False, True, False])).terminations.tolist() == [False, False, True]


def test_split_is_a_partition_by_episodes():
    data = Dataset.from_episodes([episode(10 * e, 3) for e in range(10)])
    parts = data.split({"train": 0.7, "holdout": 0.3}, seed=1)
    assert [p.n_episodes for p in parts.values()] == [7, 3]
    firsts = np.sort(np.concatenate([p.observations[:, 0] for p in parts.values()]))
    assert firsts.tolist() == np.sort(data.observations[:, 0]).tolist()
    again = data.split({"train": 0.7, "holdout": 0.3}, seed=1)
    assert again["train"].fingerprint == parts["train"].fingerprint
    assert data.split({"train": 0.7, "holdout": 0.3}, seed=2)["train"].fingerprint != parts["train"].fingerprint
    assert [p.n_episodes for p in data.split({"a": 0.999, "b": 0.001}).values()] == [9, 1]


@pytest.mark.parametrize("shares", [{"a": 0.7, "b": 0.7}, {"a": 0.0}, {}])
def test_split_refuses_shares(three, shares):
    with pytest.raises(UserError, match="shares"):
        three.split(shares)


def test_columns_cannot_be_written_to(three):
    with pytest.raises(ValueError, match="read-only"):
        three.rewards[0] = 5.0


def test_the_callers_array_stays_writable():
    mine = np.zeros((3, 1))
    Dataset.from_arrays(mine, mine, np.ones(3), np.zeros(3), np.array([0, 0, 1]))
    mine[0] = 1.0


def test_unequal_lengths_are_refused():
    with pytest.raises(UserError, match="actions has 2 rows, observations 3"):
        Dataset.from_arrays(np.zeros((3, 1)), np.zeros((2, 1)), np.ones(3), np.zeros(3))
    bad = episode(0, 2) | {"observations": np.zeros((2, 2))}
    with pytest.raises(UserError, match="observations of episode 1 has 2 rows, expected 3"):
        Dataset.from_episodes([episode(0, 2), bad])


def test_what_is_not_supported_is_refused_in_one_line():
    with pytest.raises(UserError, match="dtype object"):
        Dataset.from_arrays(np.array([[None]]), [[0.0]], [0.0], [True])
    with pytest.raises(UserError, match=r"terminations at row 1 is 2"):
        Dataset.from_arrays(np.zeros((2, 1)), np.zeros((2, 1)), np.ones(2), [0, 2])


def test_spaces_are_made_up_from_actions():
    discrete = Dataset.from_arrays(np.zeros((3, 1)), np.array([0, 4, 1]), np.ones(3), np.array([0, 0, 1]))
    assert discrete.action_space == Discrete(5)
    box = Dataset.from_arrays(np.zeros((3, 1)), np.zeros(3), np.ones(3), np.array([0, 0, 1]), action_bounds=(-2, 2))
    assert box.actions.shape == (3, 1)
    assert (box.action_space.low, box.action_space.high) == (-2, 2)
