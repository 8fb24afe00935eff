"""Rollouts: the requested episodes, each with its seed, and clear errors."""

from __future__ import annotations

import numpy as np
import pytest

from holdfast.core.errors import UserError
from holdfast.core.spec import Spec
from holdfast.environments.gym.adapter import make_env
from holdfast.evaluation.rollout import Rollout, episode_seeds
from holdfast.policy.policy import Policy
from support.players import LENGTHS, Clock, Forgetful, Lottery, Masked
from support.policies import MEMORY, PICK, continuous, discrete, make


def length_of(seed: int) -> int:
    return int(np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed))).choice(LENGTHS))


@pytest.mark.parametrize(("episodes", "slots", "replicas"), [(1, 16, 1), (23, 4, 1), (23, 4, 3), (5, 16, 2), (7, 1, 2)])
def test_exactly_the_requested_episodes_are_played(episodes: int, slots: int, replicas: int) -> None:
    rollout = Rollout(Lottery, replicas, episodes, slots)
    played = rollout.run(Policy.stacked([make(seed=r) for r in range(replicas)]), seed=5)
    wanted = [length_of(int(s)) for s in episode_seeds(5, episodes)]
    assert played.returns.shape == (replicas, episodes)
    assert played.seeds.tolist() == [episode_seeds(5, episodes).tolist()] * replicas
    for r in range(replicas):
        assert played.returns[r].tolist() == wanted
        assert played.lengths[r].tolist() == wanted
        assert sorted(s for env in rollout.pool.envs[r * rollout.n : (r + 1) * rollout.n] for s in env.log) == sorted(
            played.seeds[r].tolist()
        )


def test_a_policy_with_its_own_seed_plays_the_episodes_that_it_plays_alone() -> None:
    policies = [make(seed=r) for r in range(2)]
    both = Rollout(Lottery, 2, 5, 2).run(Policy.stacked(policies), seed=[3, 8])
    assert both.seeds.tolist() == [episode_seeds(s, 5).tolist() for s in (3, 8)]
    assert both.lengths.tolist() == [[length_of(int(s)) for s in episode_seeds(one, 5)] for one in (3, 8)]


def test_seeds_do_not_depend_on_the_number_of_episodes() -> None:
    assert episode_seeds(3, 5).tolist() == episode_seeds(3, 50)[:5].tolist()
    assert len({*episode_seeds(3, 50).tolist(), *episode_seeds(4, 50).tolist()}) == 100
    assert (episode_seeds(0, 50) >= 0).all()
    for seed, episodes in ((-1, 5), (0, 0)):
        with pytest.raises(UserError, match="expected a seed of at least 0"):
            episode_seeds(seed, episodes)


@pytest.mark.parametrize("mode", ["best", "sample"])
def test_the_same_seed_gives_the_same_returns(mode: str) -> None:
    policy = make(fitted=continuous(low=(-1, -1), high=(1, 1)))
    team = Policy.stacked([policy, make(seed=1, fitted=policy.fitted)])
    rollout = Rollout(lambda: make_env("holdfast/aim-v0"), 2, 6)
    with pytest.raises(UserError, match="does not match"):
        rollout.run(team)
    rollout.close()
    rollout = Rollout(Clock, 2, 6, slots=4)
    first, again, other = rollout.run(team, 1, mode), rollout.run(team, 1, mode), rollout.run(team, 2, mode)
    assert first.returns.tobytes() == again.returns.tobytes()
    assert first.returns.tolist() != other.returns.tolist()
    assert first.returns[0].tolist() != first.returns[1].tolist()


def test_memory_and_last_reward_are_reset_with_each_episode() -> None:
    fitted = continuous(low=(-1, -1), high=(1, 1))  # treated reward = (reward + 1) * 2
    played = Rollout(Clock, 1, 9, slots=2).run(Policy.stacked([make(MEMORY, fitted=fitted)]))
    assert set(played.lengths[0].tolist()) == {2, 3, 4}
    # the first action is a tenth of the steps so far: rewards 1, 2, 3, 4 whatever was played before in the slot
    wanted = [sum(range(1, n + 1)) for n in played.lengths[0]]
    np.testing.assert_allclose(played.returns[0], wanted, rtol=1e-5)
    # the second is a tenth of the rewards before, 1, 2 ... treated to 4, 6 ...
    one = Rollout(Clock, 1, 1)
    steps = one.run(Policy.stacked([make(MEMORY, fitted=fitted)])).lengths[0, 0]
    np.testing.assert_allclose(
        one.pool.envs[0].last[1], min(1, sum(2 * t + 2 for t in range(1, steps)) / 10), rtol=1e-5
    )


def test_masks_reach_the_policy() -> None:
    policy = make(PICK, Spec((3,), 4, discrete=True), discrete(3, 4, 2))
    played = Rollout(Masked, 1, 8, slots=3).run(Policy.stacked([policy]))
    assert played.returns.tolist() == [[5.0] * 8]


def test_a_mask_holds_for_its_own_step() -> None:
    policy = make(PICK, Spec((3,), 4, discrete=True), discrete(3, 4, 2))
    free = int(policy(np.zeros(3, np.float32)))
    rollout = Rollout(Forgetful, 1, 6, slots=6)
    rollout.run(Policy.stacked([policy]))
    played = [env.done for env in rollout.pool.envs]
    assert any(done[0] != free for done in played)
    assert all(action == free for done in played for action in done[1:])


@pytest.mark.parametrize(
    ("faults", "line"),
    [
        (
            {"raises": 2},
            r"Lottery failed on the action \[.*\]: the motor is on fire, at step 1 of the episode with seed \d+",
        ),
        ({"nan": 1}, r"Lottery gave observation\[1\] = nan at step 1 of the episode with seed \d+"),
        (
            {"reward": float("inf")},
            r"Lottery gave the reward inf at step 1 of the episode with seed \d+ for the action",
        ),
        ({"endless": True}, r"no end after 50 steps \(seed \d+\): give it a time limit"),
    ],
)
def test_a_failing_environment_is_named_with_seed_and_step(faults: dict, line: str) -> None:
    with pytest.raises(UserError, match=line) as error:
        Rollout(lambda: Lottery(**faults), 2, 5).run(Policy.stacked([make(), make()]), max_steps=50)
    assert "\n" not in str(error.value)


def test_a_diverged_policy_is_named() -> None:
    policy = make()
    policy.state.actor.net["weight"] = policy.state.actor.net["weight"] * np.nan
    with pytest.raises(UserError, match=r"the policy gave the action .*nan.* it has diverged"):
        Rollout(Lottery, 1, 2).run(Policy.stacked([policy]))
