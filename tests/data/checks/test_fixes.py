"""Fixes change only what they name and record it in the provenance."""

import dataclasses

import numpy as np
import pytest

from holdfast.core.errors import UserError
from holdfast.data.checks.fixes import clip_actions, drop_first_rows, drop_nonfinite


def test_fixes_change_what_they_name(masked, pendulum):
    holes = masked.rewards.copy()
    holes[4] = np.nan
    seen = masked.observations.copy()
    seen[-1] = np.inf
    assert drop_nonfinite(dataclasses.replace(masked, rewards=holes, observations=seen)).lengths.tolist() == [4]
    with pytest.raises(UserError, match="none would be left"):
        drop_nonfinite(dataclasses.replace(masked, rewards=holes * np.nan))

    shorter = drop_first_rows(masked, [1, 2])  # episode 1 has one step only: it goes
    assert shorter.lengths.tolist() == [4, 5]
    np.testing.assert_array_equal(shorter.observations, np.delete(masked.observations, [5, 6, 7], axis=0))
    np.testing.assert_array_equal(shorter.rewards, np.delete(masked.rewards, [4, 5]))
    np.testing.assert_array_equal(
        shorter.columns["action_mask"], np.delete(masked.columns["action_mask"], [5, 6, 7], 0)
    )

    wild = dataclasses.replace(pendulum, actions=pendulum.actions * 3)
    clipped = clip_actions(wild)
    assert np.abs(clipped.actions).max() == 2
    assert clipped.provenance["mended"]["clip_actions"] == int((np.abs(wild.actions) > 2).sum())
