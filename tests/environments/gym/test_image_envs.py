"""Environments whose observations are images: one layout for training, evaluation and collection."""

import json

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete

from holdfast.collection.behaviours import uniform
from holdfast.collection.play import collect
from holdfast.core.spec import ArraySpec
from holdfast.environments.gym.adapter import ATARI, _with_preprocessing, make_env
from holdfast.environments.gym.given import GivenEnv
from holdfast.environments.gym.matching import spec_of
from support import pixels  # registers the small task  # noqa: F401


class Pictures(gymnasium.Env):
    """Random pictures of a shape and a type."""

    action_space = Discrete(2)

    def __init__(self, shape, dtype="uint8"):
        self.observation_space = Box(0, 1 if dtype == "bool" else 255, tuple(shape), np.dtype(dtype).type)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        return self.observation_space.sample(), {}

    def step(self, action):
        return self.observation_space.sample(), 0.0, False, False, {}


gymnasium.register("pictures/Any-v0", Pictures, max_episode_steps=4)


@pytest.mark.parametrize(
    ("shape", "dtype", "wanted"),
    [
        ((9, 8), "uint8", (9, 8, 1)),
        ((9, 8, 3), "uint8", (9, 8, 3)),
        ((4, 9, 8), "uint8", (9, 8, 4)),
        ((2, 9, 8, 3), "uint8", (9, 8, 6)),
        ((10, 10, 4), "bool", (10, 10, 4)),
    ],
)
def test_environments_give_images_in_one_layout(shape, dtype, wanted):
    env = make_env("pictures/Any-v0", shape=shape, dtype=dtype)
    seen, _ = env.reset(seed=3)
    assert env.observation_space == Box(0, 255, wanted, np.uint8)
    assert env.observation_space.contains(seen)
    assert spec_of(env).obs == ArraySpec(wanted, "uint8")
    raw, _ = Pictures(shape, dtype).reset(seed=3)
    assert seen.sum(dtype=int) == raw.sum(dtype=int) * (255 if dtype == "bool" else 1)


def test_given_environments_give_images_in_one_layout():
    env = make_env(GivenEnv("object/Pictures", lambda: Pictures((4, 9, 8))))
    assert env.observation_space == Box(0, 255, (9, 8, 4), np.uint8)


def test_bytes_of_one_axis_are_vectors():
    env = make_env("pictures/Any-v0", shape=(128,))
    assert spec_of(env).obs == (128,)


def test_collected_images_stay_bytes():
    data = collect("jax/Catch36-v0", uniform(), episodes=2)
    assert data.images
    assert data.lengths.tolist() == [5, 5]
    assert set(np.unique(data.observations)) == {0, 255}


def test_atari_games_get_the_usual_preprocessing(monkeypatch):
    """The specification; the games themselves need the extra `atari`."""
    for name in ("CartPole-v1", '{"id": "ALE/Pong-v5"}'):
        assert _with_preprocessing(name) == name
    entry = gymnasium.envs.registration.EnvSpec("ALE/Made-v5", "ale_py.env:AtariEnv", kwargs={"game": "made"})
    monkeypatch.setitem(gymnasium.registry, "ALE/Made-v5", entry)
    spec = json.loads(_with_preprocessing("ALE/Made-v5"))
    assert spec["kwargs"] == {"game": "made", "frameskip": 1}
    assert {one["name"]: one["kwargs"] for one in spec["additional_wrappers"]} == ATARI
