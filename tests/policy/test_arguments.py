"""Odd arguments of a policy get one line; copies and threads behave."""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from holdfast.algorithms import registry
from holdfast.core.errors import UserError
from holdfast.core.spec import Spec
from holdfast.policy.policy import Policy
from support.policies import FAKE, MEMORY, PICK, continuous, make

OBS = np.random.default_rng(1).normal(size=(4, 3))


@pytest.fixture
def registered(monkeypatch):
    """The policy FAKE as a registered algorithm."""
    get = registry.get
    monkeypatch.setattr(registry, "get", lambda name: FAKE if name == "fake" else get(name))


def pickled(policy):
    return pickle.loads(pickle.dumps(policy))  # noqa: S301


@pytest.mark.parametrize("value", [1e300, -1e39, np.nan, np.inf])
def test_observation_beyond_float32_is_refused(value):
    obs = OBS.copy()
    obs[2, 1] = value
    with pytest.raises(UserError, match=r"observation at index \(2, 1\)"):
        make()(obs)
    assert np.isfinite(make()(OBS * 1e30)).all()


def test_action_that_is_not_finite_is_refused():
    policy = make(fitted=continuous(3, low=(-1.0, -1.0), high=(1.0, 1.0)))
    policy.state.actor.net["weight"] = policy.state.actor.net["weight"] * np.float32(np.nan)
    with pytest.raises(UserError, match="action for observation 0 is not finite"):
        policy(OBS)


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


@pytest.mark.parametrize("folder", [None, 3, "", "a\0b"])
def test_what_is_not_a_path_is_refused(folder):
    with pytest.raises(UserError, match="folder of a policy"):
        Policy.load(folder, FAKE)
    with pytest.raises(UserError, match="folder of a policy"):
        make().save(folder)


def test_copies_act_alike_and_draw_by_themselves(registered):
    policy = make(step=5)
    policy(OBS, "sample")
    for other in (copy.copy(policy), copy.deepcopy(policy), pickled(policy)):
        np.testing.assert_array_equal(policy(OBS), other(OBS))
        assert other.info == policy.info
        assert other.info is not policy.info
    other = pickled(policy)
    np.testing.assert_array_equal(policy(OBS, "sample"), other(OBS, "sample"))
    assert not np.array_equal(policy(OBS, "sample"), policy(OBS, "sample"))


def test_policy_of_an_unknown_algorithm_is_copied_but_not_pickled():
    policy = make()
    np.testing.assert_array_equal(copy.deepcopy(policy)(OBS), policy(OBS))
    with pytest.raises(UserError, match="not registered, cannot be pickled"):
        pickle.dumps(policy)


def test_threads_draw_different_numbers():
    policy = make()
    obs = OBS[0]
    policy(obs, "sample")
    with ThreadPoolExecutor(16) as threads:
        seeds = list(threads.map(lambda _: policy._next_seed(), range(20000)))
        draws = list(threads.map(lambda _: policy(obs, "sample").tobytes(), range(400)))
    assert len(set(seeds)) == len(seeds)
    assert len(set(draws)) == len(draws)
