"""Each fault is put into a sound log; the check must find it, at its place, and nothing else that is fatal."""

import dataclasses

import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete

from holdfast.core.errors import UserError
from holdfast.data import Dataset, load_dataset
from holdfast.data.checks.check import check, require_sound

LIMIT = '{"id": "X-v0", "max_episode_steps": 20}'


def sound(discrete: bool = False, episodes: int = 6, steps: int = 20) -> Dataset:
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
    return Dataset.from_episodes(out, env_spec=LIMIT.replace("20", str(steps)))


def kinds(data, level="fatal"):
    return [f.kind for f in check(data) if f.level == level]


def one(data, kind):
    found = [f for f in check(data) if f.kind == kind]
    assert len(found) == 1, found
    return found[0]


def changed(data, name, row, value):
    column = getattr(data, name).copy()
    column[row] = value
    return dataclasses.replace(data, **{name: column})


@pytest.mark.parametrize("discrete", [False, True])
def test_a_sound_log_has_no_fault(discrete):
    assert check(sound(discrete)) == []
    assert require_sound(sound(discrete)) == []


def test_the_bundled_set_has_no_fault():
    assert check(load_dataset("bundled/pendulum-mixed")) == []


def test_nan_in_an_observation():
    data = sound()
    fault = one(changed(data, "observations", (25, 1), np.nan), "nonfinite")
    assert (fault.level, fault.count) == ("fatal", 1)
    assert (fault.where.episode, fault.where.row, fault.where.column) == (1, 24, "observations[1]")
    final = one(changed(data, "observations", (20, 0), np.inf), "nonfinite")
    assert (final.where.episode, final.where.row, final.where.column) == (0, 19, "observations[0] (final)")
    with pytest.raises(UserError, match=r"episode 1, row 24, observations\[1\].*--drop-nonfinite"):
        require_sound(changed(data, "observations", (25, 1), np.nan))


@pytest.mark.parametrize("name", ["actions", "rewards"])
def test_nan_elsewhere(name):
    fault = one(changed(sound(), name, 45, np.nan), "nonfinite")
    assert (fault.where.episode, fault.where.row) == (2, 45)


def test_both_flags():
    data = changed(sound(), "terminations", 19, True)
    fault = one(data, "both_flags")
    assert (fault.where.episode, fault.where.row, fault.level) == (0, 19, "fatal")
    with pytest.raises(UserError, match="--allow both_flags"):
        require_sound(data)
    assert require_sound(data, allow=["both_flags"]) == []
    with pytest.raises(UserError, match="did you mean 'both_flags'"):
        require_sound(data, allow=["both_flag"])


def test_a_flag_inside_an_episode():
    fault = one(changed(sound(), "terminations", 30, True), "end_inside")
    assert (fault.where.episode, fault.where.row, fault.where.column) == (1, 30, "terminations")


def test_an_episode_that_no_flag_ends():
    data = changed(sound(), "truncations", 39, False)
    assert one(data, "unended").where.row == 39
    assert [f.kind for f in require_sound(data)] == ["unended"]


def test_lengths_against_the_time_limit():
    data = sound()
    shorter = dataclasses.replace(data, env_spec=LIMIT.replace("20", "15"))
    assert one(shorter, "too_long").count == 6
    longer = dataclasses.replace(data, env_spec=LIMIT.replace("20", "500"))
    assert one(longer, "timeout_early").count == 5
    as_ends = dataclasses.replace(data, terminations=data.truncations, truncations=data.terminations)
    assert one(as_ends, "timeout_as_end").count == 6


def test_one_step_episodes():
    data = sound()
    part = dataclasses.replace(
        data.select([0, 1]),
        observations=np.delete(data.observations[:42], slice(22, 41), axis=0),
        **{k: np.delete(getattr(data, k)[:40], slice(20, 39), axis=0) for k in ("actions", "rewards")},
        terminations=np.zeros(21, bool),
        truncations=np.isin(np.arange(21), [19, 20]),
        offsets=[0, 20, 21],
    )
    assert one(part, "one_step").level == "warn"
    bandit = Dataset.from_arrays(np.eye(4), np.array([0, 1, 0, 1]), np.arange(4.0), np.ones(4))
    assert kinds(bandit) == ["one_step"]
    assert require_sound(bandit, allow=["one_step"]) == []


