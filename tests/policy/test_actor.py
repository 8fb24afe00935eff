"""How a policy acts on raw observations."""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor

import jax
import numpy as np
import pytest

from holdfast.core.config import as_arrays
from holdfast.core.contract import Context
from holdfast.core.errors import UserError
from holdfast.core.noise import Noise
from holdfast.core.spec import Spec
from holdfast.policy.policy import Policy
from support.policies import FAKE, MEMORY, PICK, Settings, continuous, discrete, init, make

OBS = np.random.default_rng(0).normal(size=(5, 3))


def test_actions_by_hand() -> None:
    policy = make()
    weight = np.asarray(policy.state.actor.net["weight"], np.float64)
    inside = np.tanh(0.3 * ((OBS - policy.fitted.obs_mean) / policy.fitted.obs_std) @ weight)
    wanted = np.array([-0.5, 5.0]) + np.array([1.5, 5.0]) * inside  # centre and half width of [-2, 1] x [0, 10]
    np.testing.assert_allclose(policy(OBS), wanted, rtol=1e-5, atol=1e-6)


def test_single_and_batched_agree() -> None:
    policy = make()
    one = policy(OBS[2])
    assert one.shape == (2,)
    assert one.dtype == np.float32
    np.testing.assert_allclose(policy(OBS)[2], one, rtol=1e-5)


def test_actions_stay_within_their_bounds() -> None:
    policy = make()
    for mode in ("best", "sample"):
        actions = policy(OBS * 1e6, mode)
        assert (actions >= policy.fitted.action_low).all()
        assert (actions <= policy.fitted.action_high).all()
        assert (actions == policy.fitted.action_low).any()
        assert (actions == policy.fitted.action_high).any()


def test_discrete_actions_begin_at_the_start_of_their_space() -> None:
    spec = Spec((3,), 4, discrete=True)
    here, there = (make(PICK, spec, discrete(3, 4, start)) for start in (0, -2))
    assert here(OBS).dtype == np.int64
    assert len(set(here(OBS).tolist())) > 1
    np.testing.assert_array_equal(here(OBS) - 2, there(OBS))
    assert there(OBS[0]).shape == ()


def test_masks_are_obeyed() -> None:
    policy = make(PICK, Spec((3,), 4, discrete=True))
    free = policy(OBS)
    mask = np.ones((5, 4), bool)
    mask[np.arange(5), free] = False
    assert (policy(OBS, mask=mask) != free).all()
    assert policy(OBS[0], mask=[False, False, True, False]) == 2
    with pytest.raises(UserError, match="no action is legal in row 0"):
        policy(OBS[0], mask=np.zeros(4, bool))
    with pytest.raises(UserError, match=r"the mask has shape \(1, 3\), expected \(1, 4\)"):
        policy(OBS[0], mask=np.ones(3, bool))
    with pytest.raises(UserError, match="learned with action masks"):
        make(PICK, Spec((3,), 4, discrete=True, masked=True))(OBS)


def test_samples() -> None:
    policy, again = make(), make()
    first, second = policy(OBS, "sample"), policy(OBS, "sample")
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(again(OBS, "sample"), first)
    np.testing.assert_array_equal(policy(OBS, "sample", seed=3), policy(OBS, "sample", seed=3))
    assert not np.array_equal(policy(OBS, "sample", seed=3), policy(OBS, "sample", seed=4))
    np.testing.assert_array_equal(policy(OBS, seed=3), policy(OBS, seed=4))


@pytest.mark.parametrize(
    ("obs", "line"),
    [
        (np.zeros(4), r"observations have shape \(4,\), expected \(3,\)"),
        (np.zeros((1, 2, 3)), "observations have shape"),
        (np.array([0, np.nan, 0]), r"observation at index \(1,\) is nan"),
        (np.array([[0, 0, 0], [0, 0, np.inf]]), r"observation at index \(1, 2\) is inf"),
        (np.array(["a", "b", "c"]), "expected numbers"),
    ],
)
def test_bad_observations(obs: np.ndarray, line: str) -> None:
    with pytest.raises(UserError, match=line):
        make()(obs)


def test_an_unknown_mode_suggests_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'sample'"):
        make()(OBS, "sampel")


def test_memory_is_handed_back_and_forth() -> None:
    policy = make(MEMORY)
    with pytest.raises(UserError, match=r"remembers: use policy\.act"):
        policy(OBS)
    actions, memory = policy.act(OBS)
    np.testing.assert_allclose(actions, np.tile([-0.5 + 1.5 * 0.1, 5.0], (5, 1)), rtol=1e-6)
    actions, memory = policy.act(OBS, memory, reward=np.full(5, 1.5))
    treated = (1.5 + 1.0) * 2.0  # shift, then scale
    np.testing.assert_allclose(actions, np.tile([-0.5 + 1.5 * 0.2, 5 + 5 * treated / 10], (5, 1)), rtol=1e-6)


def test_a_policy_outlives_the_state_that_it_was_made_from() -> None:
    policy = make()
    before = policy(OBS)
    state = init(as_arrays(Settings()), Context(Spec((3,), 2)), Noise(jax.random.PRNGKey(0)))
    policy = Policy(FAKE, Settings(gain=0.3), state, Spec((3,), 2), continuous())
    for leaf in jax.tree.leaves(state):
        leaf.delete()
    np.testing.assert_array_equal(policy(OBS), before)


def test_replicas_act_as_each_alone(x64: None) -> None:
    policies = [make(seed=s) for s in range(3)]
    policies[1].cfg = dataclasses.replace(policies[1].cfg, gain=0.7)
    team = Policy.stacked(policies)
    obs = np.random.default_rng(1).normal(size=(3, 4, 3))
    actions = team.start(4)(obs, np.zeros((3, 4)), None, np.ones((3, 4), bool))
    assert actions.shape == (3, 4, 2)
    for r, policy in enumerate(policies):
        np.testing.assert_allclose(actions[r], policy(obs[r]), rtol=1e-5)
    assert not np.allclose(actions[0], policies[1](obs[0]))


def test_policies_that_differ_in_shape_do_not_act_together() -> None:
    with pytest.raises(UserError, match="take them one by one"):
        Policy.stacked([make(), make(fitted=continuous(high=(1.0, 11.0)))])


def test_equal_policies_share_one_program() -> None:
    from holdfast.policy.acting import compiled

    make(seed=1)(OBS)
    before = compiled.cache_info().misses
    make(seed=2)(OBS)
    assert compiled.cache_info().misses == before


def test_action_that_is_not_finite_is_refused() -> None:
    policy = make(fitted=continuous(3, low=(-1.0, -1.0), high=(1.0, 1.0)))
    policy.state.actor.net["weight"] = policy.state.actor.net["weight"] * np.float32(np.nan)
    with pytest.raises(UserError, match="action for observation 0 is not finite"):
        policy(OBS)


def test_threads_draw_different_numbers() -> None:
    policy = make()
    obs = OBS[0]
    policy(obs, "sample")
    with ThreadPoolExecutor(16) as threads:
        seeds = list(threads.map(lambda _: policy._next_seed(), range(20000)))
        draws = list(threads.map(lambda _: policy(obs, "sample").tobytes(), range(400)))
    assert len(set(seeds)) == len(seeds)
    assert len(set(draws)) == len(draws)
