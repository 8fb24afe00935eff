"""The reader's rules for flat logs, against a slow transcription of D4RL's rule."""

import numpy as np
import pytest

from holdfast.core.errors import UserError
from holdfast.data.dataset import Dataset


def qlearning_rows(flat: dict) -> list[tuple]:
    """D4RL's rule, word for word: next_obs is obs[i + 1]; the last row of the file is never used; a row whose
    `timeouts` flag is set is dropped; terminals are only true terminals."""
    rows = []
    for i in range(len(flat["rewards"]) - 1):
        if flat["timeouts"][i]:
            continue
        row = (flat["observations"][i], flat["actions"][i], flat["rewards"][i], flat["observations"][i + 1])
        rows.append((*row, flat["terminals"][i]))
    return rows


def our_rows(data: Dataset) -> list[tuple]:
    at = data.observation_rows
    columns = (data.observations[at], data.actions, data.rewards, data.observations[at + 1], data.terminations)
    return list(zip(*columns, strict=True))


def log(seed: int, n: int = 400) -> dict:
    rng = np.random.default_rng(seed)
    ends = rng.random(n) < 0.05
    terminal = rng.random(n) < 0.5
    return {
        "observations": rng.normal(size=(n, 3)).astype(np.float32),
        "actions": rng.uniform(-1, 1, (n, 2)).astype(np.float32),
        "rewards": rng.normal(size=n).astype(np.float32),
        "terminals": ends & terminal,
        "timeouts": ends & (~terminal | (rng.random(n) < 0.3)),  # some rows with both, as in D4RL's own files
    }


def read(flat: dict, **options) -> Dataset:
    columns = (flat[k] for k in ("observations", "actions", "rewards", "terminals"))
    return Dataset.from_arrays(*columns, flat.get("timeouts"), flat.get("next_observations"), **options)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("last", ["open", "terminal", "timeout"])
def test_rows_are_those_of_d4rl(seed, last):
    flat = log(seed)
    flat["terminals"][-1] = last == "terminal"
    flat["timeouts"][-1] = last == "timeout"
    data = read(flat, keep_last=False)
    ours, theirs = our_rows(data), qlearning_rows(flat)
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        for x, y in zip(a, b, strict=True):
            np.testing.assert_array_equal(x, y)
    ends = data.terminations | data.truncations
    assert ends[data.offsets[1:] - 1].all()
    assert ends.sum() == data.n_episodes
    assert data.provenance["left_out"] == len(flat["rewards"]) - len(theirs)


def test_a_time_limit_leaves_its_row_out_and_keeps_its_observation():
    flat = {
        "observations": np.arange(6.0)[:, None],
        "actions": np.zeros((6, 1)),
        "rewards": np.arange(6.0),
        "terminals": np.zeros(6),
        "timeouts": np.array([0, 0, 1, 0, 0, 1]),
    }
    data = read(flat)
    assert data.rewards.tolist() == [0, 1, 3, 4]
    assert data.observations[:, 0].tolist() == [0, 1, 2, 3, 4, 5]
    assert data.truncations.tolist() == [False, True, False, True]


def test_stored_next_observations_close_episodes_and_nothing_is_left_out():
    flat = log(3) | {}
    flat["timeouts"][-1], flat["terminals"][-1] = True, False
    following = np.roll(flat["observations"], -1, axis=0)
    ends = flat["terminals"] | flat["timeouts"]
    following[ends] = 7.0
    data = read(flat | {"next_observations": following})
    assert (data.terminations & data.truncations).any()  # kept as they are, for the check to report
    assert data.n_steps == 400
    assert data.provenance["left_out"] == 0
    np.testing.assert_array_equal(data.observations[data.observation_rows + 1], following)
    np.testing.assert_array_equal(data.truncations, flat["timeouts"])


def test_without_timeouts_jumps_of_next_observations_cut():
    observations = np.array([0.0, 1, 2, 50, 51, 52])[:, None]
    following = np.array([1.0, 2, 3, 51, 52, 53])[:, None]
    data = Dataset.from_arrays(observations, np.zeros((6, 1)), np.ones(6), np.zeros(6), None, following)
    assert data.lengths.tolist() == [3, 3]
    assert data.observations[:, 0].tolist() == [0, 1, 2, 3, 50, 51, 52, 53]
    assert data.truncations.tolist() == [False, False, True] * 2


