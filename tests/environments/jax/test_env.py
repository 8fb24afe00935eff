"""Environments in JAX: the same as their Gymnasium and NumPy forms, and runs that collect in the compiled loop."""

import sys
import types
from typing import NamedTuple

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from holdfast.core.contract import Collect
from holdfast.core.errors import UserError
from holdfast.core.noise import Noise
from holdfast.core.spec import Spec
from holdfast.environments import probes
from holdfast.environments.gym.adapter import make_env
from holdfast.environments.gym.collector import Collector, EnvironmentFailed
from holdfast.environments.gym.matching import spec_of
from holdfast.environments.jax import env as jax_env
from holdfast.environments.jax.env import JaxEnv
from holdfast.evaluation.evaluate import evaluate
from holdfast.training.collect_jax import fits
from holdfast.training.hooks import Hook
from holdfast.training.run import resume, train
from support.marks import quick
from support.small_runs import require_same, rows

KEY = jax.random.PRNGKey(0)


@pytest.mark.parametrize("name", ["Pendulum-v1", "CartPole-v1"])
def test_classics_step_as_gymnasium_does(name):
    env, ours = gymnasium.make(name).unwrapped, jax_env.find(f"jax/{name}")
    theirs = gymnasium.make(name)
    assert ours.spec == spec_of(theirs)
    if not ours.spec.discrete:
        np.testing.assert_array_equal(ours.low, env.action_space.low)
        np.testing.assert_array_equal(ours.high, env.action_space.high)
    rng, step = np.random.default_rng(0), jax.jit(ours.step)
    for episode in range(20):
        env.reset(seed=episode)
        state = np.asarray(env.state, np.float32)
        for _ in range(30):
            action = env.action_space.sample() if ours.spec.discrete else rng.uniform(-3, 3, 1).astype(np.float32)
            obs, reward, terminated, _, _ = env.step(action)
            state, found, value, ended = step(KEY, state, action)
            np.testing.assert_allclose(found, obs, atol=2e-4)
            assert float(value) == pytest.approx(reward, abs=2e-3)
            assert bool(ended) == terminated
            if terminated:
                break
    starts = np.asarray(jax.jit(jax.vmap(ours.reset))(jax.random.split(KEY, 2000))[1])
    wanted = np.stack([env.reset(seed=i)[0] for i in range(2000)])
    np.testing.assert_allclose(starts.mean(0), wanted.mean(0), atol=0.08)
    np.testing.assert_allclose(starts.std(0), wanted.std(0), atol=0.05)


@pytest.mark.parametrize("name", list(probes.PROBES))
def test_probes_are_the_same_in_both_forms(name):
    probe, env, rng = probes.get(name), jax_env.find(f"holdfast/{name}-v0"), np.random.default_rng(0)
    assert env.spec == probe.spec
    keys = jax.random.split(KEY, 4000)
    state, obs = jax.jit(jax.vmap(env.reset))(keys)
    wanted = probe.start(rng, 4000)
    np.testing.assert_allclose(np.asarray(obs).mean(0), wanted.mean(0), atol=0.06)
    np.testing.assert_allclose(np.asarray(obs).std(0), wanted.std(0), atol=0.06)
    action = (
        rng.integers(probe.spec.action, size=4000)
        if probe.spec.discrete
        else rng.uniform(-1, 1, (4000, probe.spec.action))
    )
    action = action.astype(np.int32 if probe.spec.discrete else np.float32)
    keys = jax.random.split(jax.random.PRNGKey(1), 4000)
    state, following, reward, ended = jax.jit(jax.vmap(env.step))(keys, state, action)
    theirs, theirs_reward, theirs_ended = probe.step(rng, np.asarray(obs), action)
    if name == "runaway":  # its steps are drawn: their shares by eighths of the actions
        for part in np.array_split(np.argsort(action[:, 0]), 8):
            assert np.mean(ended[part]) == pytest.approx(np.mean(theirs_ended[part]), abs=0.1)
            assert np.mean(reward[part]) == pytest.approx(np.mean(theirs_reward[part]), abs=0.1)
        return
    if probe.mdp is None:
        np.testing.assert_allclose(following, theirs, rtol=1e-6)
        np.testing.assert_array_equal(ended, theirs_ended)
        np.testing.assert_allclose(reward, theirs_reward, rtol=1e-5, atol=1e-6)
        return
    here, after = (np.square(np.asarray(x)[:, None] - probe.features).sum(2).argmin(1) for x in (obs, following))
    counted = np.zeros_like(probe.mdp.transition)
    np.add.at(counted, (here, action, after), 1)
    seen = counted.sum(2)
    shares = counted[seen > 100] / seen[seen > 100][:, None]
    np.testing.assert_allclose(shares, probe.mdp.transition[seen > 100], atol=0.1)
    np.testing.assert_array_equal(ended, probe.mdp.terminal[after])
    np.testing.assert_allclose(reward, probe.mdp.reward[here, action], rtol=1e-6)


