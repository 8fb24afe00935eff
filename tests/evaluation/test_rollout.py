"""Rollouts: the right episodes, all of them, each with its seed, and clear words where something fails."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete

from holdfast.core.errors import UserError
from holdfast.core.spec import Spec
from holdfast.environments.gym.adapter import make_env
from holdfast.environments.gym.matching import require_match, spec_of
from holdfast.evaluation.evaluate import Evaluator, environment_of, evaluate
from holdfast.evaluation.rollout import Rollout, episode_seeds
from holdfast.policy.policy import Policy
from support.policies import FAKE, MEMORY, PICK, continuous, discrete, make

LENGTHS = (1, 2, 3, 40)


class Lottery(gymnasium.Env):
    """Episodes of 1 to 40 steps by their seed; every step pays 1, so a bias toward short ones shows in the return."""

    def __init__(self, **faults: Any) -> None:
        self.observation_space = Box(-np.inf, np.inf, (3,), np.float64)
        self.action_space = Box(np.array([-2, 0], np.float32), np.array([1, 10], np.float32))
        self.faults, self.log = faults, []

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.left, self.t = int(self.np_random.choice(LENGTHS)), 0
        self.log.append(seed)
        return self.np_random.normal(size=3), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        assert self.action_space.contains(action), action
        self.t, self.left = self.t + 1, self.left - 1
        if self.faults.get("raises") == self.t:
            raise RuntimeError("the motor\nis on fire")
        obs = self.np_random.normal(size=3)
        if self.faults.get("nan") == self.t:
            obs[1] = np.nan
        end = self.left == 0 and not self.faults.get("endless")
        return obs, self.faults.get("reward", 1.0), end, False, {}


class Masked(gymnasium.Env):
    """Five steps; one action of four is legal at each, and only that one pays."""

    observation_space, action_space = Box(-1, 1, (3,), np.float32), Discrete(4, start=2)

    def see(self) -> tuple[np.ndarray, dict]:
        self.legal = int(self.np_random.integers(4))
        return np.zeros(3, np.float32), {"action_mask": np.eye(4, dtype=np.int8)[self.legal]}

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.t = 0
        return self.see()

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        paid, self.t = float(action - 2 == self.legal), self.t + 1
        obs, info = self.see()
        return obs, paid, False, self.t == 5, info


class Forgetful(Masked):
    """The same, but it tells what is legal at the start only; then everything is."""

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict]:
        self.done: list[int] = []
        return super().reset(seed=seed)

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.done.append(int(action))
        found = super().step(action)
        return *found[:4], {}


class Clock(gymnasium.Env):
    """Episodes of 2, 3 or 4 steps by their seed; the reward is ten times the first entry of the action."""

    observation_space, action_space = Box(-1, 1, (3,)), Box(-1, 1, (2,))

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.left = int(self.np_random.integers(2, 5))
        return np.zeros(3, np.float32), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.left, self.last = self.left - 1, action
        return np.zeros(3, np.float32), float(10 * action[0]), False, self.left == 0, {}


def length_of(seed: int) -> int:
    return int(np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed))).choice(LENGTHS))


@pytest.mark.parametrize(("episodes", "slots", "replicas"), [(1, 16, 1), (23, 4, 1), (23, 4, 3), (5, 16, 2), (7, 1, 2)])
def test_exactly_the_episodes_asked_for_whatever_their_length(episodes: int, slots: int, replicas: int) -> None:
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


def test_a_seed_a_policy_gives_it_the_episodes_that_it_would_have_alone() -> None:
    policies = [make(seed=r) for r in range(2)]
    both = Rollout(Lottery, 2, 5, 2).run(Policy.stacked(policies), seed=[3, 8])
    assert both.seeds.tolist() == [episode_seeds(s, 5).tolist() for s in (3, 8)]
    assert both.lengths.tolist() == [[length_of(int(s)) for s in episode_seeds(one, 5)] for one in (3, 8)]


def test_seeds_do_not_depend_on_how_many_are_asked_for() -> None:
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


def test_memory_and_last_reward_begin_anew_with_each_episode() -> None:
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


@pytest.mark.parametrize(
    ("env", "spec", "fitted", "line"),
    [
        ("CartPole-v1", Spec((3,), 2), continuous(), r"observations \(4,\), but the policy takes \(3,\); 2 discrete"),
        ("CartPole-v1", Spec((4,), 3, True), discrete(4, 3, 0), "2 discrete actions, but the policy gives 3 discrete"),
        ("CartPole-v1", Spec((4,), 2, True), discrete(4, 2, 1), "actions from 0, but the policy's start at 1"),
        ("Pendulum-v1", Spec((3,), 1), continuous(low=(-3,), high=(3,)), r"actions in \[-2, 2\], but .* \[-3, 3\]"),
    ],
)
def test_spaces_that_do_not_match_are_named_on_both_sides(env: str, spec: Spec, fitted: Any, line: str) -> None:
    with pytest.raises(UserError, match=f"environment {env} does not match the policy: .*{line}"):
        require_match(make_env(env), spec, fitted)


def test_spaces_that_match_pass() -> None:
    require_match(make_env("Pendulum-v1"), Spec((3,), 1), continuous(low=(-2,), high=(2,)))
    require_match(make_env("CartPole-v1"), Spec((4,), 2, True), discrete(4, 2, 0))
    assert spec_of(make_env("Pendulum-v1")) == Spec((3,), 1, horizon=200)
    assert spec_of(make_env("CartPole-v1")) == Spec((4,), 2, discrete=True, horizon=500)


@pytest.mark.parametrize(
    ("env", "line"),
    [
        ("Pendulun-v1", "unknown environment 'Pendulun-v1'; did you mean 'Pendulum-v1'"),
        ("Pendulum-v7", "did you mean 'Pendulum-v1'"),
        ("Hopper-v2", "use Hopper-v5"),
        ("no_such_module:X-v0", "no_such_module"),
        ("{", "not a valid EnvSpec"),
        ('{"entry_point": "os:system"}', "not a valid EnvSpec"),
        ("holdfast/chian-v0", "did you mean 'holdfast/chain-v0'"),
        ("Pendulum-v1", "cannot be made: .*wind"),
    ],
)
def test_environments_that_cannot_be_made(env: str, line: str) -> None:
    with pytest.raises(UserError, match=line) as error:
        make_env(env, **({"wind": 3} if "wind" in line else {}))
    assert "\n" not in str(error.value)


def test_a_missing_package_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*args: Any, **kwargs: Any) -> None:
        raise gymnasium.error.DependencyNotInstalled("no mujoco")

    monkeypatch.setattr(gymnasium, "make", missing)
    with pytest.raises(UserError, match=r"pip install 'holdfast\[mujoco\]'"):
        make_env("Hopper-v5")
    with pytest.raises(UserError, match=r"pip install 'holdfast\[box2d\]'"):
        make_env("LunarLander-v3")


def test_a_data_sets_spec_brings_its_time_limit_and_imports_nothing() -> None:
    spec = {"id": "Pendulum-v1", "entry_point": "os:abort", "kwargs": {"g": 5.0}, "max_episode_steps": 7}
    env = make_env(json.dumps(spec))
    assert spec_of(env).horizon == 7
    assert env.unwrapped.g == 5.0
    with pytest.raises(UserError, match="unknown environment"):
        make_env(json.dumps({"id": "Other-v0", "entry_point": "os:abort"}))


def test_kinds_of_spaces_that_are_not_supported() -> None:
    env = Lottery()
    env.observation_space = Dict({"a": Box(-1, 1, (2,))})
    with pytest.raises(UserError, match="FlattenObservation"):
        spec_of(env)
    env = Lottery()
    env.action_space = Box(-1, 1, (2, 2))
    with pytest.raises(UserError, match="flatten its actions"):
        spec_of(env)


def test_evaluate_one_and_several() -> None:
    fitted = continuous(low=(-2,), high=(2,))
    policies = [make(FAKE, Spec((3,), 1), fitted, seed=s, env_id="Pendulum-v1", step=1) for s in range(2)]
    alone, both = evaluate(policies[1], episodes=3), evaluate(policies, episodes=3)
    assert alone.returns.shape == (1, 3)
    np.testing.assert_allclose(both.returns[1], alone.returns[0], rtol=1e-3)
    assert (both.lengths == 200).all()
    assert both.reference is not None
    low, high = both.reference
    np.testing.assert_allclose(both.score, 100 * (both.returns.mean() - low) / (high - low))
    json.dumps(both.to_dict(), allow_nan=False)
    # not alike: one after another, in the same episodes
    policies[0].fitted = continuous(low=(-1,), high=(1,))
    apart = evaluate(policies, episodes=3)
    assert apart.returns.shape == (2, 3)
    assert apart.seeds.tolist() == alone.seeds.tolist() * 2
    np.testing.assert_array_equal(apart.returns[1], alone.returns[0])


def test_the_environment_has_to_be_known() -> None:
    with pytest.raises(UserError, match="give one with --env"):
        evaluate(make())
    assert environment_of({"env_spec": '{"id": "A-v0"}', "env_id": "B-v0"}) == '{"id": "A-v0"}'
    with pytest.raises(UserError, match="0 episodes"):
        Evaluator("Pendulum-v1", 1, 0)


def test_a_video_needs_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    from holdfast.evaluation.video import record

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'holdfast\[video\]'"):
        record(make(), tmp_path / "v.mp4", "Pendulum-v1")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: True)
    with pytest.raises(UserError, match=r"ends in .mp4"):
        record(make(), tmp_path / "v.gif", "Pendulum-v1")


def test_a_video_of_one_episode(tmp_path: Path) -> None:
    pytest.importorskip("imageio_ffmpeg")
    from holdfast.evaluation.video import record

    policy = make(FAKE, Spec((3,), 1), continuous(low=(-2,), high=(2,)))
    value, steps = record(policy, tmp_path / "deep" / "v.mp4", "Pendulum-v1", seed=4)
    assert steps == 200
    np.testing.assert_allclose(value, evaluate(policy, "Pendulum-v1", 1, seed=4).returns[0, 0], rtol=1e-4)
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["v.mp4"]
    assert (tmp_path / "deep" / "v.mp4").stat().st_size > 1000


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    from holdfast.algorithms import registry
    from holdfast.cli.evaluate import main
    from holdfast.policy.folder import policies_in

    monkeypatch.setattr(registry, "get", lambda name: FAKE)
    fitted = continuous(low=(-2,), high=(2,))
    for r in (0, 2, 10):
        make(FAKE, Spec((3,), 1), fitted, seed=r, env_id="Pendulum-v1").save(tmp_path / "policy" / f"seed{r}")
    assert [p.name for p in policies_in(tmp_path)] == ["seed0", "seed2", "seed10"]
    assert policies_in(tmp_path / "policy") == policies_in(tmp_path)
    assert main([str(tmp_path), "--episodes", "2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert np.shape(found["returns"]) == (3, 2)
    monkeypatch.setenv("COLUMNS", "120")
    assert main([str(tmp_path / "policy" / "seed2"), "--episodes", "2"]) == 0
    table = capsys.readouterr().out
    assert f"{np.mean(found['returns'][1]):.1f}" in table
    assert "seed2" in table
    for path, line in ((tmp_path / "none", "does not exist"), (tmp_path / "policy" / "..", None)):
        if line is not None:
            with pytest.raises(UserError, match=line):
                main([str(path)])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no policy in"):
        main([str(tmp_path / "empty")])
    with pytest.raises(UserError, match="does not match the policy"):
        main([str(tmp_path), "--env", "CartPole-v1"])
    with pytest.raises(SystemExit) as stopped:
        main([str(tmp_path), "--mode", "worst"])
    assert stopped.value.code == 2
