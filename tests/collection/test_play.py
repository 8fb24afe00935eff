"""Logs made in environments: who acts, what is kept, where it is from, and the presets of papers."""

from __future__ import annotations

import json
import sys
import types
import zipfile

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from holdfast.cli import main as holdfast
from holdfast.collection import behaviours, from_run, play, presets
from holdfast.core.contract import Transitions
from holdfast.core.errors import UserError
from holdfast.data import load_dataset
from holdfast.data.checks.check import check
from holdfast.data.feed import sampler
from holdfast.data.feed.columns import prepare
from holdfast.data.feed.treatment import untreated
from holdfast.environments.gym.collector import episode_seed
from holdfast.policy.policy import Policy
from holdfast.training.run import train
from support.small_runs import TINY, tiny

ENV = "Pendulum-v1"
CHAIN = "holdfast/chain-v0"


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    """An online run of 450 steps, whose policies are kept at 90, 180 ... 450."""
    config = {**TINY, "warmup": 50, "exploration_noise": 0.5}
    clocks = {"steps": 450, "block": 90, "eval_every": 90, "eval_episodes": 1, "seeds": 2}
    out = tmp_path_factory.mktemp("runs") / "ddpg"
    return train("ddpg", env=ENV, config=config, keep_policies=True, out=out, **clocks)


def played_again(data, env, seeds):
    """Whether the logged actions, in episodes reset with these seeds, give the logged observations and rewards."""
    for e, seed in enumerate(seeds):
        a, b = data.offsets[e : e + 2]
        obs, _ = env.reset(seed=seed)
        seen, rewards = [obs], []
        for action in data.actions[a:b]:
            obs, reward, *_ = env.step(action)
            seen.append(obs)
            rewards.append(reward)
        np.testing.assert_allclose(data.observations[a + e : b + e + 1], seen, rtol=1e-6)
        np.testing.assert_allclose(data.rewards[a:b], rewards, rtol=1e-5)
    return True


# ---- collecting ----