def steps(env, count, n=3):
    """A world stepped `count` times with action 0: the turns, leaves [count, n, ...]."""
    action = jnp.zeros((n, *env.spec.action_shape), jnp.int32 if env.spec.discrete else jnp.float32)

    @jax.jit
    def run(noise):
        def one(world, t):
            return jax_env.advance(env, world, action, noise.fold(t))

        return jax.lax.scan(one, jax_env.begin(env, noise, n), jnp.arange(count))

    return run(Noise(KEY))


def test_episodes_follow_one_another_with_ends_kept_apart():
    env = jax_env.find("holdfast/chain-v0")
    last, turns = steps(env, 200)
    ended = np.asarray(turns.terminated | turns.truncated)
    assert not (np.asarray(turns.terminated) & np.asarray(turns.truncated)).any()
    np.testing.assert_array_equal(turns.truncated, ~turns.terminated & (turns.time >= 50))
    on = ~ended[:-1]
    np.testing.assert_array_equal(np.asarray(turns.obs)[1:][on], np.asarray(turns.next_obs)[:-1][on])
    np.testing.assert_array_equal(np.asarray(turns.time)[1:], np.where(on, np.asarray(turns.time)[:-1] + 1, 1))
    assert len(np.unique(ended.argmax(0))) > 1  # each environment has noise of its own
    assert np.asarray(turns.terminated).any()
    assert last.obs.shape == (3, 5)


def test_a_time_limit_cuts_and_does_not_end():
    _, turns = steps(jax_env.find("jax/Pendulum-v1"), 401, 2)
    assert not turns.terminated.any()
    assert np.flatnonzero(np.asarray(turns.truncated)[:, 0]).tolist() == [199, 399]
    reward = np.asarray(turns.reward)[:200, 1]
    np.testing.assert_allclose(turns.total[199, 1], reward.sum(), rtol=1e-5)


TINY = {"hidden": (8,), "batch_size": 8, "warmup": 20}
SETTINGS = {
    "steps": 120,
    "seeds": 2,
    "config": TINY,
    "block": 30,
    "save_every": 30,
    "eval_every": 60,
    "eval_episodes": 2,
}


@pytest.fixture
def no_python(monkeypatch):
    """Any step of a collected environment in Python fails."""

    def step(self, actions):
        raise AssertionError("collected outside the compiled loop")

    monkeypatch.setattr(Collector, "step", step)
    monkeypatch.setattr(Collector, "begin", step)


class Stops(Hook):
    def __init__(self, blocks):
        self.left = blocks

    def block(self, block):
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt


@pytest.mark.slow
@pytest.mark.parametrize(
    ("algorithm", "env"), quick([("ddpg", "jax/Pendulum-v1"), ("dqn", "holdfast/chain-v0")], "ddpg")
)
def test_a_run_in_the_compiled_loop_resumes_to_the_same_bits(algorithm, env, tmp_path, no_python):
    whole = train(algorithm, env=env, out=tmp_path / "whole" / "run", **SETTINGS)
    assert whole.result["exact"] == "exact"
    assert sum(int(row["updates"]) for row in rows(whole.path / "timing.csv")) == 200  # of both replicas
    for blocks in (1, 3):
        out = tmp_path / str(blocks) / "run"
        with pytest.raises(KeyboardInterrupt):
            train(algorithm, env=env, out=out, hooks=[Stops(blocks)], **SETTINGS)
        require_same(resume(out).path, whole.path)


@pytest.mark.slow
def test_returns_and_lengths_of_episodes_are_reported(tmp_path, no_python):
    found = train("ddpg", env="holdfast/constant-v0", out=tmp_path / "run", **{**SETTINGS, "evaluate": False})
    for row in rows(found.path / "metrics.csv"):
        assert (row["collect/return"], row["collect/length"], row["collect/episodes"]) == ("10.0", "10.0", "3.0")


@pytest.mark.slow
def test_the_compiled_loop_learns(tmp_path, no_python):
    config = {"hidden": (32,), "batch_size": 64, "warmup": 200}
    found = train("ddpg", env="holdfast/aim-v0", steps=2500, config=config, eval_episodes=50, out=tmp_path / "run")
    assert found.result["return_mean"] > -0.05  # at random: about -1.1


