"""Ensemble-DQN: values and policies of the heads worked by hand, its updates against recorded ones."""

import jax.numpy as jnp
import pytest

from holdfast.algorithms import ensemble_dqn
from holdfast.parts.action_values import td
from support.formulas import array, near
from support.q_learning import check_policy_of_heads, replay_heads, same


def test_each_head_takes_its_own_maximum():
    values = array([[1, 9], [5, 2], [0, 3]])  # B 1, A 3, K 2
    near(ensemble_dqn.best_of_each(values, None), [[5, 9]])
    near(ensemble_dqn.best_of_each(values, jnp.array([[False, True, True]])), [[5, 3]])


def test_heads_act_by_their_mean_minimum_or_lower_bound():
    check_policy_of_heads(ensemble_dqn.algorithm)


@pytest.mark.usefixtures("x64")
def test_recorded_updates():
    g, target = replay_heads(ensemble_dqn.algorithm, tape=lambda noise: {})
    following = ensemble_dqn.best_of_each(target(g.batch().next_obs), None)
    for step in range(1, g.steps + 1):
        same(td(g.batch(), following, g.setting("discount")), g[f"expected/ensemble_dqn/y/step{step}"])
