"""Behaviours: uniform actions, policies, Stable-Baselines3 agents, and noise."""

from __future__ import annotations

import sys
import types
import zipfile

import gymnasium
import numpy as np
import pytest

from holdfast.collection import behaviours, play, presets
from holdfast.core.errors import UserError
from holdfast.policy.policy import Policy
from support.logs import ENV


def constant(value):
    """Always the same action."""
    begin = lambda env, n, seed: lambda obs, *_: np.full((len(obs), 1), value, np.float32)  # noqa: E731
    return behaviours.Behaviour("constant", {"algorithm": "constant"}, begin)


def test_noise_and_random_actions():
    env = gymnasium.make(ENV)  # actions in [-2, 2]
    obs, zeros = np.zeros((4000, 3)), np.zeros(4000)

    def acted(*how):
        return behaviours.noisy(constant(0.5), *how).begin(env, 4000, 0)(obs, zeros, None, zeros)[:, 0]

    moved = acted(0.0, 0.3)
    assert moved.dtype == np.float32
    assert moved.std() == pytest.approx(0.6, rel=0.05)
    assert moved.mean() == pytest.approx(0.5, abs=0.05)
    mixed = acted(0.3, 0.0)
    assert (mixed != 0.5).mean() == pytest.approx(0.3, abs=0.03)
    assert mixed[mixed != 0.5].std() == pytest.approx(4 / np.sqrt(12), rel=0.05)
    assert np.abs(acted(0.0, 9.0)).max() == 2
    assert behaviours.noisy(constant(0.5)).facts == {"algorithm": "constant"}
    with pytest.raises(UserError, match="expected a share from 0 to 1"):
        behaviours.noisy(constant(0.5), 1.5)
    with pytest.raises(UserError, match="discrete, use --random-actions"):
        behaviours.noisy(behaviours.uniform(), 0.1, 0.3).begin(gymnasium.make("CartPole-v1"), 1, 0)


def test_uniform_actions_respect_the_mask():
    mask = np.array([[True, False, True], [False, True, False]])
    space = gymnasium.spaces.Discrete(3, start=5)
    drawn = np.stack([behaviours.draw(np.random.default_rng(s), space, 2, mask) for s in range(60)])
    assert set(drawn[:, 0]) == {5, 7}
    assert set(drawn[:, 1]) == {6}


@pytest.mark.slow
def test_a_policy_gives_its_own_actions(learned):
    folder = learned.path / "policy" / "seed-1"
    data = play.collect(ENV, behaviours.of_policy(folder), episodes=2, seed=5)
    np.testing.assert_allclose(data.actions, Policy.load(folder)(data.observations[data.observation_rows]), rtol=1e-5)
    with pytest.raises(UserError, match="does not match the policy"):
        play.collect("MountainCarContinuous-v0", behaviours.of_policy(folder), episodes=1)


def test_a_zip_is_loaded_by_its_class_with_a_warning(tmp_path, monkeypatch, capsys):
    file = tmp_path / "agent.zip"
    with pytest.raises(UserError, match="is not a zip"):
        behaviours.of_zip(file, "ddpg")
    with zipfile.ZipFile(file, "w") as made:
        made.writestr("data", "{}")
    with pytest.raises(UserError, match="did you mean 'DDPG'"):
        behaviours.of_zip(file, "ddgp")
    assert "stable_baselines3" not in sys.modules
    env, asked = gymnasium.make(ENV), []

    class Agent:
        observation_space, action_space = env.observation_space, env.action_space

        @classmethod
        def load(cls, path, device):
            asked.append((path, device))
            return cls()

        def set_random_seed(self, seed):
            asked.append(seed)

        def predict(self, obs, deterministic):
            asked.append(deterministic)
            return obs[:, :1] * 2, None

    fake = types.ModuleType("stable_baselines3")
    fake.DDPG, fake.__version__ = Agent, "0"
    monkeypatch.setitem(sys.modules, "stable_baselines3", fake)
    who = behaviours.of_zip(file, "ddpg", "sample")
    assert "runs whatever code" in capsys.readouterr().err
    data = play.collect(ENV, who, episodes=1, seed=4)
    assert asked[:3] == [(file, "cpu"), 4, False]
    np.testing.assert_allclose(data.actions[:, 0], 2 * data.observations[:-1, 0])
    with pytest.raises(UserError, match="does not match MountainCar"):
        play.collect("MountainCarContinuous-v0", who, episodes=1)
    with pytest.raises(UserError, match="name its algorithm, --sb3"):
        presets.make(presets.LogRequest(by=str(file), env=ENV), "log")
    monkeypatch.setitem(sys.modules, "stable_baselines3", None)
    with pytest.raises(UserError, match=r"pip install 'holdfast-rl\[sb3\]'"):
        behaviours.of_zip(file, "ddpg")