def test_an_empty_set():
    data = sound()
    nothing = dataclasses.replace(
        data,
        observations=np.zeros((0, 2)),
        actions=np.zeros((0, 2)),
        offsets=[0],
        **{k: np.zeros(0) for k in ("rewards", "terminations", "truncations")},
    )
    assert kinds(nothing) == ["empty"]
    with pytest.raises(UserError, match="empty"):
        require_sound(nothing)


def test_actions_out_of_bounds():
    data = changed(changed(sound(), "actions", (33, 1), 1.5), "actions", (40, 0), -2.0)
    fault = one(data, "action_bounds")
    assert (fault.count, fault.where.row, fault.where.column) == (2, 33, "actions[1]")
    assert "--clip-actions" in fault.fix
    assert require_sound(data, allow=["action_bounds"]) == []
    assert check(changed(sound(), "actions", (33, 1), 1.000001)) == []  # rounding


def test_bounds_that_cannot_be_used():
    for low, high in ((-np.inf, np.inf), (0.0, 0.0)):
        space = Box(np.array([-1, low], np.float32), np.array([1, high], np.float32))
        assert "no_bounds" in kinds(dataclasses.replace(sound(), action_space=space))


def test_shapes_against_spaces():
    data = sound()
    assert kinds(dataclasses.replace(data, action_space=Box(-1, 1, (3,)))) == ["action_shape"]
    assert kinds(dataclasses.replace(data, observation_space=Box(-1, 1, (3,)))) == ["observation_shape"]
    assert kinds(dataclasses.replace(data, action_space=Discrete(2))) == ["dtype", "action_shape"][::-1]


def test_wrong_types():
    data = sound(discrete=True)
    floats = dataclasses.replace(data, actions=data.actions.astype(np.float32))
    assert kinds(floats) == []
    assert kinds(floats, "warn") == ["dtype"]
    assert kinds(dataclasses.replace(data, actions=data.actions + 0.5)) == ["dtype"]
    box = sound()
    assert "dtype" in kinds(dataclasses.replace(box, actions=np.sign(box.actions).astype(int)), "warn")


def test_discrete_actions_against_their_space():
    data = sound(discrete=True)
    assert one(changed(data, "actions", 50, 2), "action_range").where.row == 50
    shifted = dataclasses.replace(data, actions=data.actions + 5, action_space=Discrete(2, start=5))
    assert kinds(shifted) == []
    assert kinds(dataclasses.replace(data, actions=data.actions * 0)) == ["same_action"]
    assert kinds(dataclasses.replace(data, actions=data.actions * 0, action_space=Discrete(1))) == ["same_action"]


def test_a_mask_that_forbids_the_logged_action():
    data = sound(discrete=True)
    mask = np.ones((len(data.observations), 2), bool)
    assert kinds(dataclasses.replace(data, columns={"action_mask": mask})) == []
    mask[44, data.actions[42]] = False  # observation row 44 is transition 42, the third of episode 2
    fault = one(dataclasses.replace(data, columns={"action_mask": mask}), "mask")
    assert (fault.where.row, fault.where.episode, fault.count) == (42, 2, 1)
    assert kinds(dataclasses.replace(data, columns={"action_mask": mask[:, :1]})) == ["mask_shape"]


def test_no_legal_action_is_a_fault_but_after_a_true_end():
    data = sound(discrete=True)
    mask = np.ones((len(data.observations), 2), bool)
    last = data.offsets[1:] - 1
    mask[data.observation_rows[last] + 1] = False
    cut = np.flatnonzero(~data.terminations[last])
    ended = dataclasses.replace(
        data, terminations=data.terminations | data.truncations, truncations=data.truncations & False
    )
    assert "mask" not in kinds(dataclasses.replace(ended, columns={"action_mask": mask}))
    fault = one(dataclasses.replace(data, columns={"action_mask": mask}), "mask")
    assert (fault.count, fault.where.row) == (len(cut), last[cut[0]])


def test_constant_actions():
    data = sound()
    half = data.actions * [1, 0]
    fault = one(dataclasses.replace(data, actions=half), "constant_action")
    assert (fault.level, fault.where.column) == ("warn", "actions[1]")
    assert kinds(dataclasses.replace(data, actions=data.actions * 0)) == ["same_action"]


