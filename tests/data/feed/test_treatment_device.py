"""The treatment on the host and in a compiled program: the same bits, on numbers that rounding would spoil."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete

from holdfast.core.contract import Treatment
from holdfast.data import Dataset
from holdfast.data.feed.columns import prepare
from holdfast.data.feed.treatment import Numbers, fit, untreated

ROWS = 5000


@pytest.fixture(scope="module")
def awkward() -> Dataset:
    """Observations around 1e6 with a standard deviation of 0.1, actions in [1000, 1001], rewards to shift and scale."""
    rng = np.random.default_rng(0)
    observations = (1e6 + 0.1 * rng.standard_normal((ROWS + 1, 3))).astype(np.float32)
    actions = rng.uniform([1000, -0.3], [1001, 7.7], (ROWS, 2)).astype(np.float32)
    space = Box(np.array([1000, -0.3], np.float32), np.array([1001, 7.7], np.float32))
    ends = np.arange(ROWS) == ROWS - 1
    return Dataset.from_episodes(
        [
            {
                "observations": observations,
                "actions": actions,
                "rewards": rng.standard_normal(ROWS),
                "terminations": np.zeros(ROWS, bool),
                "truncations": ends,
            }
        ],
        action_space=space,
    )


TREATMENT = Treatment(normalize_obs=1e-3, reward_scale=12.7, reward_shift=-0.37)


def followed_by_an_addition(numbers: Numbers, obs, action, reward, other):
    """Each formula with an addition after it, in a loop of unknown length, as collection compiles them."""

    def body(_, total):
        treated = (numbers.observe(obs), numbers.act_outside(action), numbers.rewards(reward))
        return jax.tree.map(lambda x, y: x + y, treated, other)

    return jax.lax.fori_loop(0, reward.shape[0] - ROWS + 1, body, other)


def test_host_and_program_agree_to_the_last_bit(awkward):
    fitted = fit(TREATMENT, awkward)
    rng = np.random.default_rng(1)
    obs = awkward.observations[:-1]
    action = rng.uniform(-1, 1, (ROWS, 2)).astype(np.float32)
    reward = awkward.rewards.astype(np.float32)
    numbers = fitted.numbers()
    host = (fitted.observe(obs), fitted.act_outside(action), fitted.rewards(reward))
    device = jax.jit(lambda n, *x: (n.observe(x[0]), n.act_outside(x[1]), n.rewards(x[2])))(
        numbers, obs, action, reward
    )
    for here, there in zip(host, device, strict=True):
        assert here.dtype == there.dtype == np.float32
        np.testing.assert_array_equal(here, there)
    other = tuple(rng.standard_normal(x.shape).astype(np.float32) for x in host)
    added = jax.jit(followed_by_an_addition)(numbers, obs, action, reward, other)
    for here, there, more in zip(host, added, other, strict=True):
        np.testing.assert_array_equal(here + more, there)


def test_logged_collected_and_served_rows_agree_to_the_last_bit(awkward):
    fitted = fit(TREATMENT, awkward)
    logged = prepare(awkward, fitted)
    treat = jax.jit(lambda numbers, obs, reward: (numbers.observe(obs), numbers.rewards(reward)))
    obs, reward = treat(fitted.numbers(), awkward.observations, awkward.rewards.astype(np.float32))
    np.testing.assert_array_equal(logged.obs, obs)
    np.testing.assert_array_equal(logged.reward, reward)


def test_a_large_mean_costs_no_digits(awkward):
    """Within rounding of float64, where a mean in float32 would be wrong by a third of a standard deviation."""
    fitted = fit(TREATMENT, awkward)
    wanted = (awkward.observations.astype(np.float64) - fitted.obs_mean) / fitted.obs_std
    np.testing.assert_allclose(fitted.observe(awkward.observations), wanted, rtol=0, atol=1e-6)
    wide = awkward.observations.astype(np.float64) + 1e-4
    wanted = (wide - fitted.obs_mean) / fitted.obs_std
    np.testing.assert_allclose(fitted.observe(wide), wanted, rtol=0, atol=1e-6)


def test_actions_of_asymmetric_bounds_come_back(awkward):
    fitted = fit(TREATMENT, awkward)
    back = fitted.act_outside(fitted.act_inside(awkward.actions))
    ends = fitted.act_outside(np.array([[1, 1], [-1, -1]], np.float32))
    spacing = np.spacing(np.array([1001, 7.7], np.float32))
    assert (np.abs(back - awkward.actions) <= spacing).all()
    assert (np.abs(ends - np.array([[1001, 7.7], [1000, -0.3]], np.float32)) <= spacing).all()
    assert ((ends >= awkward.action_space.low) & (ends <= awkward.action_space.high)).all()


def test_a_wider_action_space_is_worked_in_its_type():
    fitted = untreated(Box(-1, 1, (1,)), Box(np.float64(1000), np.float64(1001), (1,), np.float64))
    outside = fitted.act_outside(np.array([[0.1]], np.float32))
    assert outside.dtype == np.float64
    np.testing.assert_allclose(outside, [[1000.55]], rtol=0, atol=1e-8)


def test_discrete_actions_agree():
    fitted = untreated(Box(-1, 1, (2,)), Discrete(4, start=3))
    inside = np.array([0, 3], np.int32)
    np.testing.assert_array_equal(jax.jit(Numbers.act_outside)(fitted.numbers(), inside), fitted.act_outside(inside))


def test_observations_that_are_not_normalised_pass_unchanged(awkward):
    fitted = fit(Treatment(), awkward)
    obs = jnp.asarray(awkward.observations)
    np.testing.assert_array_equal(fitted.numbers().observe(obs), awkward.observations)
    np.testing.assert_array_equal(fitted.observe(awkward.observations), awkward.observations)
