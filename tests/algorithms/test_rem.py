"""Random ensemble mixture: the policy of the heads worked by hand, its updates against recorded ones."""

import pytest

from holdfast.algorithms import rem
from holdfast.parts.action_values import best, pick, td
from support.q_learning import check_policy_of_heads, replay_heads, same


def test_heads_act_by_their_mean_minimum_or_lower_bound():
    check_policy_of_heads(rem.algorithm)


@pytest.mark.usefixtures("x64")
def test_recorded_updates():
    g, target = replay_heads(rem.algorithm)
    for step in range(1, g.steps + 1):
        mixture = g.noise(step)["mixture_uniform"]
        mixture = mixture / mixture.sum()
        same(mixture, g[f"expected/rem/mixture/step{step}"])
        mixed = target.mix(mixture)(g.batch().next_obs)
        same(mixed[..., 0], target(g.batch().next_obs) @ mixture)
        following = pick(mixed, best(mixed[..., 0]))
        same(td(g.batch(), following, g.setting("discount")), g[f"expected/rem/y/step{step}"])
