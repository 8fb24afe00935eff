"""The check of a learned model: exact and wrong models of a linear environment, and the ranks."""

from __future__ import annotations

import math

import jax.numpy as jnp
import numpy as np
import pytest

from holdfast.core.contract import Treatment
from holdfast.core.errors import UserError
from holdfast.core.tree import PyTree
from holdfast.data.dataset import Dataset
from holdfast.data.feed.treatment import fit
from holdfast.evaluation.model_quality import model_quality, rank_correlation
from holdfast.policy.dynamics import Dynamics


class Linear(PyTree):
    """Two members: the observation moves by the action plus `drift`, the reward is the observation."""

    drift: jnp.ndarray  # [2]
    std: jnp.ndarray  # []
    elites: jnp.ndarray

    def predict(self, obs, action):
        change = action[None] + self.drift[:, None, None]
        mean = jnp.concatenate([change, jnp.broadcast_to(obs, change.shape)], -1)
        return mean, jnp.full(mean.shape, self.std)

    def ends(self, obs, action, next_obs):
        return next_obs[..., 0] - 100.0


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    episodes = []
    for _ in range(4):
        action = rng.uniform(-1, 1, (30, 1)).astype(np.float32)
        obs = np.concatenate([np.zeros((1, 1)), np.cumsum(action, 0)]).astype(np.float32)
        ends = np.zeros(30, bool)
        episodes.append({"observations": obs, "actions": action, "rewards": obs[:-1, 0], "terminations": ends,
                         "truncations": np.arange(30) == 29})  # fmt: skip
    return Dataset.from_episodes(episodes, action_bounds=(-1.0, 1.0))


def check(data, drift, std, horizon=10):
    model = Linear(jnp.asarray(drift), jnp.asarray(std), jnp.arange(2))
    return model_quality(Dynamics(model, data.spec, fit(Treatment(), data), "learned", {}), data, horizon)


def test_an_exact_model_has_no_error(data):
    found = check(data, [0.0, 0.0], 0.1)
    assert found.horizons.tolist() == list(range(1, 11))
    assert found.error.max() < 1e-5
    assert found.persistence[-1] > found.persistence[0] > 0
    assert found.coverage == {"50%": 1.0, "80%": 1.0, "95%": 1.0}
    assert found.reward_error < 1e-5
    assert math.isnan(found.rank_correlation)  # the members agree everywhere
    assert found.logged_ends == 0
    assert math.isnan(found.recall)
    assert found.to_dict()["recall"] is None


def test_the_error_of_a_drift_grows_with_the_steps(data):
    found = check(data, [0.2, 0.4], 0.0)
    spread = data.observations.std()
    np.testing.assert_allclose(found.error, 0.3 * found.horizons / spread, rtol=0.02)
    assert found.coverage["50%"] < 0.6  # the reward is exact, the observation is not


def test_a_horizon_beyond_the_episodes_is_cut(data):
    assert len(check(data, [0.0, 0.0], 0.1, horizon=99).horizons) == 30
    with pytest.raises(UserError, match="--horizon is 0"):
        check(data, [0.0, 0.0], 0.1, horizon=0)


def test_ranks():
    a = np.array([1.0, 2.0, 2.0, 5.0])
    assert rank_correlation(a, a**3) == pytest.approx(1)
    assert rank_correlation(a, -a) == pytest.approx(-1)
    b = np.array([3.0, 1.0, 2.0, 4.0])
    ranks = (np.array([0, 1.5, 1.5, 3]), np.array([2.0, 0, 1, 3]))
    assert rank_correlation(a, b) == pytest.approx(np.corrcoef(*ranks)[0, 1])
