"""The value from ratios of visits: exact ratios of a bandit give its exact value."""

import numpy as np
import pytest

import holdfast
from holdfast.data.dataset import Dataset
from holdfast.evaluation.ope import visits
from holdfast.evaluation.ope.log import Log

GAMMA = 0.8
PI = np.array([0.1, 0.9])


def bandit(n=40):
    actions = np.arange(n) % 4 // 3  # three in four are action 0
    obs = np.ones((n, 1), np.float32)
    return Dataset.from_arrays(obs, actions, 1.0 + 2 * actions, np.ones(n, bool), next_observations=obs)


def test_exact_ratios_give_the_exact_value():
    """The log has half of its mass in the absorbing state, the policy 1 - gamma of it in the first step."""
    data = bandit()
    share = np.array([0.75, 0.25]) / 2
    ratios = visits.Ratios("exact", ((1 - GAMMA) * PI / share)[data.actions], 2 * GAMMA, {})
    paid, mass = visits.sums(data, ratios)
    log = Log(data.rewards[:, None], data.lengths, GAMMA, np.zeros(40, bool), visits=(paid, mass))
    found = visits.value(log, np.ones((1, 40)))
    assert found == pytest.approx(PI @ [1, 3])
    one = visits.value(log, np.eye(40)[[0, 3]])  # resamples of one episode: its own pair and its end
    wanted = [
        ratio * reward / (ratio + 2 * GAMMA) / 0.2 for ratio, reward in zip(0.2 * PI / share, (1, 3), strict=True)
    ]
    assert one == pytest.approx(wanted)


def test_dice_needs_a_discounted_value_and_a_policy_of_holdfast():
    data = bandit()
    found = holdfast.ope(lambda obs: np.tile(PI, (len(obs), 1)), data, estimators=("dice",))
    assert found["dice"].refused == (
        "dice estimates the discounted value without a horizon: --endless --discount 0.99",
    )
    found = holdfast.ope(
        lambda obs: np.tile(PI, (len(obs), 1)), data, estimators=("dice",), discount=GAMMA, endless=True
    )
    assert found["dice"].refused == ("no ratios of visits: dice needs a policy of holdfast",)
