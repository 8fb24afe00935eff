"""Checks of consecutive rows: stray first observations, jumps, shifted rewards."""

import dataclasses

import numpy as np
import pytest

from holdfast.data.checks.check import check
from support.datasets import (
    changed,
    fault_of,
    sound_dataset,
)


def test_a_first_observation_of_another_episode():
    data = sound_dataset(episodes=40)
    fault = fault_of(changed(data, "observations", 7 * 21, [3.0, -4.0]), "stray_start")
    assert (fault.where.episode, fault.where.row, fault.level) == (7, 140, "warn")


def test_an_unusual_episode_has_no_stray_start():
    data = sound_dataset(episodes=40)
    far = data.observations.copy()
    far[7 * 21 : 8 * 21] += 5
    assert "stray_start" not in [f.kind for f in check(dataclasses.replace(data, observations=far))]


def test_a_terminal_row_may_lead_anywhere():
    data = sound_dataset(episodes=40)
    rows = data.offsets[1:] - 1
    ended = dataclasses.replace(data, terminations=data.truncations, truncations=data.terminations, env_spec=None)
    assert check(changed(ended, "observations", rows[:2] + np.array([1, 2]), 50.0)) == []


def test_two_episodes_joined_without_a_flag():
    data = sound_dataset(episodes=40)
    far = data.observations.copy()
    far[21 * 20 : 21 * 21] += 50  # one episode plays elsewhere; the join leads there and back
    rows = np.delete(np.arange(len(far)), [21 * 20 - 1, 21 * 21 - 1])
    ends = data.truncations.copy()
    ends[[399, 419]] = False
    offsets = np.delete(data.offsets, [20, 21])
    joined = dataclasses.replace(data, observations=far[rows], truncations=ends, offsets=offsets, env_spec=None)
    fault = fault_of(joined, "suspect_jump")
    assert (fault.count, fault.where.row) == (2, 399)


@pytest.mark.parametrize(("shift", "word"), [(1, "before"), (-1, "after")])
def test_rewards_shifted_by_one_step(shift, word):
    data = sound_dataset(episodes=40)
    assert "shifted_rewards" not in [f.kind for f in check(data)]
    off = dataclasses.replace(data, rewards=np.roll(data.rewards, shift))
    assert f"fit the step {word} theirs" in fault_of(off, "shifted_rewards").message