def test_scales():
    data = sound()
    assert one(dataclasses.replace(data, observations=data.observations * [1, 1e5]), "observation_scale").count == 1
    assert any(
        "reach beyond" in f.message for f in check(dataclasses.replace(data, observations=data.observations * 1e8))
    )
    assert (
        one(dataclasses.replace(data, observations=data.observations * [1, 0]), "constant_observation").level == "note"
    )
    assert one(dataclasses.replace(data, rewards=data.rewards * 1e6), "reward_scale").level == "warn"
    assert one(dataclasses.replace(data, rewards=data.rewards * 0), "zero_reward").level == "warn"
    assert one(dataclasses.replace(data, rewards=data.rewards * 0 + 1), "constant_reward").level == "note"


def test_stored_columns():
    data = sound(discrete=True)
    n = data.n_steps
    probabilities = dataclasses.replace(data, columns={"behaviour_log_prob": np.full(n, 0.5)})
    assert kinds(probabilities) == ["log_prob"]
    assert kinds(dataclasses.replace(data, columns={"discount": np.full(n, 1.5)})) == ["discount"]


def test_duplicate_episodes():
    fault = one(sound().select([0, 1, 2, 1]), "duplicate")
    assert (fault.where.episode, fault.count) == (3, 1)
    assert "episode 3 of episode 1" in fault.message


def test_a_first_observation_that_belongs_elsewhere():
    data = sound(episodes=40)
    fault = one(changed(data, "observations", 7 * 21, [3.0, -4.0]), "stray_start")
    assert (fault.where.episode, fault.where.row, fault.level) == (7, 140, "warn")


def test_an_episode_that_starts_and_goes_on_elsewhere_is_no_stray():
    data = sound(episodes=40)
    far = data.observations.copy()
    far[7 * 21 : 8 * 21] += 5
    assert "stray_start" not in [f.kind for f in check(dataclasses.replace(data, observations=far))]


def test_a_terminal_row_may_lead_anywhere():
    data = sound(episodes=40)
    rows = data.offsets[1:] - 1
    ended = dataclasses.replace(data, terminations=data.truncations, truncations=data.terminations, env_spec=None)
    assert check(changed(ended, "observations", rows[:2] + np.array([1, 2]), 50.0)) == []


def test_two_episodes_joined_without_a_flag():
    data = sound(episodes=40)
    far = data.observations.copy()
    far[21 * 20 : 21 * 21] += 50  # one episode plays elsewhere; the join leads there and back
    rows = np.delete(np.arange(len(far)), [21 * 20 - 1, 21 * 21 - 1])
    ends = data.truncations.copy()
    ends[[399, 419]] = False
    offsets = np.delete(data.offsets, [20, 21])
    joined = dataclasses.replace(data, observations=far[rows], truncations=ends, offsets=offsets, env_spec=None)
    fault = one(joined, "suspect_jump")
    assert (fault.count, fault.where.row) == (2, 399)


@pytest.mark.parametrize(("shift", "word"), [(1, "before"), (-1, "after")])
def test_rewards_one_step_off(shift, word):
    data = sound(episodes=40)
    assert "shifted_rewards" not in [f.kind for f in check(data)]
    off = dataclasses.replace(data, rewards=np.roll(data.rewards, shift))
    assert f"fit the step {word} theirs" in one(off, "shifted_rewards").message


def test_sources_pass_on_what_they_saw():
    observations = np.array([0.0, 1, 2, 50, 51, 52])[:, None]
    following = np.array([1.0, 2, 3, 51, 52, 53])[:, None]
    rng = np.random.default_rng(0)
    timeouts = np.array([0, 0, 0, 0, 0, 1])
    data = Dataset.from_arrays(
        observations, rng.uniform(-1, 1, (6, 1)), np.arange(6.0), np.zeros(6), timeouts, following
    )
    assert kinds(data) == ["jump"]
    dropped = Dataset.from_arrays(observations, rng.uniform(-1, 1, (6, 1)), np.arange(6.0), np.zeros(6), timeouts)
    assert one(dropped, "left_out").level == "note"


def test_all_fatal_faults_in_one_line():
    data = changed(changed(changed(sound(), "terminations", 19, True), "rewards", 3, np.nan), "actions", (5, 0), 9)
    with pytest.raises(UserError) as caught:
        require_sound(data)
    text = str(caught.value)
    assert "\n" not in text
    assert "2 more: action_bounds, both_flags" in text