def test_with_timeouts_a_jump_is_a_fault_unless_cut():
    observations = np.array([0.0, 1, 2, 50, 51, 52])[:, None]
    following = np.array([1.0, 2, 3, 51, 52, 53])[:, None]
    columns = (observations, np.zeros((6, 1)), np.ones(6), np.zeros(6), np.array([0, 0, 0, 0, 0, 1]), following)
    faults = Dataset.from_arrays(*columns).provenance["faults"]
    assert [(f["kind"], f["level"], f["where"]["row"]) for f in faults] == [("jump", "fatal", 2)]
    cut = Dataset.from_arrays(*columns, cut_jumps=True)
    assert cut.lengths.tolist() == [3, 3]
    assert cut.provenance["faults"] == []


def test_without_timeouts_a_time_limit_is_counted_from_each_end():
    terminals = np.zeros(11, bool)
    terminals[1] = True
    data = Dataset.from_arrays(
        np.arange(11.0)[:, None], np.zeros((11, 1)), np.arange(11.0), terminals, max_episode_steps=4
    )
    # rows 0-1 terminal; 2-5 and 6-9 run into the limit, whose last rows have no next observation; 10 stands alone
    assert data.rewards.tolist() == [0, 1, 2, 3, 4, 6, 7, 8]
    assert data.lengths.tolist() == [2, 3, 3]
    assert data.horizon == 4


def test_a_terminal_last_row_is_kept_in_memory_and_dropped_for_d4rl():
    columns = (np.arange(3.0)[:, None], np.zeros((3, 1)), np.ones(3), np.array([0, 0, 1]))
    assert Dataset.from_arrays(*columns).n_steps == 3
    assert Dataset.from_arrays(*columns, keep_last=False).n_steps == 2


def test_both_flags_without_next_observations_are_reported():
    flat = log(0)
    fault = read(flat).provenance["faults"][0]
    assert (fault["kind"], fault["count"]) == ("both_flags", int((flat["terminals"] & flat["timeouts"]).sum()))


def test_nothing_left_is_refused():
    with pytest.raises(UserError, match="empty"):
        Dataset.from_arrays(np.zeros((0, 1)), np.zeros((0, 1)), np.zeros(0), np.zeros(0))
    with pytest.raises(UserError, match="no transition is left"):
        Dataset.from_arrays(np.zeros((2, 1)), np.zeros((2, 1)), np.zeros(2), np.zeros(2), np.ones(2))


def test_columns_follow_their_rows():
    flat = log(1)
    mask = np.arange(400)[:, None] % 2 == np.array([[0, 1]])
    data = read(flat, columns={"behaviour_log_prob": np.arange(400.0), "action_mask": mask}, action_bounds=(-1, 1))
    kept = np.flatnonzero(~flat["timeouts"])
    kept = kept[kept < 399] if not flat["terminals"][-1] else kept
    np.testing.assert_array_equal(data.columns["behaviour_log_prob"], kept)
    assert data.columns["action_mask"].shape == (data.n_steps + data.n_episodes, 2)
    np.testing.assert_array_equal(data.columns["action_mask"][data.observation_rows], mask[kept])


def discrete_log() -> tuple[dict, np.ndarray]:
    """Seven steps in two episodes: a time limit after the third, and the log's end."""
    obs = np.arange(7.0)[:, None]
    flat = {"observations": obs, "actions": np.zeros(7, int), "rewards": np.zeros(7), "terminations": np.zeros(7, bool)}
    return flat | {"truncations": np.arange(7) == 2}, np.arange(7)[:, None] % 2 == np.array([[0, 1]])


def test_the_mask_that_closes_an_episode_is_that_of_its_observation():
    flat, mask = discrete_log()
    data = Dataset.from_arrays(**flat, columns={"action_mask": mask})
    np.testing.assert_array_equal(data.observations[:, 0], [0, 1, 2, 3, 4, 5, 6])
    np.testing.assert_array_equal(data.columns["action_mask"], mask)
    assert not data.provenance["faults"]


@pytest.mark.parametrize("told", [True, False])
def test_masks_of_stored_next_observations(told):
    """They are known where they are brought; else the one before is taken, and that is said."""
    flat, mask = discrete_log()
    columns = {"action_mask": mask} | ({"next_action_mask": ~mask} if told else {})
    data = Dataset.from_arrays(**flat, next_observations=flat["observations"] + 1, columns=columns)
    assert set(data.columns) == {"action_mask"}
    closing = data.offsets[1:] + np.arange(2)
    rows = np.array([2, 6])
    np.testing.assert_array_equal(data.columns["action_mask"][closing], ~mask[rows] if told else mask[rows])
    assert [fault["kind"] for fault in data.provenance["faults"]] == ([] if told else ["closing"])
