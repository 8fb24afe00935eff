"""Policies that follow a return: how it reaches them when they act, are evaluated, served and shipped."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from holdfast.algorithms import registry
from holdfast.core.config import config
from holdfast.core.contract import Algorithm, Preset, Treatment, Windows
from holdfast.core.errors import UserError
from holdfast.core.trained import Trained
from holdfast.core.tree import PyTree
from holdfast.evaluation.evaluate import evaluate
from holdfast.parts import optimisers
from holdfast.parts.sequences import Asked
from holdfast.policy.policy import Policy
from holdfast.report.asked import draw
from holdfast.runs.settings import Settings
from holdfast.training.plan.plan import plan
from holdfast.training.run import train
from support.small_runs import DATA


@config
class Follower:
    """Acts by what is left of the return that it is asked for."""

    target_return: tuple[float, ...] = (-300.0, -900.0)
    delayed: bool = False
    actor_lr: float = 1e-3
    batch_size: int = 8


class State(PyTree):
    actor: Trained
    asked: Asked


def init(cfg, ctx, noise):
    return State(Trained.new(jnp.zeros(()), optimisers.adam(cfg.actor_lr)), Asked.of(ctx))


def update(cfg, state, batch, noise, step):
    actor, metrics = state.actor.step(
        optimisers.adam(cfg.actor_lr), lambda w, x: (jnp.square(w - x).mean(), {}), batch.reward, name="actor"
    )
    return dataclasses.replace(state, actor=actor), metrics


def target(cfg, state):
    return state.asked.first(cfg.target_return)


def memory(cfg, spec, n):
    return {"left": jnp.zeros(n), "steps": jnp.zeros(n, jnp.int32)}


def act(cfg, state, seen, memory, noise, mode):
    own = jnp.broadcast_to(target(cfg, state), seen.reward.shape)
    first = own if seen.target is None else seen.target
    left = jnp.where(memory["steps"] == 0, first, memory["left"] - seen.reward)
    return jnp.tanh(left)[:, None], {"left": left, "steps": memory["steps"] + 1}


ALGORITHM = Algorithm(
    "follower",
    Follower,
    init,
    update,
    act,
    {"only": Preset(Follower(), Treatment(reward_scale=1e-3), "here")},
    memory=memory,
    target=target,
    needs=lambda cfg: Windows(2),
)
SMALL = {"steps": 4, "block": 4, "eval_episodes": 2, "progress": False}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(registry._registered, "follower", ALGORITHM)
        yield train("follower", DATA, seeds=2, out=tmp_path_factory.mktemp("runs") / "run", **SMALL)


def outside(left):
    """The action of Pendulum for what is left of a treated return."""
    return 2 * np.tanh(left)


def test_a_run_records_what_each_target_reached_and_its_policy_names_its_own(run):
    first, second = run.result["targets"]
    assert (first["target"], second["target"]) == (-300.0, -900.0)
    assert np.shape(second["returns"]) == (2, 2)
    assert first["returns"] == run.result["returns"]  # the same episodes, played with the policy's own target
    assert second["returns"] != first["returns"]
    policy = run.policy()
    assert policy.target_return == pytest.approx(-300)
    assert "return asked for -300" in repr(policy)
    assert policy.info["target"] == {"return": pytest.approx(-300), "unit": "sum of the raw rewards of an episode"}
    text = run.report().read_text(encoding="utf-8")
    assert "Reached and asked return" in text
    assert "asked for -900" in text


def test_acting_for_one_and_for_many_environments(run):
    """What is left falls by the raw reward of each step, in treated units."""
    policy = run.policy()
    obs = np.zeros(3, np.float32)
    action, kept = policy.act(obs)
    assert action == pytest.approx([outside(-0.3)], rel=1e-5)
    action, _ = policy.act(obs, kept, reward=-100.0)
    assert action == pytest.approx([outside(-0.2)], rel=1e-5)
    action, kept = policy.act(np.stack([obs] * 3), target_return=[-100.0, -300.0, 0.0])
    np.testing.assert_allclose(action[:, 0], outside(np.array([-0.1, -0.3, 0.0])), rtol=1e-5)
    action, _ = policy.act(np.stack([obs] * 3), kept, reward=[10.0, 0.0, -20.0])
    np.testing.assert_allclose(action[:, 0], outside(np.array([-0.11, -0.3, 0.02])), rtol=1e-5)
    assert policy.act(np.stack([obs] * 2), target_return=-100.0)[0][1] == pytest.approx([outside(-0.1)], rel=1e-5)


def test_several_targets_in_one_rollout_are_each_of_them_alone(run):
    policies = run.policies()
    both = evaluate(policies, "Pendulum-v1", episodes=2, seed=4, target_return=[-50, -1000], progress=False)
    assert both.targets.tolist() == [-50, -1000, -50, -1000]
    assert both.returns.shape == (4, 2)
    for i, asked in enumerate((-50.0, -1000.0)):
        alone = evaluate(policies, "Pendulum-v1", episodes=2, seed=4, target_return=asked, progress=False)
        np.testing.assert_allclose(both.returns[i::2], alone.returns, rtol=1e-5)
        np.testing.assert_array_equal(both.seeds[i::2], alone.seeds)
    assert both.to_dict()["target_returns"] == [-50, -1000, -50, -1000]
    figure = draw([-50, -1000], [both.returns[0::2], both.returns[1::2]])
    line = figure.axes[0].lines[-2]
    assert figure.axes[0].get_xlabel() == "return asked for"
    np.testing.assert_allclose(line.get_xdata(), [-1000, -50])
    np.testing.assert_allclose(line.get_ydata(), [both.returns[1::2].mean(), both.returns[0::2].mean()])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"memory": True}, r"give the reward of the step before, policy.act\(obs, memory, reward=...\)"),
        ({"target_return": [1.0, 2.0]}, r"target_return has shape \(2,\), expected one number or \(1,\)"),
        ({"target_return": float("nan")}, "target_return is nan, expected finite numbers, sums of raw rewards"),
        ({"target_return": "high"}, "target_return cannot be read as an array"),
    ],
)
def test_bad_arguments_of_acting(run, given, message):
    policy = run.policy()
    obs = np.zeros(3, np.float32)
    kept = policy.act(obs)[1] if given.pop("memory", False) else None
    with pytest.raises(UserError, match=message):
        policy.act(obs, kept, **given)


def test_a_call_without_a_memory_is_refused(run):
    with pytest.raises(UserError, match=r"remembers: use policy.act\(obs, memory\).*reward of the step before"):
        run.policy()(np.zeros(3, np.float32))


def test_targets_for_policies_that_follow_none(tmp_path):
    policy = train("bc", DATA, config={"hidden": [8]}, evaluate=False, out=tmp_path / "run", **SMALL).policy()
    assert policy.target_return is None
    with pytest.raises(UserError, match="bc follows no return: leave target_return out"):
        policy.act(np.zeros(3, np.float32), target_return=1.0)
    with pytest.raises(UserError, match="bc follows no return"):
        evaluate(policy, "Pendulum-v1", target_return=[1.0], progress=False)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"config": {"target_return": [-1e6]}}, r"--target-return -1e\+06: the returns of .* are from -1\d+\.?\d* to"),
        ({"treatment": {"reward_shift": 1.0}}, "rewards are shifted by 1, so a raw return has no treated value"),
    ],
)
def test_targets_that_cannot_be_asked_for_are_refused(register, given, message):
    register(ALGORITHM)
    with pytest.raises(UserError, match=message):
        plan(Settings.of("follower", data=DATA, **given))


def test_windows_that_are_longer_than_every_episode_are_refused(register):
    register(ALGORITHM._replace(needs=lambda cfg: Windows(201)))
    with pytest.raises(UserError, match=r"windows of 201 steps are longer than every episode .* has 200: ask"):
        plan(Settings.of("follower", data=DATA))


def test_whole_numbers_are_taken_as_returns(register, tmp_path):
    register(ALGORITHM)
    made = Settings.of("follower", data=DATA, config={"target_return": [-200, -400.5]})
    assert made.config["target_return"] == [-200.0, -400.5]
    with pytest.raises(UserError, match="target_return"):
        Settings.of("follower", data=DATA, config={"target_return": ["high"]})


def test_a_loaded_policy_follows_the_same_return(run):
    policy = run.policy()
    again = Policy.load(run.path / "policy" / "seed-0", ALGORITHM)
    assert again.target_return == policy.target_return
    obs = np.zeros(3, np.float32)
    np.testing.assert_array_equal(again.act(obs)[0], policy.act(obs)[0])
