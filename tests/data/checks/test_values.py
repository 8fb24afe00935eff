"""Checks of single columns: each fault is put into a sound log and must be found at its place."""

import dataclasses

import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete

from holdfast.core.errors import UserError
from holdfast.data.checks.check import check, require_sound
from support.datasets import (
    changed,
    fault_of,
    kinds,
    sound_dataset,
)


def test_nan_in_an_observation():
    data = sound_dataset()
    fault = fault_of(changed(data, "observations", (25, 1), np.nan), "nonfinite")
    assert (fault.level, fault.count) == ("fatal", 1)
    assert (fault.where.episode, fault.where.row, fault.where.column) == (1, 24, "observations[1]")
    final = fault_of(changed(data, "observations", (20, 0), np.inf), "nonfinite")
    assert (final.where.episode, final.where.row, final.where.column) == (0, 19, "observations[0] (final)")
    with pytest.raises(UserError, match=r"episode 1, row 24, observations\[1\].*--drop-nonfinite"):
        require_sound(changed(data, "observations", (25, 1), np.nan))


@pytest.mark.parametrize("name", ["actions", "rewards"])
def test_nan_in_actions_and_rewards(name):
    fault = fault_of(changed(sound_dataset(), name, 45, np.nan), "nonfinite")
    assert (fault.where.episode, fault.where.row) == (2, 45)


def test_actions_out_of_bounds():
    data = changed(changed(sound_dataset(), "actions", (33, 1), 1.5), "actions", (40, 0), -2.0)
    fault = fault_of(data, "action_bounds")
    assert (fault.count, fault.where.row, fault.where.column) == (2, 33, "actions[1]")
    assert "--clip-actions" in fault.fix
    assert require_sound(data, allow=["action_bounds"]) == []
    assert check(changed(sound_dataset(), "actions", (33, 1), 1.000001)) == []  # rounding


def test_bounds_that_cannot_be_used():
    for low, high in ((-np.inf, np.inf), (0.0, 0.0)):
        space = Box(np.array([-1, low], np.float32), np.array([1, high], np.float32))
        assert "no_bounds" in kinds(dataclasses.replace(sound_dataset(), action_space=space))


def test_shapes_against_spaces():
    data = sound_dataset()
    assert kinds(dataclasses.replace(data, action_space=Box(-1, 1, (3,)))) == ["action_shape"]
    assert kinds(dataclasses.replace(data, observation_space=Box(-1, 1, (3,)))) == ["observation_shape"]
    assert kinds(dataclasses.replace(data, action_space=Discrete(2))) == ["dtype", "action_shape"][::-1]


def test_wrong_types():
    data = sound_dataset(discrete=True)
    floats = dataclasses.replace(data, actions=data.actions.astype(np.float32))
    assert kinds(floats) == []
    assert kinds(floats, "warn") == ["dtype"]
    assert kinds(dataclasses.replace(data, actions=data.actions + 0.5)) == ["dtype"]
    box = sound_dataset()
    assert "dtype" in kinds(dataclasses.replace(box, actions=np.sign(box.actions).astype(int)), "warn")


def test_discrete_actions_against_their_space():
    data = sound_dataset(discrete=True)
    assert fault_of(changed(data, "actions", 50, 2), "action_range").where.row == 50
    shifted = dataclasses.replace(data, actions=data.actions + 5, action_space=Discrete(2, start=5))
    assert kinds(shifted) == []
    assert kinds(dataclasses.replace(data, actions=data.actions * 0)) == ["same_action"]
    assert kinds(dataclasses.replace(data, actions=data.actions * 0, action_space=Discrete(1))) == ["same_action"]


def test_a_mask_that_forbids_the_logged_action():
    data = sound_dataset(discrete=True)
    mask = np.ones((len(data.observations), 2), bool)
    assert kinds(dataclasses.replace(data, columns={"action_mask": mask})) == []
    mask[44, data.actions[42]] = False  # observation row 44 is transition 42, the third of episode 2
    fault = fault_of(dataclasses.replace(data, columns={"action_mask": mask}), "mask")
    assert (fault.where.row, fault.where.episode, fault.count) == (42, 2, 1)
    assert kinds(dataclasses.replace(data, columns={"action_mask": mask[:, :1]})) == ["mask_shape"]


def test_a_state_without_legal_action_must_be_terminal():
    data = sound_dataset(discrete=True)
    mask = np.ones((len(data.observations), 2), bool)
    last = data.offsets[1:] - 1
    mask[data.observation_rows[last] + 1] = False
    cut = np.flatnonzero(~data.terminations[last])
    ended = dataclasses.replace(
        data, terminations=data.terminations | data.truncations, truncations=data.truncations & False
    )
    assert "mask" not in kinds(dataclasses.replace(ended, columns={"action_mask": mask}))
    fault = fault_of(dataclasses.replace(data, columns={"action_mask": mask}), "mask")
    assert (fault.count, fault.where.row) == (len(cut), last[cut[0]])


def test_constant_actions():
    data = sound_dataset()
    half = data.actions * [1, 0]
    fault = fault_of(dataclasses.replace(data, actions=half), "constant_action")
    assert (fault.level, fault.where.column) == ("warn", "actions[1]")
    assert kinds(dataclasses.replace(data, actions=data.actions * 0)) == ["same_action"]


def test_scales_of_observations():
    data = sound_dataset()
    uneven = dataclasses.replace(data, observations=data.observations * [1, 1e5])
    assert fault_of(uneven, "observation_scale").count == 1
    huge = dataclasses.replace(data, observations=data.observations * 1e8)
    assert any("reach beyond" in fault.message for fault in check(huge))
    constant = dataclasses.replace(data, observations=data.observations * [1, 0])
    assert fault_of(constant, "constant_observation").level == "note"


@pytest.mark.parametrize(
    ("scale", "shift", "kind", "level"),
    [(1e6, 0, "reward_scale", "warn"), (0, 0, "zero_reward", "warn"), (0, 1, "constant_reward", "note")],
)
def test_scales_of_rewards(scale, shift, kind, level):
    data = sound_dataset()
    assert fault_of(dataclasses.replace(data, rewards=data.rewards * scale + shift), kind).level == level


def test_stored_columns():
    data = sound_dataset(discrete=True)
    n = data.n_steps
    probabilities = dataclasses.replace(data, columns={"behaviour_log_prob": np.full(n, 0.5)})
    assert kinds(probabilities) == ["log_prob"]
    assert kinds(dataclasses.replace(data, columns={"discount": np.full(n, 1.5)})) == ["discount"]
