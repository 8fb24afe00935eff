import dataclasses
import json

import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete

from holdfast.core.contract import Treatment
from holdfast.core.errors import UserError
from holdfast.data import Dataset, load_dataset
from holdfast.data.feed.treatment import Fitted, fit, untreated


@pytest.fixture
def data() -> Dataset:
    """Two episodes; the final observations (99) must not count for the mean."""
    space = Box(np.array([-2.0, 0.0], np.float32), np.array([2.0, 10.0], np.float32))
    end = [False, True]
    return Dataset.from_episodes(
        [
            {
                "observations": np.array([[0.0, 1.0], [2.0, 1.0], [99.0, 99.0]]),
                "actions": np.array([[-2.0, 0.0], [1.0, 5.0]], np.float32),
                "rewards": [1.0, 2.0],
                "terminations": [False, False],
                "truncations": end,
            },
            {
                "observations": np.array([[4.0, 1.0], [6.0, 5.0], [99.0, 99.0]]),
                "actions": np.array([[2.0, 10.0], [0.0, 7.5]], np.float32),
                "rewards": [5.0, 8.0],
                "terminations": end,
                "truncations": [False, False],
            },
        ],
        action_space=space,
    )


def test_observations_by_hand(data):
    fitted = fit(Treatment(normalize_obs=0.5), data)
    np.testing.assert_allclose(fitted.obs_mean, [3.0, 2.0])
    np.testing.assert_allclose(fitted.obs_std, [np.sqrt(5.0) + 0.5, np.sqrt(3.0) + 0.5])
    np.testing.assert_allclose(fitted.observe([[3.0, 5.0]]), [[0.0, 3 / (np.sqrt(3) + 0.5)]], rtol=1e-6)
    assert fitted.observe(data.observations).dtype == np.float32


def test_observations_as_they_are(data):
    fitted = fit(Treatment(), data)
    np.testing.assert_array_equal(fitted.observe(data.observations), data.observations.astype(np.float32))
    assert (fitted.obs_mean == 0).all()
    assert (fitted.obs_std == 1).all()


def test_actions_by_hand_and_back(data):
    fitted = fit(Treatment(), data)
    inside = fitted.act_inside(data.actions)
    np.testing.assert_allclose(inside, [[-1, -1], [0.5, 0], [1, 1], [0, 0.5]])
    np.testing.assert_array_equal(fitted.act_outside(inside), data.actions)
    outside = fitted.act_outside(np.array([1.5, -1.5], np.float32))
    assert outside.tolist() == [2.0, 0.0]
    assert outside.dtype == np.float32


def test_actions_in_unit_bounds_keep_their_bits():
    actions = np.random.default_rng(0).uniform(-1, 1, (1000, 1)).astype(np.float32)
    fitted = untreated(Box(-1, 1, (1,)), Box(-1, 1, (1,)))
    np.testing.assert_array_equal(fitted.act_inside(actions), actions)
    np.testing.assert_array_equal(fitted.act_outside(actions), actions)


def test_clipping_of_actions(data):
    wild = dataclasses.replace(data, actions=data.actions * 3)
    assert fit(Treatment(), wild).act_inside(wild.actions).min() == -3
    assert np.abs(fit(Treatment(clip_actions=0.0), wild).act_inside(wild.actions)).max() == 1
    clipped = fit(Treatment(clip_actions=0.01), wild).act_inside(wild.actions)
    assert np.abs(clipped).max() == np.float32(0.99)


def test_discrete_actions_start_at_zero():
    fitted = untreated(Box(-1, 1, (2,)), Discrete(4, start=3))
    inside = fitted.act_inside([3, 6])
    assert inside.tolist() == [0, 3]
    assert inside.dtype == np.int32
    assert fitted.act_outside(inside).tolist() == [3, 6]
    assert (fitted.action_start, fitted.action_count) == (3, 4)


def test_rewards_by_hand(data):
    # returns 3 and 13: rewards are divided by 10 and multiplied by 1000 first, then shifted, then scaled
    fitted = fit(Treatment(return_scale=1000.0, reward_scale=2.0, reward_shift=-1.0), data)
    np.testing.assert_allclose(fitted.rewards([1.0, 8.0]), [(100 - 1) * 2, (800 - 1) * 2])
    np.testing.assert_allclose(fit(Treatment(reward_shift=-0.5, reward_scale=4.0), data).rewards([1.0]), [2.0])


def test_faults_of_fitting(data):
    same = dataclasses.replace(data, rewards=np.ones(4))
    with pytest.raises(UserError, match=r"max return - min return, which is 0"):
        fit(Treatment(return_scale=1.0), same)
    with pytest.raises(UserError, match=r"observations\[1\] is constant"):
        fit(Treatment(normalize_obs=0.0), dataclasses.replace(data, observations=data.observations * [1, 0]))
    for low, high in ((-np.inf, 1.0), (1.0, 1.0)):
        with pytest.raises(UserError, match=r"bounds of actions\[0\]"):
            untreated(Box(-1, 1, (1,)), Box(np.float32(low), np.float32(high), (1,)))


def test_saved_and_read(data):
    fitted = fit(Treatment(1e-3, 10.0, 2.0, -1.0, 1e-5), data)
    values, arrays = fitted.to_dict()
    again = Fitted.from_dict(json.loads(json.dumps(values)), arrays)
    np.testing.assert_array_equal(again.observe(data.observations), fitted.observe(data.observations))
    np.testing.assert_array_equal(again.act_inside(data.actions), fitted.act_inside(data.actions))
    np.testing.assert_array_equal(again.rewards(data.rewards), fitted.rewards(data.rewards))
    discrete = untreated(Box(-1, 1, (1,)), Discrete(2))
    assert Fitted.from_dict(*discrete.to_dict()).discrete


def test_bundled_actions_are_halved():
    data = load_dataset("bundled/pendulum-mixed")
    inside = fit(Treatment(), data).act_inside(data.actions)
    np.testing.assert_array_equal(inside, data.actions / 2)
