"""Observations that are not float vectors: flattened on reading, in environments, and by the policy."""

import gymnasium
import minari
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, Graph, MultiBinary, MultiDiscrete, Text, Tuple
from minari.data_collector import EpisodeBuffer
from tests.support.datasets import kinds

from holdfast.core.errors import UserError
from holdfast.data import load_dataset, spaces
from holdfast.data.convert import convert
from holdfast.environments.gym.adapter import make_env, raw_space_of

GOAL = Dict(
    here=Box(-1, 1, (2, 2), np.float32),
    goal=Tuple((Discrete(3, start=-1), MultiBinary(2))),
    level=MultiDiscrete([2, 4]),
)
SPACES = [GOAL, Tuple((Discrete(4), Box(0, 9, (3,), np.float64))), MultiBinary([2, 3]), Discrete(6, start=2)]


def stacked(samples):
    """Samples of a space as arrays with a leading axis, nested as the space is."""
    if isinstance(samples[0], dict):
        return {k: stacked([s[k] for s in samples]) for k in samples[0]}
    if isinstance(samples[0], tuple):
        return tuple(stacked(list(parts)) for parts in zip(*samples, strict=True))
    return np.stack(samples)


@pytest.mark.parametrize("space", SPACES)
def test_flat_rows_are_gymnasiums(space):
    space.seed(0)
    samples = [space.sample() for _ in range(7)]
    wanted = np.stack([gymnasium.spaces.flatten(space, sample) for sample in samples])
    wanted = wanted.astype(np.float32) if wanted.dtype.kind != "f" else wanted
    rows = spaces.flatten_rows(space, stacked(samples), "observations")
    np.testing.assert_array_equal(rows, wanted)
    assert spaces.flattened(space, "x").shape == rows.shape[1:]
    one = spaces.flatten_observation(space, samples[3], "observations")
    np.testing.assert_array_equal(one, wanted[3])
    np.testing.assert_array_equal(spaces.flatten_observation(space, stacked(samples), "observations"), wanted)
    np.testing.assert_array_equal(spaces.flatten_observation(space, wanted, "observations"), wanted)


def test_observations_of_another_form_are_refused():
    for space, values, text in (
        (Discrete(3), np.array([0, 3]), "row 1 is not one of the 3 values"),
        (GOAL, {"here": np.zeros((2, 2, 2))}, "have no 'goal'"),
        (MultiBinary(3), np.zeros((2, 4)), r"rows of shape \(4,\), expected \(3,\)"),
        (SPACES[1], (np.zeros(2),), "have 1 parts, expected 2"),
    ):
        with pytest.raises(UserError, match=text):
            spaces.flatten_rows(space, values, "observations")
    for space in (Text(3), Graph(Box(0, 1, (2,)), None), Dict(a=Text(3))):
        with pytest.raises(UserError, match="has no flat form"):
            spaces.flattened(space, "set")


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("space", SPACES)
def test_minari_sets_are_flattened(tmp_path, monkeypatch, space):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    space.seed(1)
    rng = np.random.default_rng(0)
    buffers = []
    raw = []
    for e, steps in enumerate((4, 6)):
        seen = [space.sample() for _ in range(steps + 1)]
        raw += seen
        ends = np.arange(steps) == steps - 1
        actions = rng.uniform(-1, 1, (steps, 2)).astype(np.float32)
        buffers.append(EpisodeBuffer(e, None, None, stacked(seen), actions, actions[:, 0], ends, np.zeros(steps, bool)))
    minari.create_dataset_from_buffers(
        "my/flat-v0", buffers, observation_space=space, action_space=Box(-1, 1, (2,), np.float32)
    )
    data = load_dataset("my/flat-v0")
    wanted = np.stack([gymnasium.spaces.flatten(space, one) for one in raw]).astype(np.float32)
    np.testing.assert_allclose(data.observations, wanted, rtol=1e-6)
    assert kinds(data) == []
    copy = load_dataset(convert(data, tmp_path / "copy.npz"))
    assert copy.fingerprint == data.fingerprint
    assert copy.provenance["raw_observation_space"] == data.provenance["raw_observation_space"]


class World(gymnasium.Env):
    """Gives samples of a space."""

    action_space = Box(-1, 1, (2,), np.float32)

    def __init__(self, which=0):
        self.observation_space = SPACES[which]

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        return self.observation_space.sample(), {}

    def step(self, action):
        return self.observation_space.sample(), float(action[0]), True, False, {}


gymnasium.register("flat/World-v0", World, max_episode_steps=3)


@pytest.mark.parametrize("which", range(len(SPACES)))
def test_environments_are_flattened(which):
    env = make_env("flat/World-v0", which=which)
    seen, _ = env.reset(seed=4)
    raw, _ = World(which).reset(seed=4)
    assert env.observation_space.shape == seen.shape == spaces.flattened(SPACES[which], "x").shape
    assert seen.dtype == np.float32
    np.testing.assert_allclose(seen, gymnasium.spaces.flatten(SPACES[which], raw), rtol=1e-6)
    assert raw_space_of(env) == SPACES[which]
    assert raw_space_of(make_env("Pendulum-v1")) is None


def test_a_policy_takes_what_the_environment_gives(tmp_path):
    from holdfast.policy.policy import Policy
    from holdfast.training.run import train

    config = {"hidden": (8,), "batch_size": 8, "warmup": 10}
    run = train("ddpg", env="flat/World-v0", steps=12, config=config, out=tmp_path / "run", evaluate=False)
    policy = Policy.load(tmp_path / "run" / "policy")
    assert run.path == tmp_path / "run"
    raw = [GOAL.sample() for _ in range(3)]
    one = policy(raw[0])
    assert one.shape == (2,)
    several = policy(stacked(raw))
    np.testing.assert_allclose(several[0], one, rtol=1e-5)
    np.testing.assert_array_equal(policy(spaces.flatten_rows(GOAL, stacked(raw), "x")), several)
