"""The fields of a data set: lengths, offsets and spaces that do not agree are refused in one line."""

import dataclasses

import numpy as np
import pytest
from gymnasium.spaces import Box, Dict

from holdfast.core.errors import UserError


def test_columns_of_other_lengths_are_refused(log):
    with pytest.raises(UserError, match="rewards has 5 rows, expected 6"):
        dataclasses.replace(log, rewards=np.ones(5))
    with pytest.raises(UserError, match=r"observations has 7 rows, expected 8 \(one more than steps for each episode"):
        dataclasses.replace(log, observations=log.observations[:7])
    with pytest.raises(UserError, match="discount has 5 rows, expected 6"):
        dataclasses.replace(log, columns={"discount": np.ones(5)})


@pytest.mark.parametrize("offsets", [[0, 3, 5], [1, 3, 6], [0, 3, 3, 6], []])
def test_offsets_rise_from_0_to_the_number_of_actions(log, offsets):
    with pytest.raises(UserError, match="offsets must rise from 0 to 6"):
        dataclasses.replace(log, offsets=np.array(offsets, int))
    with pytest.raises(UserError, match="are not whole numbers"):
        dataclasses.replace(log, offsets=np.array([0, 2.5, 6]))


def test_other_spaces_are_refused(log):
    with pytest.raises(UserError, match="observations are Dict"):
        dataclasses.replace(log, observation_space=Dict({"a": Box(0, 1, (2,))}))
    with pytest.raises(UserError, match=r"Box \(8, 8, 3\)"):
        dataclasses.replace(log, observation_space=Box(0, 255, (8, 8, 3), np.uint8))
