"""Odd arguments of a policy get one line."""

import numpy as np
import pytest

from holdfast.core.errors import UserError
from holdfast.core.spec import Spec
from support.policies import MEMORY, PICK, make

OBS = np.random.default_rng(1).normal(size=(4, 3))


@pytest.mark.parametrize("value", [1e300, -1e39, np.nan, np.inf])
def test_observation_beyond_float32_is_refused(value):
    obs = OBS.copy()
    obs[2, 1] = value
    with pytest.raises(UserError, match=r"observation at index \(2, 1\)"):
        make()(obs)
    assert np.isfinite(make()(OBS * 1e30)).all()


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"obs": [[1.0, 2.0, 3.0], [1.0]]}, "observations cannot be read"),
        ({"obs": None}, "observations have"),
        ({"obs": {"image": OBS}}, "expected one array"),
        ({"obs": "abc"}, "observations have"),
        ({"mode": None}, "mode of acting"),
        ({"mode": ["best"]}, "mode of acting"),
        ({"seed": 2**70}, "the seed is 1180591620717411303424"),
        ({"seed": 1.5}, "the seed is 1.5"),
        ({"seed": "x"}, "the seed is 'x'"),
        ({"reward": np.zeros(3)}, r"reward has shape \(3,\), expected \(4,\)"),
        ({"reward": "x"}, "rewards cannot be read"),
        ({"reward": [0.0, 1.0, np.nan, 0.0]}, "the reward is"),
        ({"memory": {"other": np.zeros(4)}}, "the memory is not"),
        ({"memory": {"steps": np.zeros(3), "sum": np.zeros(3)}}, "the memory is not"),
        ({"memory": {"steps": "x", "sum": 1}}, "the memory is not"),
        ({"mask": np.ones((4, 2))}, "continuous ones: leave it out"),
    ],
)
def test_odd_arguments_get_a_line(given, match):
    policy = make(MEMORY)
    with pytest.raises(UserError, match=match) as refused:
        policy.act(**{"obs": OBS, **given})
    assert "\n" not in str(refused.value)
    actions, memory = policy.act(OBS)
    assert policy.act(OBS, memory, reward=np.ones(4), seed=np.int64(3))[0].shape == actions.shape


def test_mask_of_another_shape_names_both_shapes():
    policy = make(PICK, Spec((3,), 4, discrete=True))
    with pytest.raises(UserError, match=r"shape \(1, 3\), expected \(4, 4\)"):
        policy(OBS, mask=[True, True, False])
    with pytest.raises(UserError, match="the mask cannot be read"):
        policy(OBS, mask=[[True], [True, False]])
