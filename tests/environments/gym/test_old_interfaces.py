"""Environments that return something else than Gymnasium's interface says."""

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box
from gymnasium.wrappers import OrderEnforcing, TimeLimit

from holdfast.environments.gym.env_pool import Shape, SlotFailed, begin, play

SHAPE = Shape(False, 1)


class World(gymnasium.Env):
    """Returns what it is given."""

    observation_space = Box(-1, 1, (2,), np.float32)
    action_space = Box(-1, 1, (1,), np.float32)

    def __init__(self, first, following):
        self.first = first
        self.following = following

    def reset(self, *, seed=None, options=None):
        return self.first

    def step(self, action):
        return self.following


OBS = np.zeros(2, np.float32)
FINE = (OBS, 0.0, False, False, {})


@pytest.mark.parametrize("wrap", [lambda env: env, OrderEnforcing, lambda env: TimeLimit(OrderEnforcing(env), 5)])
@pytest.mark.parametrize(
    ("following", "text"),
    [
        ((OBS, 0.0, False, {}), r"expected .*\(observation, reward, terminated, truncated, info\)"),
        ((OBS, np.zeros(1), False, False, {}), r"reward of shape \(1,\), expected a single number"),
        ((OBS, 0.0, False, False, None), "info of type NoneType, expected a dict"),
        ((OBS, [1.0, 2.0], False, False, {}), r"reward of shape \(2,\)"),
    ],
)
def test_steps(wrap, following, text):
    env = wrap(World((OBS, {}), following))
    begin(env, 0, 0, SHAPE)
    with pytest.raises(SlotFailed, match=text) as caught:
        play(env, 0, np.zeros(1), 0, SHAPE)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("first", "text"),
    [
        (OBS, r"reset returned a single ndarray, expected 2: \(observation, info\)"),
        ((OBS, None), "info of type NoneType"),
        ((OBS, {}, 3), "reset returned 3 values"),
    ],
)
def test_resets(first, text):
    with pytest.raises(SlotFailed, match=text):
        begin(World(first, FINE), 0, 0, SHAPE)


def test_an_error_of_the_environment_itself_is_not_explained_away():
    class Broken(World):
        """Fails on its own."""

        def step(self, action):
            a, b = (1, 2, 3)
            return a, b

    with pytest.raises(SlotFailed, match=r"too many values to unpack \(expected 2"):
        play(Broken((OBS, {}), FINE), 0, np.zeros(1), 0, SHAPE)