def test_a_log_has_exactly_the_steps_and_can_be_played_again():
    data = play.collect(ENV, behaviours.uniform(), steps=1300, seed=3)
    assert (data.n_steps, data.lengths.tolist()) == (1300, [200] * 6 + [100])
    assert data.truncations[data.offsets[1:] - 1].all()
    assert not data.terminations.any()
    assert data.env_id == ENV
    # three environments: episode e is number e // 3 of environment e % 3
    assert played_again(data, gymnasium.make(ENV), [episode_seed(3, e % 3, e // 3) for e in range(7)])
    assert {f.kind for f in check(data) if f.level != "note"} == set()
    assert play.collect(ENV, behaviours.uniform(), steps=1300, seed=3).fingerprint == data.fingerprint
    assert play.collect(ENV, behaviours.uniform(), steps=1300, seed=4).fingerprint != data.fingerprint
    assert np.abs(data.actions).max() > 1.9


def test_whole_episodes_are_taken_by_number_and_short_ones_are_not_favoured():
    data = play.collect(CHAIN, behaviours.uniform(), episodes=40, seed=1)
    assert data.n_episodes == 40
    ends = data.terminations | data.truncations
    assert ends[data.offsets[1:] - 1].all()
    assert ends.sum() == 40
    more = play.collect(CHAIN, behaviours.uniform(), episodes=60, seed=1)
    # with as many environments, more episodes only add to the list
    np.testing.assert_array_equal(more.observations[: len(data.observations)], data.observations)
    assert {f.level for f in check(data)} <= {"note", "warn"}


@pytest.mark.parametrize("wrong", [{}, {"steps": 10, "episodes": 1}, {"steps": 0}, {"episodes": 1, "seed": -1}])
def test_sizes_that_make_no_sense_are_refused(wrong):
    with pytest.raises(UserError, match="expected one of the two"):
        play.collect(ENV, behaviours.uniform(), **wrong)


def test_parts_are_joined():
    parts = [play.collect(ENV, behaviours.uniform(), steps=250, seed=s, id=f"part-{s}") for s in (0, 1)]
    whole = play.joined(parts, "whole")
    assert whole.lengths.tolist() == [200, 50] * 2
    np.testing.assert_array_equal(whole.returns(), np.concatenate([p.returns() for p in parts]))
    np.testing.assert_array_equal(whole.select([2, 3]).observations, parts[1].observations)
    assert [one["seed"] for one in whole.provenance["collected"]] == [0, 1]
    with pytest.raises(UserError, match="cannot be joined"):
        play.joined([parts[0], play.collect(CHAIN, behaviours.uniform(), episodes=2)], "none")


# ---- who acts ----


def constant(value):
    """Always the same action."""
    begin = lambda env, n, seed: lambda obs, *_: np.full((len(obs), 1), value, np.float32)  # noqa: E731
    return behaviours.Behaviour("constant", {"algorithm": "constant"}, begin)


def test_noise_is_a_share_of_the_range_and_random_actions_replace_the_others():
    env = gymnasium.make(ENV)  # actions in [-2, 2]
    obs, zeros = np.zeros((4000, 3)), np.zeros(4000)

    def acted(*how):
        return behaviours.noisy(constant(0.5), *how).begin(env, 4000, 0)(obs, zeros, None, zeros)[:, 0]

    moved = acted(0.0, 0.3)
    assert moved.dtype == np.float32
    assert moved.std() == pytest.approx(0.6, rel=0.05)
    assert moved.mean() == pytest.approx(0.5, abs=0.05)
    mixed = acted(0.3, 0.0)
    assert (mixed != 0.5).mean() == pytest.approx(0.3, abs=0.03)
    assert mixed[mixed != 0.5].std() == pytest.approx(4 / np.sqrt(12), rel=0.05)
    assert np.abs(acted(0.0, 9.0)).max() == 2
    assert behaviours.noisy(constant(0.5)).facts == {"algorithm": "constant"}
    with pytest.raises(UserError, match="expected a share from 0 to 1"):
        behaviours.noisy(constant(0.5), 1.5)
    with pytest.raises(UserError, match="discrete, use --random-actions"):
        behaviours.noisy(behaviours.uniform(), 0.1, 0.3).begin(gymnasium.make("CartPole-v1"), 1, 0)


def test_uniform_actions_are_legal_ones():
    mask = np.array([[True, False, True], [False, True, False]])
    space = gymnasium.spaces.Discrete(3, start=5)
    drawn = np.stack([behaviours.draw(np.random.default_rng(s), space, 2, mask) for s in range(60)])
    assert set(drawn[:, 0]) == {5, 7}
    assert set(drawn[:, 1]) == {6}


def test_a_policy_acts_as_it_does_elsewhere(learned):
    folder = learned.path / "policy" / "seed-1"
    data = play.collect(ENV, behaviours.of_policy(folder), episodes=2, seed=5)
    np.testing.assert_allclose(data.actions, Policy.load(folder)(data.observations[data.observation_rows]), rtol=1e-5)
    with pytest.raises(UserError, match="does not match the policy"):
        play.collect("MountainCarContinuous-v0", behaviours.of_policy(folder), episodes=1)


def test_a_zip_is_loaded_by_its_class_with_a_warning(tmp_path, monkeypatch, capsys):
    file = tmp_path / "agent.zip"
    with pytest.raises(UserError, match="is not a zip"):
        behaviours.of_zip(file, "ddpg")
    with zipfile.ZipFile(file, "w") as made:
        made.writestr("data", "{}")
    with pytest.raises(UserError, match="did you mean 'DDPG'"):
        behaviours.of_zip(file, "ddgp")
    assert "stable_baselines3" not in sys.modules
    env, asked = gymnasium.make(ENV), []

    class Agent:
        observation_space, action_space = env.observation_space, env.action_space

        @classmethod
        def load(cls, path, device):
            asked.append((path, device))
            return cls()

        def set_random_seed(self, seed):
            asked.append(seed)

        def predict(self, obs, deterministic):
            asked.append(deterministic)
            return obs[:, :1] * 2, None

    fake = types.ModuleType("stable_baselines3")
    fake.DDPG, fake.__version__ = Agent, "0"
    monkeypatch.setitem(sys.modules, "stable_baselines3", fake)
    who = behaviours.of_zip(file, "ddpg", "sample")
    assert "runs whatever code" in capsys.readouterr().err
    data = play.collect(ENV, who, episodes=1, seed=4)
    assert asked[:3] == [(file, "cpu"), 4, False]
    np.testing.assert_allclose(data.actions[:, 0], 2 * data.observations[:-1, 0])
    with pytest.raises(UserError, match="does not match MountainCar"):
        play.collect("MountainCarContinuous-v0", who, episodes=1)
    with pytest.raises(UserError, match="name its algorithm, --sb3"):
        presets.make(presets.LogRequest(by=str(file), env=ENV), "log")
    monkeypatch.setitem(sys.modules, "stable_baselines3", None)
    with pytest.raises(UserError, match=r"pip install 'holdfast\[sb3\]'"):
        behaviours.of_zip(file, "ddpg")


# ---- replays and levels ----


def test_the_replay_is_what_was_collected_in_order(learned):
    data = from_run.replay_log(learned.path, 1)
    assert data.lengths.tolist() == [200, 200, 50]
    assert played_again(data, gymnasium.make(ENV), [episode_seed(1, 0, e) for e in range(3)])
    assert {f.kind for f in check(data) if f.level != "note"} == set()
    first = from_run.replay_log(learned.path, 1, rows=230)
    assert first.lengths.tolist() == [200, 30]
    np.testing.assert_array_equal(first.actions, data.actions[:230])
    with pytest.raises(UserError, match="has collected 450 steps"):
        from_run.replay_log(learned.path, 1, rows=451)
    with pytest.raises(UserError, match="has 2 replicas"):
        from_run.replay_log(learned.path, 2)


def test_a_run_from_logged_data_has_no_replay_and_one_without_policies_no_levels(tmp_path):
    run = tiny(tmp_path / "bc")
    with pytest.raises(UserError, match="learned from logged data"):
        from_run.replay_log(run.path)
    with pytest.raises(UserError, match="--keep-policies"):
        from_run.policies(run.path)


def test_the_medium_policy_is_a_third_of_the_way(learned, monkeypatch):
    kept = from_run.policies(learned.path, 1)
    assert [step for step, *_ in kept] == [90, 180, 270, 360, 450]
    assert kept[-1][1] == pytest.approx(np.mean(learned.result["returns"][1]))
    steps = [Policy.load(folder).info["step"] for *_, folder in kept]
    assert steps == [90, 180, 270, 360, 450]
    last = Policy.load(learned.path / "policy" / "seed-1")
    obs = np.ones(3, np.float32)
    np.testing.assert_array_equal(Policy.load(kept[-1][2])(obs), last(obs))
    made = [(90, -1000.0, None), (180, -801.0, None), (270, -799.0, None), (360, -200.0, None), (450, -400.0, None)]
    monkeypatch.setattr(from_run, "policies", lambda run, replica: made)
    assert from_run.medium("run", -1000)[0] == 270  # (-1000 to -400) / 3: -800
    with pytest.raises(UserError, match="train for longer"):
        from_run.medium("run", -400)


def test_a_growing_log_gives_only_what_has_been_written():
    data = load_dataset("bundled/pendulum-mixed").select([0])
    columns = jax.tree.map(jnp.asarray, prepare(data, untreated(data.observation_space, data.action_space), [], None))
    draw = jax.jit(
        lambda key, left, rate: (
            sampler.sample(
                {"data": sampler.grown(columns, left, rate)}, {"data": 1.0}, 512, Transitions(), _Noise(key)
            ).obs
        ),
        static_argnums=2,
    )
    rows = data.observations[:-1].astype(np.float32)
    for left, rate, there in ((199, 1.0, 1), (150, 1.0, 50), (0, 1.0, 200), (10, 2.5, 175), (1000, 1.0, 1)):
        found = np.asarray(draw(jax.random.PRNGKey(0), left, rate))
        index = {int(np.abs(rows - x).sum(1).argmin()) for x in found}
        assert max(index) < there
        assert len(index) > 0.9 * there * (1 - np.exp(-512 / there)) - 1


class _Noise:
    def __init__(self, key):
        self.key = key

    def integers(self, name, shape, high):
        return jax.random.randint(self.key, shape, 0, high)


def test_growing_logs_are_refused_where_a_method_sees_more(tmp_path):
    with pytest.raises(UserError, match="expected at most 33576 updates"):
        tiny(tmp_path / "a", growing=1.0, steps=33_577)
    with pytest.raises(UserError, match="looks at the log as a whole"):
        tiny(tmp_path / "b", "plas", growing=1.0, config={"hidden": (8,), "vae_hidden": (8,)})
    with pytest.raises(UserError, match="--growing is -1"):
        tiny(tmp_path / "c", growing=-1.0)
    with pytest.raises(UserError, match="--growing is 1"):
        train("ddpg", env=ENV, growing=1.0, out=tmp_path / "d", steps=10)
    with pytest.raises(UserError, match="--keep-policies keeps"):
        tiny(tmp_path / "e", keep_policies=True, evaluate=False)
    assert not list(tmp_path.iterdir())


# ---- the command ----


def test_the_command_writes_what_checks_and_trains(learned, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    by = ["--by", str(learned.path)]
    for to, *flags in (
        ["swing/random-v0", "--env", ENV, "--steps", "500"],
        [str(tmp_path / "imperfect.hdf5"), *by, "--preset", "imperfect", "--steps", "500"],
        [str(tmp_path / "replay.npz"), *by, "--preset", "final-buffer"],
    ):
        assert holdfast(["data", "collect", to, *flags]) == 0
        assert "normalised score" in capsys.readouterr().out
        assert holdfast(["data", "check", to]) == 0
        assert "0 fatal, 0 warn" in capsys.readouterr().out
    data = load_dataset(str(tmp_path / "imperfect.hdf5"))
    assert (data.n_steps, data.env_id, data.reference) == (500, ENV, (-1224.0, -150.0))
    (told,) = data.provenance["collected"]
    assert (told["random_actions"], told["noise"], told["step"], told["algorithm"]) == (0.3, 0.3, 450, "ddpg")
    assert data.provenance["asked"]["preset"] == "imperfect"
    assert data.provenance["versions"]["holdfast"]
    assert set(data.provenance["measured_returns"]) == {"random", "policy"}
    random = load_dataset("swing/random-v0")
    assert set(random.provenance["measured_returns"]) == {"random"}
    run = tiny(tmp_path / "bc", data="swing/random-v0", growing=50.0)
    assert np.isfinite(run.result["return_mean"])
    assert holdfast(["data", "collect", "swing/random-v0", "--env", ENV]) == 2
    assert "exists already" in capsys.readouterr().err


def test_levels_train_an_agent_once(tmp_path, monkeypatch, capsys):
    given = ["--env", CHAIN, "--train-steps", "120", "--steps", "40", "--agent", str(tmp_path / "agent")]
    monkeypatch.setattr(presets, "EVALUATIONS", 2)
    assert holdfast(["data", "collect", str(tmp_path / "expert.npz"), "--preset", "expert", *given]) == 0
    config = json.loads((tmp_path / "agent" / "config.json").read_text())
    assert (config["algorithm"], config["steps"], config["config"]["warmup"]) == ("dqn", 120, 30)
    before = (tmp_path / "agent" / "result.json").read_bytes()
    low = {"random": -1e9, "policy": 1.0}
    monkeypatch.setattr(play, "references", lambda *a, **k: low)
    for preset in ("medium-expert", "medium-replay"):
        assert holdfast(["data", "collect", str(tmp_path / f"{preset}.npz"), "--preset", preset, *given]) == 0
    assert (tmp_path / "agent" / "result.json").read_bytes() == before
    both = load_dataset(tmp_path / "medium-expert.npz")
    assert [one["steps"] for one in both.provenance["collected"]] == [20, 20]
    assert both.reference == (-1e9, 1.0)  # none is known of this environment: as measured
    assert load_dataset(tmp_path / "medium-from_run.npz").n_steps == 40
    capsys.readouterr()
    again = ["data", "collect", str(tmp_path / "x.npz"), "--preset", "expert", *given, "--seed", "1"]
    assert holdfast(again) == 2
    assert "seed 0 instead of 1): name another folder with --agent" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"preset": "imperfekt"}, "did you mean 'imperfect'"),
        ({"preset": "imitation", "noise": 0.1}, "says how to act.*; --preset imitation needs an expert"),
        ({"preset": "random", "by": "run"}, "leave --by out"),
        ({"steps": 1, "episodes": 1}, "leave one out"),
        ({"preset": "concurrent", "episodes": 1}, "give --steps, not --episodes"),
        ({}, "name one with --env"),
        ({"preset": "expert"}, "trains an agent first"),
        ({"by": "nowhere", "env": ENV}, "nowhere does not exist"),
    ],
)
def test_what_contradicts_itself_is_refused(wrong, said):
    with pytest.raises(UserError, match=said):
        presets.make(presets.LogRequest(**wrong), "log")


class Wearing(gymnasium.Env):
    """Episodes of three steps; after twenty steps in all it breaks."""

    observation_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)
    action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)
    total = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        Wearing.total, self.t = Wearing.total + 1, self.t + 1
        if Wearing.total > 20:
            raise RuntimeError("the belt is torn")
        return np.zeros(1, np.float32), 1.0, self.t == 3, False, {}


def test_a_failing_environment_leaves_the_whole_episodes_before(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(Wearing, "total", 0)
    gymnasium.register("holdfast-test/Wearing-v0", Wearing)
    path = tmp_path / "log.npz"
    try:
        assert holdfast(["data", "collect", str(path), "--env", "holdfast-test/Wearing-v0", "--steps", "1000"]) == 2
    finally:
        del gymnasium.registry["holdfast-test/Wearing-v0"]
    said = capsys.readouterr().err
    data = load_dataset(str(path))
    assert "the belt is torn" in said
    assert f"the {data.n_episodes} whole episodes before it are in" in said
    assert data.n_steps == 3 * data.n_episodes >= 3
    assert data.terminations.sum() == data.n_episodes
