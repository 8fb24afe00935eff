"""Checks of flags and lengths: each fault is put into a sound log and must be found at its place."""

import dataclasses

import numpy as np
import pytest

from holdfast.core.errors import UserError
from holdfast.data import Dataset
from holdfast.data.checks.check import require_sound
from support.datasets import (
    LIMIT,
    changed,
    fault_of,
    kinds,
    sound_dataset,
)


def test_both_flags():
    data = changed(sound_dataset(), "terminations", 19, True)
    fault = fault_of(data, "both_flags")
    assert (fault.where.episode, fault.where.row, fault.level) == (0, 19, "fatal")
    with pytest.raises(UserError, match="--allow both_flags"):
        require_sound(data)
    assert require_sound(data, allow=["both_flags"]) == []
    with pytest.raises(UserError, match="did you mean 'both_flags'"):
        require_sound(data, allow=["both_flag"])


def test_a_flag_inside_an_episode():
    fault = fault_of(changed(sound_dataset(), "terminations", 30, True), "end_inside")
    assert (fault.where.episode, fault.where.row, fault.where.column) == (1, 30, "terminations")


def test_an_episode_that_no_flag_ends():
    data = changed(sound_dataset(), "truncations", 39, False)
    assert fault_of(data, "unended").where.row == 39
    assert [f.kind for f in require_sound(data)] == ["unended"]


def test_lengths_against_the_time_limit():
    data = sound_dataset()
    shorter = dataclasses.replace(data, env_spec=LIMIT.replace("20", "15"))
    assert fault_of(shorter, "too_long").count == 6
    longer = dataclasses.replace(data, env_spec=LIMIT.replace("20", "500"))
    assert fault_of(longer, "timeout_early").count == 5
    as_ends = dataclasses.replace(data, terminations=data.truncations, truncations=data.terminations)
    assert fault_of(as_ends, "timeout_as_end").count == 6


def test_one_step_episodes():
    data = sound_dataset()
    part = dataclasses.replace(
        data.select([0, 1]),
        observations=np.delete(data.observations[:42], slice(22, 41), axis=0),
        **{k: np.delete(getattr(data, k)[:40], slice(20, 39), axis=0) for k in ("actions", "rewards")},
        terminations=np.zeros(21, bool),
        truncations=np.isin(np.arange(21), [19, 20]),
        offsets=[0, 20, 21],
    )
    assert fault_of(part, "one_step").level == "warn"
    bandit = Dataset.from_arrays(np.eye(4), np.array([0, 1, 0, 1]), np.arange(4.0), np.ones(4))
    assert kinds(bandit) == ["one_step"]
    assert require_sound(bandit, allow=["one_step"]) == []


def test_duplicate_episodes():
    fault = fault_of(sound_dataset().select([0, 1, 2, 1]), "duplicate")
    assert (fault.where.episode, fault.count) == (3, 1)
    assert "episode 3 of episode 1" in fault.message
