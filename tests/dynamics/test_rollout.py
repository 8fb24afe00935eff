"""Rollouts and ends: what is stored, where a rollout stops, and rules compared with the environments and with a log."""

from __future__ import annotations

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from holdfast.core.contract import Treatment
from holdfast.core.errors import UserError
from holdfast.core.noise import Noise
from holdfast.core.tree import PyTree
from holdfast.data.dataset import Dataset
from holdfast.data.feed.treatment import fit
from holdfast.dynamics import rollout, termination
from holdfast.dynamics.ensemble import Outcome


class Walks(PyTree):
    """A model in which each step adds the action to the one observation, and the reward is the observation."""

    def step(self, obs, action, noise):
        mean = jnp.concatenate([action, obs], -1)[None]
        return Outcome(obs + action, obs[:, 0], mean, jnp.zeros_like(mean))


def rolled(start, end_at, horizon=4, judge=rollout.unpenalised, action=1.0):
    def act(obs, noise):
        return jnp.full((len(obs), 1), action)

    def ends(obs, action, next_obs):
        return next_obs[:, 0] >= end_at

    run = jax.jit(lambda start, noise: rollout.branched(Walks(), act, ends, judge, start, horizon, noise))
    return run(jnp.asarray(start)[:, None], Noise(jax.random.PRNGKey(0)))


def test_a_rollout_stops_at_its_end_which_is_stored():
    rows = rolled([0.0, 2.0, 10.0], end_at=4.0)
    keep = np.asarray(rows.keep)
    assert keep.tolist() == [True] * 4 + [True] * 2 + [False] * 2 + [True] + [False] * 3
    batch = rows.batch
    np.testing.assert_array_equal(batch.obs[:, 0][keep], [0, 1, 2, 3, 2, 3, 10])
    np.testing.assert_array_equal(batch.next_obs[:, 0][keep], [1, 2, 3, 4, 3, 4, 11])
    np.testing.assert_array_equal(batch.reward[keep], [0, 1, 2, 3, 2, 3, 10])
    np.testing.assert_array_equal(batch.terminated[keep], [0, 0, 0, 1, 0, 1, 1])
    assert not batch.truncated[keep].any()


def test_the_last_row_of_a_rollout_is_truncated_unless_it_ended():
    rows = rolled([0.0], end_at=99.0, horizon=3)
    np.testing.assert_array_equal(rows.batch.truncated, [0, 0, 1])
    np.testing.assert_array_equal(rows.batch.terminated, [0, 0, 0])


def test_a_halted_step_ends_the_rollout_with_its_own_reward():
    def judge(obs, action, found):
        halt = obs[:, 0] >= 1
        return rollout.Verdict(jnp.where(halt, -50.0, found.reward), halt)

    rows = rolled([0.0], end_at=99.0, judge=judge)
    assert rows.keep.tolist() == [True, True, False, False]
    np.testing.assert_array_equal(rows.batch.reward[:2], [0, -50])
    np.testing.assert_array_equal(rows.batch.terminated[:2], [0, 1])


def test_steps_that_are_not_finite_are_left_out():
    rows = rolled([0.0], end_at=99.0, action=jnp.inf)
    assert not rows.keep.any()
    assert np.isfinite(rows.batch.next_obs).all()


@pytest.mark.parametrize("rows", [7, 1_000, 2_500, 2_003])
def test_pieces_divide_the_rows(rows):
    size = rollout._piece(rows)
    assert rows % size == 0
    assert size <= 1_000 or rows == size


# ends


def treated(space_of):
    obs = np.zeros((3, *space_of.observation_space.shape), np.float32)
    obs[1:] = 1.0
    actions = np.zeros((2, *space_of.action_space.shape), np.float32)
    episode = {
        "observations": obs,
        "actions": actions,
        "rewards": np.zeros(2),
        "terminations": np.zeros(2, bool),
        "truncations": np.asarray([False, True]),
    }
    data = Dataset.from_episodes([episode], action_bounds=(-1.0, 1.0))
    return data, fit(Treatment(), data)


@pytest.mark.parametrize(
    "env_id",
    [
        "Ant-v5", "HalfCheetah-v5", "Hopper-v5", "Humanoid-v5", "InvertedDoublePendulum-v5", "InvertedPendulum-v5",
        "Pendulum-v1", "Pusher-v5", "Reacher-v5", "Swimmer-v5", "Walker2d-v5",
    ],
)  # fmt: skip
def test_rules_are_those_of_the_environments(env_id):
    """Random actions: the rule and the environment agree at every step, and both kinds of step occur if any ends."""
    env = gymnasium.make(env_id)
    _, fitted = treated(env)
    rule = termination.rule_for(env_id, None, fitted)
    env.action_space.seed(0)
    obs, _ = env.reset(seed=0)
    seen, ended = [], []
    for _ in range(150):
        obs, _, over, cut, _ = env.step(env.action_space.sample())
        seen.append(obs)
        ended.append(over)
        if over or cut:
            obs, _ = env.reset()
    env.close()
    np.testing.assert_array_equal(rule(jnp.asarray(np.asarray(seen))), ended)
    assert any(ended) == (termination.RULES[rule.name] is not termination._never) or env_id.startswith("Ant")


def test_other_limits_have_no_known_rule():
    _, fitted = treated(gymnasium.make("Pendulum-v1"))
    assert termination.rule_for("Hopper-v5", None, fitted) is not None
    assert termination.rule_for("Hopper-v5", '{"kwargs": {"terminate_when_unhealthy": false}}', fitted) is None
    assert termination.rule_for("CartPole-v1", None, fitted) is None
    assert termination.rule_for(None, None, fitted) is None


def test_a_rule_is_compared_with_the_log():
    data, fitted = treated(gymnasium.make("Pendulum-v1"))
    rule = termination.rule_for("InvertedPendulum-v5", None, fitted)
    with pytest.raises(UserError, match=r"InvertedPendulum contradicts .* in 2 rows \(0, 1\).*--termination learned"):
        termination.chosen("auto", rule, data)
    assert termination.chosen("learned", rule, data) is None
    assert termination.chosen("auto", None, data) is None
    with pytest.raises(UserError, match="--termination known: no rule is known"):
        termination.chosen("known", None, data)
    assert termination.chosen("known", termination.rule_for("Pendulum-v1", None, fitted), data).name == "Pendulum"
