"""Environments with PettingZoo's parallel API as environments of joint observations and actions."""

import numpy as np
import pytest

from holdfast import UserError
from holdfast.environments.gym.adapter import make_env
from holdfast.environments.teams import team_in

pytest.importorskip("mpe2")
SPREAD = "pettingzoo/mpe2.simple_spread_v3"


def test_a_team_as_one_agent():
    team = team_in(SPREAD)
    assert team.names == ("agent_0", "agent_1", "agent_2")
    env = make_env(SPREAD)
    assert env.observation_space.shape == (sum(team.widths),)
    assert env.action_space.shape == (sum(team.counts),)
    first, _ = env.reset(seed=3)
    again, _ = env.reset(seed=3)
    np.testing.assert_array_equal(first, again)
    steps, paid = 0, 0.0
    over = False
    while not over:
        _, reward, terminated, truncated, info = env.step(np.zeros(env.action_space.shape, np.float32))
        assert reward == pytest.approx(np.mean(list(info["agent_rewards"].values())))
        steps += 1
        paid += reward
        over = terminated or truncated
    assert (steps, terminated, truncated) == (25, False, True)
    assert paid < 0
    env.close()


def test_the_agents_of_games_in_jax():
    assert team_in("jax/Climbing-v0").counts == [3, 3]
    assert team_in("Pendulum-v1") is None
    assert team_in(None) is None


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("pettingzoo/mpe2", "expected pettingzoo/PACKAGE.NAME"),
        ("pettingzoo/mpe2.simple_spreads_v3", "unknown environment .* mpe2 has no simple_spreads_v3"),
        ("pettingzoo/os.path", "unknown environment|needs the package"),
        ("pettingzoo/../x", "expected pettingzoo/PACKAGE.NAME"),
    ],
)
def test_wrong_ids(name, said):
    with pytest.raises(UserError, match=said):
        make_env(name)
