import dataclasses
import itertools

import jax
import numpy as np
import pytest

from holdfast.core.contract import Treatment
from holdfast.core.errors import UserError
from holdfast.data import Dataset
from holdfast.data.feed.columns import DERIVED, column_names, failed_for_ever, prepare, stats, to_go
from holdfast.data.feed.treatment import fit


@pytest.fixture
def data() -> Dataset:
    """Episodes of 3 (terminated) and 2 (truncated) steps."""

    def one(obs, rewards, terminated):
        end = np.arange(len(rewards)) == len(rewards) - 1
        return {
            "observations": np.array(obs, np.float64)[:, None],
            "actions": np.array(rewards)[:, None] / 10,
            "rewards": rewards,
            "terminations": end & terminated,
            "truncations": end & (not terminated),
        }

    return Dataset.from_episodes([one([0, 1, 2, 3], [1.0, 2.0, 4.0], True), one([10, 11, 12], [8.0, 16.0], False)])


def test_columns_by_hand(data):
    treated = fit(Treatment(reward_scale=2.0), data)
    columns = prepare(data, treated, tuple(DERIVED), discount=0.5)
    assert columns.obs[:, 0].tolist() == [0, 1, 2, 3, 10, 11, 12]
    assert columns.row.tolist() == [0, 1, 2, 4, 5]
    assert columns.obs[columns.row + 1, 0].tolist() == [1, 2, 3, 11, 12]
    assert columns.reward.tolist() == [2, 4, 8, 16, 32]
    assert columns.terminated.tolist() == [0, 0, 1, 0, 0]
    assert columns.truncated.tolist() == [0, 0, 0, 0, 1]
    extra = columns.extra
    assert extra["mc_return"].tolist() == [2 + 0.5 * (4 + 0.5 * 8), 4 + 0.5 * 8, 8, 16 + 0.5 * 32, 32]
    assert extra["return_to_go"].tolist() == [14, 12, 8, 48, 32]
    np.testing.assert_allclose(extra["next_action"][:, 0], [0.2, 0.4, 0.4, 1.6, 1.6])
    assert extra["timestep"].tolist() == [0, 1, 2, 0, 1]
    assert extra["initial_obs"][:, 0].tolist() == [0, 0, 0, 10, 10]
    floats = [x for x in jax.tree.leaves(columns) if x.dtype.kind == "f"]
    assert {x.dtype for x in floats} == {np.dtype(np.float32)}
    assert columns.row.dtype == np.int32


def test_derived_columns_are_treated(data):
    fitted = fit(Treatment(normalize_obs=1e-3), data)
    columns = prepare(data, fitted, ("initial_obs",), dtype=np.float64)
    np.testing.assert_array_equal(columns.extra["initial_obs"][3:], columns.obs[[4, 4]])
    assert columns.obs.dtype == np.float64


@pytest.mark.parametrize("discount", [0.0, 0.9, 1.0])
def test_to_go_is_the_backward_loop(discount):
    rng = np.random.default_rng(0)
    lengths = np.array([1, 2, 3, 31, 32, 33, 100, 1])
    offsets = np.append(0, np.cumsum(lengths))
    rewards = rng.normal(size=offsets[-1])
    wanted = rewards.copy()
    for a, b in itertools.pairwise(offsets):
        for i in range(b - 2, a - 1, -1):
            wanted[i] = rewards[i] + discount * wanted[i + 1]
    np.testing.assert_allclose(to_go(rewards, offsets, discount), wanted, rtol=1e-12)


def test_a_logged_discount_enters_monte_carlo_returns(data):
    logged = np.array([0.5, 1, 0, 1, 0.25])
    data = dataclasses.replace(data, columns={"discount": logged})
    found = prepare(data, fit(Treatment(), data), ("mc_return",), discount=0.9, dtype=np.float64).extra["mc_return"]
    wanted = data.rewards.astype(np.float64).copy()
    for a, b in itertools.pairwise(data.offsets):
        for i in range(b - 2, a - 1, -1):
            wanted[i] += 0.9 * logged[i] * wanted[i + 1]
    np.testing.assert_allclose(found, wanted)


def test_sparse_returns_of_failures_are_those_of_failing_for_ever():
    """Three steps that fail, two of which the last one succeeds, one that fails."""
    rewards, starts, discount = np.array([-5.0, -5, -5, -5, 5, -5]), np.array([0, 3, 5]), 0.9
    returns = to_go(rewards, np.append(starts, 6), discount)
    found = failed_for_ever(returns, rewards, starts, discount)
    np.testing.assert_allclose(found, [-50, -50, -50, -5 + 0.9 * 5, 5, -50])
    assert failed_for_ever(np.ones(2), np.ones(2), np.array([0]), 0.5).tolist() == [1, 1]


def test_stored_columns_and_masks(data):
    mask = np.ones((7, 2), np.int64)
    data = dataclasses.replace(data, columns={"behaviour_log_prob": np.arange(5.0), "action_mask": mask})
    columns = prepare(data, fit(Treatment(), data), ("behaviour_log_prob",))
    assert columns.extra["behaviour_log_prob"].tolist() == [0, 1, 2, 3, 4]
    assert columns.mask.dtype == bool
    assert columns.mask.shape == (7, 2)
    assert "behaviour_log_prob" in column_names(data)
    assert "action_mask" not in column_names(data)


def test_unknown_and_incomplete_requests(data):
    fitted = fit(Treatment(), data)
    with pytest.raises(UserError, match="did you mean 'mc_return'"):
        prepare(data, fitted, ("mc_returns",))
    with pytest.raises(UserError, match="needs a discount"):
        prepare(data, fitted, ("mc_return",))
    with pytest.raises(UserError, match="for one discount"):
        prepare(data, fitted, ("mc_return",), discount=np.array([0.9, 0.99]))
    with pytest.raises(UserError, match="unknown column 'behaviour_log_prob'"):
        prepare(data, fitted, ("behaviour_log_prob",))


def test_stats_are_of_treated_rewards(data):
    found = stats(data, fit(Treatment(reward_shift=1.0), data))
    assert found == {
        "return_max": 26.0,
        "return_min": 10.0,
        "reward_max": 17.0,
        "reward_min": 2.0,
        "n_steps": 5.0,
        "n_episodes": 2.0,
        "reward_scale": 1.0,
    }
