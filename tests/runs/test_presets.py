"""The published preset of a method for a data set or an environment."""

import pytest

from holdfast import UserError
from holdfast.algorithms import registry
from holdfast.runs.presets import OURS, chosen, described, published
from holdfast.runs.settings import Settings


@pytest.mark.parametrize(
    ("algorithm", "data", "env", "expected"),
    [
        ("rebrac", "zoo/hopper-medium-v0", None, "hopper-medium"),
        ("rebrac", "/data/walker2d_medium_expert-v2.hdf5", None, "walker2d-medium-expert"),
        ("rebrac", "D4RL/antmaze/large-diverse-v1", None, "antmaze-large-diverse"),
        ("rebrac", "D4RL/door/human-v2", None, "door-human"),
        ("rebrac", "bundled/pendulum-mixed", None, "mujoco"),
        ("rebrac", "my-hoppers.npz", "Hopper-v5", "mujoco"),
        ("xql", "mujoco/halfcheetah/medium-v0", None, "halfcheetah-medium"),
        ("xql", "halfcheetah-medium-v2", None, "halfcheetah-medium"),
        ("xql", "D4RL/pen/cloned-v2", None, "adroit"),
        ("iql", "D4RL/kitchen/partial-v2", None, "kitchen"),
        ("iql", "antmaze-umaze-v0", None, "antmaze"),
        ("iql", "ogbench/antmaze-large-navigate-v0", None, "mujoco"),  # rewards of -1 and 0, not D4RL's 0 and 1
        ("iql", None, "AntMaze_UMaze-v5", "antmaze"),
        ("iql", None, "AdroitHandDoor-v1", "adroit"),
        ("edac", "hopper-medium-expert-v2", None, "hopper"),
        ("edac", "halfcheetah-medium-expert-v2", None, "mujoco-medium-expert"),
        ("edac", "pen-human-v1", None, "pen-human"),
        ("edac", "hammer-human-v1", None, "adroit"),
        ("sac_n", "hopper-medium-v2", None, "hopper-medium"),
        ("sac_n", "hopper-random-v2", "Walker2d-v5", "hopper"),  # the name of the data comes before the environment
        ("aca", "walker2d-medium-replay-v2", None, "mujoco-medium-replay"),
        ("fql", "D4RL/door/human-v2", None, "door-human"),
        ("fql", "antmaze-large-play-v2", None, "antmaze-large-play"),
        ("diffusion_ql", "walker2d_medium_expert-v2.hdf5", None, "walker2d-medium-expert"),
        ("dqn", None, "ALE/Pong-v5", "atari"),
        ("dqn", None, "CartPole-v1", "control"),
    ],
)
def test_published_for_the_data_or_the_environment(algorithm, data, env, expected):
    found = registry.get(algorithm)
    for preset in (None, "published"):
        assert chosen(found, preset, data, env) == expected
    assert Settings.of(algorithm, data=data, env=env).preset == expected
    assert chosen(found, list(found.presets)[-1], data, env) == list(found.presets)[-1]


@pytest.mark.parametrize("algorithm", registry.names())
def test_published_is_never_ours(algorithm):
    found = registry.get(algorithm)
    for data in ("bundled/pendulum-mixed", "hopper-medium-v2", "pen-human-v1", "antmaze-umaze-v2"):
        assert not published(found, data, None).startswith(OURS)


def test_settings_are_those_of_the_preset():
    settings = Settings.of("rebrac", data="halfcheetah-medium-replay-v2")
    assert (settings.config["actor_penalty"], settings.config["critic_penalty"]) == (0.01, 0.001)
    assert Settings.of("rebrac", data="antmaze-umaze-v2").treatment["reward_scale"] == 100.0


def test_the_line_about_the_preset():
    rebrac = registry.get("rebrac")
    line = described(rebrac, "hopper-medium", "zoo/hopper-medium-v0", None)
    source = rebrac.presets["hopper-medium"].source
    assert line == f"preset hopper-medium, published for hopper-medium-v0: {source}"
    assert described(rebrac, "mujoco", "log.npz", None).startswith("preset mujoco: ")
    assert "published for" not in described(rebrac, "hopper-expert", "zoo/hopper-medium-v0", None)


def test_an_unknown_preset_is_refused():
    with pytest.raises(UserError, match=r"unknown preset of rebrac 'hoper-medium'; did you mean 'hopper-medium'"):
        chosen(registry.get("rebrac"), "hoper-medium", None, None)
    with pytest.raises(UserError, match=r"'fastest'; see holdfast algorithms iql"):
        chosen(registry.get("iql"), "fastest", None, None)
