"""All checks together: a sound log has no fault, and fatal faults are refused in one line."""

import dataclasses

import numpy as np
import pytest

from holdfast.core.errors import UserError
from holdfast.data import Dataset, load_dataset
from holdfast.data.checks.check import check, require_sound
from support.datasets import (
    changed,
    fault_of,
    kinds,
    sound_dataset,
)


@pytest.mark.parametrize("discrete", [False, True])
def test_a_sound_log_has_no_fault(discrete):
    assert check(sound_dataset(discrete)) == []
    assert require_sound(sound_dataset(discrete)) == []


def test_the_bundled_set_has_no_fault():
    assert check(load_dataset("bundled/pendulum-mixed")) == []


def test_an_empty_set():
    data = sound_dataset()
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


def test_faults_found_by_a_source_are_reported():
    observations = np.array([0.0, 1, 2, 50, 51, 52])[:, None]
    following = np.array([1.0, 2, 3, 51, 52, 53])[:, None]
    rng = np.random.default_rng(0)
    timeouts = np.array([0, 0, 0, 0, 0, 1])
    data = Dataset.from_arrays(
        observations, rng.uniform(-1, 1, (6, 1)), np.arange(6.0), np.zeros(6), timeouts, following
    )
    assert kinds(data) == ["jump"]
    dropped = Dataset.from_arrays(observations, rng.uniform(-1, 1, (6, 1)), np.arange(6.0), np.zeros(6), timeouts)
    assert fault_of(dropped, "left_out").level == "note"


def test_fatal_faults_are_refused_in_one_line():
    data = changed(sound_dataset(), "terminations", 19, True)
    data = changed(changed(data, "rewards", 3, np.nan), "actions", (5, 0), 9)
    with pytest.raises(UserError) as caught:
        require_sound(data)
    text = str(caught.value)
    assert "\n" not in text
    assert "2 more: action_bounds, both_flags" in text