def test_an_environment_that_breaks_is_reported(tmp_path, monkeypatch):
    def step(key, state, action):
        return state + 1, jnp.where(state == 7, jnp.nan, jnp.ones(1)), jnp.array(0.0), jnp.array(False)

    broken = JaxEnv(Spec((1,), 1, horizon=50), lambda key: (0, jnp.ones(1)), step, -np.ones(1), np.ones(1))
    monkeypatch.setitem(jax_env.REGISTRY, "jax/Broken-v0", lambda: broken)
    with pytest.raises(EnvironmentFailed, match=r"^jax/Broken-v0 gave .* not finite at step 7 of replica 0"):
        train("ddpg", env="jax/Broken-v0", out=tmp_path / "run", **{**SETTINGS, "evaluate": False})


def test_an_environment_whose_parts_do_not_fit_is_refused(monkeypatch):
    def step(key, state, action):
        return state + 0.5, jnp.ones(2), jnp.zeros(1), jnp.array(False)

    odd = JaxEnv(Spec((1,), 1, horizon=50), lambda key: (jnp.int32(0), jnp.ones(1)), step, -np.ones(1), np.ones(1))
    monkeypatch.setitem(jax_env.REGISTRY, "jax/Odd-v0", lambda: odd)
    with pytest.raises(UserError) as fault:
        jax_env.find("jax/Odd-v0")
    assert str(fault.value) == (
        "environment 'jax/Odd-v0': step's observation has shape (2,), expected (1,); the reward has shape (1,), "
        "expected (); the state is ((), 'float32') after a step, expected what reset gives: ((), 'int32')"
    )


def test_as_gymnasium_environments_they_repeat_themselves():
    env = make_env("jax/CartPole-v1")
    assert env.spec.id == "jax/CartPole-v1"
    one = [env.reset(seed=4)[0], *(env.step(1)[0] for _ in range(5))]
    other = [env.reset(seed=4)[0], *(env.step(1)[0] for _ in range(5))]
    np.testing.assert_array_equal(one, other)
    assert not np.array_equal(env.reset(seed=5)[0], one[0])
    noisy = make_env("holdfast/chain-v0")
    assert noisy.reset(seed=1)[0].shape == (5,)


@pytest.mark.slow
def test_policies_are_evaluated_in_them(tmp_path):
    found = train("ddpg", env="jax/Pendulum-v1", out=tmp_path / "run", **{**SETTINGS, "steps": 30, "seeds": 1})
    again = evaluate(found.policy(), episodes=2)
    assert again.env_id == "jax/Pendulum-v1"
    assert (again.lengths == 200).all()


class Params(NamedTuple):
    max_steps_in_episode: int = 6

    def replace(self, **values):
        return self._replace(**values)


class Space(NamedTuple):
    shape: tuple
    low: float = -2.0
    high: float = 2.0


class FakeGymnax:
    """The interface of a gymnax environment: `done` holds the time limit too."""

    def observation_space(self, params):
        return Space((2,))

    def action_space(self, params):
        return Space((1,))

    def reset_env(self, key, params):
        return jnp.zeros(2), jnp.int32(0)

    def step_env(self, key, state, action, params):
        time = state + 1
        done = (time >= params.max_steps_in_episode) | (action[0] > 1)
        return jnp.array([time, action[0]], jnp.float32), time, action[0], done, {}


def test_gymnax_environments_separate_time_limits_from_true_ends(monkeypatch):
    fake = types.ModuleType("gymnax")
    fake.make = lambda name: (FakeGymnax(), Params())
    monkeypatch.setitem(sys.modules, "gymnax", fake)
    env = jax_env.find("gymnax/Fake-v0")
    assert env.spec == Spec((2,), 1, horizon=6)
    assert (env.low, env.high) == (-2, 2)
    _, turns = steps(env, 12, 1)
    assert np.flatnonzero(turns.truncated[:, 0]).tolist() == [5, 11]
    assert not turns.terminated.any()
    _, _, _, ended = env.step(KEY, jnp.int32(0), jnp.array([1.5]))
    assert ended


def test_unknown_names_and_missing_packages_are_reported(monkeypatch):
    with pytest.raises(UserError, match=r"unknown.*'jax/Pendulum-v2'; did you mean 'jax/Pendulum-v1'"):
        jax_env.find("jax/Pendulum-v2")
    monkeypatch.setitem(sys.modules, "gymnax", None)
    with pytest.raises(UserError, match="pip install gymnax"):
        jax_env.find("gymnax/CartPole-v1")
    with pytest.raises(UserError, match="cannot import no_such_module"):
        jax_env.find("no_such_module:jax/A-v0")
    assert jax_env.find("Pendulum-v1") is None
    assert jax_env.find("some_module:Thing-v0") is None
    assert jax_env.find(None) is None
    assert jax_env.find("holdfast/nothing-v0") is None


def test_whole_episodes_are_put_together_outside():
    env = jax_env.find("jax/Pendulum-v1")
    assert fits(env, env.spec, Collect())
    assert not fits(env, env.spec, Collect(whole=True))
    assert not fits(None, env.spec, Collect())
