"""Several discrete actions at once: one on reading and in environments, parts again from the policy."""

import gymnasium
import minari
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete, MultiBinary, MultiDiscrete
from minari.data_collector import EpisodeBuffer

from holdfast.core.errors import UserError
from holdfast.core.spec import Spec
from holdfast.data import Dataset, load_dataset
from holdfast.data.action_spaces import with_action_space
from holdfast.data.convert import convert
from holdfast.data.spaces import to_json
from holdfast.environments.gym.adapter import make_env, raw_action_space_of
from holdfast.environments.gym.joint_actions import joint, joint_space, parts
from holdfast.parts.distributions import Categorical
from support.datasets import kinds
from support.policies import PICK, discrete, make, scores

SPACES = [MultiDiscrete([3, 2, 4]), MultiDiscrete([2, 3], start=[-1, 5]), MultiBinary(3), MultiDiscrete([5])]
SPACE = SPACES[1]
CHOOSES = PICK._replace(name="chooses", dist=lambda cfg, state, seen, memory: Categorical(scores(cfg, state, seen)))


def columns(space, count=12, seed=0):
    """Observations of two dimensions and actions of a space; the reward asks for the first observed part."""
    space.seed(seed)
    rng = np.random.default_rng(seed)
    seen = rng.normal(size=(count + 1, 2)).astype(np.float32)
    return seen, np.stack([space.sample() for _ in range(count)])


def log(space, actions=None, **facts):
    seen, drawn = columns(space)
    actions = drawn if actions is None else actions
    ends = np.arange(len(actions)) % 4 == 3
    return Dataset.from_arrays(seen[:-1], actions, seen[:-1, 0], ends, next_observations=seen[1:], **facts)


@pytest.mark.parametrize("space", SPACES)
def test_numbers_and_parts(space):
    flat = joint_space(space, "x")
    number = np.arange(flat.n)
    every = parts(space, number)
    assert every.shape == (flat.n, *space.shape)
    assert len(np.unique(every, axis=0)) == flat.n
    assert all(space.contains(one) for one in every)
    np.testing.assert_array_equal(joint(space, every, "actions"), number)
    np.testing.assert_array_equal(parts(space, np.int64(1)), every[1])


def test_too_many_combinations_are_refused():
    assert joint_space(MultiBinary(12), "x") == Discrete(4096)
    with pytest.raises(UserError, match=r"set: actions have 2 x 2 .* = 8,192 combinations, expected at most 4,096"):
        joint_space(MultiBinary(13), "set")
    with pytest.raises(UserError, match="64 x 65 = 4,160 combinations"):
        log(MultiDiscrete([64, 65]), action_space=MultiDiscrete([64, 65]))


def test_data_sets_hold_numbers(tmp_path):
    data = log(SPACE, action_space=SPACE)
    assert data.action_space == Discrete(6)
    assert data.spec.action == 6
    np.testing.assert_array_equal(parts(SPACE, data.actions), columns(SPACE)[1])
    copy = load_dataset(convert(data, tmp_path / "copy.npz"))
    assert copy.fingerprint == data.fingerprint
    assert copy.provenance["raw_action_space"] == data.provenance["raw_action_space"]
    assert Dataset.concat([data, copy]).provenance["raw_action_space"] == data.provenance["raw_action_space"]
    assert kinds(data) == []


def test_actions_outside_the_space_are_refused():
    actions = columns(SPACE)[1]
    actions[5, 0] = 3
    with pytest.raises(UserError, match=r"actions in row 5 are \[3, .\], expected values of MultiDiscrete"):
        log(SPACE, actions, action_space=SPACE)
    with pytest.raises(UserError, match=r"rows of shape \(2,\), their space has \(3,\)"):
        log(SPACE, action_space=SPACES[0])


def test_flat_files_take_the_space_of_the_environment():
    data = log(SPACE)  # whole numbers of two dimensions: taken as continuous
    found = with_action_space(data, SPACE)
    assert found.action_space == Discrete(6)
    np.testing.assert_array_equal(parts(SPACE, found.actions), columns(SPACE)[1])


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_minari_sets(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    seen, actions = columns(SPACE, 5)
    ends = np.arange(5) == 4
    buffer = EpisodeBuffer(0, None, None, seen, actions, seen[:-1, 0], ends, np.zeros(5, bool))
    minari.create_dataset_from_buffers(
        "my/parts-v0", [buffer], observation_space=Box(-9, 9, (2,), np.float32), action_space=SPACE
    )
    data = load_dataset("my/parts-v0")
    assert data.action_space == Discrete(6)
    np.testing.assert_array_equal(parts(SPACE, data.actions), actions)


class World(gymnasium.Env):
    """Pays 1 for each part of the action that is its least value."""

    observation_space = Box(-9, 9, (2,), np.float32)
    action_space = SPACE

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(2, np.float32), {}

    def step(self, action):
        assert self.action_space.contains(action)
        return np.zeros(2, np.float32), float((action == SPACE.start).sum()), False, False, {}


gymnasium.register("parts/World-v0", World, max_episode_steps=5)


def test_environments_take_numbers():
    env = make_env("parts/World-v0")
    assert env.action_space == Discrete(6)
    assert raw_action_space_of(env) == SPACE
    env.reset(seed=0)
    assert env.step(0)[1] == 2.0
    assert env.step(5)[1] == 0.0
    assert raw_action_space_of(make_env("CartPole-v1")) is None


def test_policies_give_parts(tmp_path):
    from holdfast.policy.policy import Policy
    from holdfast.training.run import train

    config = {"hidden": (8,), "batch_size": 16, "warmup": 10, "discount": 0.0, "critic_lr": 0.01}
    run = train("dqn", env="parts/World-v0", steps=300, config=config, eval_episodes=1, out=tmp_path / "run")
    assert run.result["return_mean"] == 10.0  # both parts, five steps
    policy = Policy.load(tmp_path / "run" / "policy")
    np.testing.assert_array_equal(policy(np.zeros(2)), SPACE.start)
    np.testing.assert_array_equal(policy(np.zeros((3, 2))), np.broadcast_to(SPACE.start, (3, 2)))


def test_probabilities_are_those_of_the_joint_actions():
    space = MultiDiscrete([2, 2], start=[-1, 5])
    policy = make(CHOOSES, Spec((3,), 4, True), discrete(3, 4, 0), action_space=to_json(space))
    obs = np.array([[0.0, 1.0, 2.0], [1.0, 1.0, 1.0]], np.float32)
    every = policy.probabilities(obs)
    np.testing.assert_allclose(policy.log_prob(obs, parts(space, [3, 1])), np.log(every[[0, 1], [3, 1]]), rtol=1e-5)
    np.testing.assert_allclose(policy.log_prob(obs[0], policy(obs[0])), np.log(every[0].max()), rtol=1e-5)
    with pytest.raises(UserError, match=r"actions in row 1 are \[1, 5\], expected values of MultiDiscrete"):
        policy.log_prob(obs, [[0, 5], [1, 5]])
    with pytest.raises(UserError, match=r"the action has shape \(2,\), expected \(2, 2\)"):
        policy.log_prob(obs, [0, 1])
