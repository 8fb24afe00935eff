"""Fitted Q evaluation against numbers worked by hand."""

import dataclasses

import jax.numpy as jnp
import numpy as np

from holdfast.algorithms import evaluators, fqe, fqe_quantile
from holdfast.core.config import as_arrays
from holdfast.core.contract import Context, Frozen
from holdfast.core.spec import Seen, Spec
from holdfast.core.trained import Trained
from holdfast.parts import nets, optimisers
from holdfast.parts.distributions import Categorical
from support.formulas import NOISE, array, batch, linear, same, stack

SPEC = Spec((1,), 2)
DISCRETE = Spec((1,), 2, discrete=True)


def constant(action):
    """A deterministic policy."""

    def act(cfg, state, seen, memory, noise, mode):
        return jnp.broadcast_to(jnp.asarray(action, float), (len(seen.reward), 2)), memory

    return Frozen(SPEC, act, lambda cfg, spec, n: (), None, ())


def tossing():
    """A discrete policy: action 1 with probability 3/4."""

    def dist(cfg, state, seen, memory):
        return Categorical(jnp.log(jnp.broadcast_to(array(0.25, 0.75), (len(seen.reward), 2))))

    def act(cfg, state, seen, memory, noise, mode):
        return jnp.ones(len(seen.reward), int), memory

    return Frozen(DISCRETE, act, lambda cfg, spec, n: (), None, (), dist)


def state(critic, policy, low=-100.0, high=100.0, length=2.0):
    net = Trained.new(critic, fqe.optimiser_of(fqe.FQE()))
    return fqe.State(net, critic, fqe.Range(array(low)[0], array(high)[0], array(length)[0]), policy)


ROWS = batch(
    obs=array([1.0], [2.0]), action=array([0.5, 0.0], [0.0, 1.0]), reward=array(1.0, -1.0),
    next_obs=array([3.0], [4.0]), terminated=array(0.0, 1.0), truncated=array(0.0, 0.0),
)  # fmt: skip


def test_the_target_is_the_value_of_the_policy_action():
    critic = nets.Critic(stack(linear([1.0, 2.0, -1.0])))  # Q / length = s + 2 a0 - a1
    cfg = fqe.FQE(discount=0.5)
    found = state(critic, constant([0.25, 0.5]))
    _, metrics = fqe.update(as_arrays(cfg), found, ROWS, NOISE, 0)
    y = np.array([1 + 0.5 * 2 * (3 + 0.5 - 0.5), -1.0])
    q = 2 * np.array([1 + 1, 2 - 1.0])
    same(metrics["critic/target"], y.mean(), 1e-5)
    same(metrics["critic/loss"], np.square(q - y).mean(), 1e-5)


def test_discrete_actions_are_summed_over_as_the_policy_will_act():
    critic = nets.Critic(stack(linear([1.0], [-2.0])), discrete=True)
    seen = Seen(array([3.0], [4.0]), jnp.zeros(2))
    found = state(critic, tossing())
    sampled = [3 * 0.25 - 6 * 0.75, 4 * 0.25 - 8 * 0.75]
    for mode, values in (("sample", sampled), ("best", [-6.0, -8.0])):
        cfg = as_arrays(fqe.FQE(policy_mode=mode))
        same(fqe.policy_value(cfg, found, critic, seen, 0, NOISE), 2 * np.array(values), 1e-5)


def test_targets_stay_in_the_range_of_the_rewards():
    critic = nets.Critic(stack(linear([100.0, 0.0, 0.0])))
    found = state(critic, constant([0.0, 0.0]), -3.0, 5.0)
    _, metrics = fqe.update(as_arrays(fqe.FQE()), found, ROWS, NOISE, 0)
    same(metrics["critic/target"], (5.0 - 1.0) / 2, 1e-5)


def test_the_range_contains_zero_and_depends_on_the_horizon():
    ctx = Context(SPEC, None, {"reward_min": 1.0, "reward_max": 2.0})
    found = evaluators.range_of(as_arrays(fqe.FQE(discount=1.0, horizon=5)), ctx)
    same(found.length, np.array(5.0), 1e-6)
    same(array(found.low, found.high), np.array([-1.0, 11.0]), 1e-5)
    endless = evaluators.range_of(as_arrays(fqe.FQE(discount=0.9)), ctx)
    same(endless.length, np.array(10.0), 1e-5)


def test_nothing_follows_after_the_horizon():
    critic = nets.Critic(stack(linear([1.0, 8.0, 0.0, 0.0])))  # s + 8 t / T
    cfg = fqe.FQE(discount=1.0, horizon=4)
    rows = dataclasses.replace(ROWS, terminated=jnp.zeros(2), extra={"timestep": jnp.array([1, 3])})
    _, metrics = fqe.update(as_arrays(cfg), state(critic, constant([0.0, 0.0])), rows, NOISE, 0)
    y = np.array([1 + 2 * (3 + 8 * 2 / 4), -1.0])  # the second row is the last step
    q = 2 * np.array([1 + 8 / 4, 2 + 8 * 3 / 4])
    same(metrics["critic/target"], y.mean(), 1e-5)
    same(metrics["critic/loss"], np.square(q - y).mean(), 1e-5)


def test_weight_decay_does_not_depend_on_the_rate():
    critic = nets.Critic(stack(linear([1.0, 0.0, 0.0])))
    cfg = as_arrays(fqe.FQE(critic_lr=1e-9, weight_decay=0.25, polyak=1.0))
    new, _ = fqe.update(cfg, state(critic, constant([0.0, 0.0])), ROWS, NOISE, 0)
    same(new.critic.net.nets.layers[0].weight[0, 0, 0], np.array(0.75), 1e-5)
    same(new.target_critic.nets.layers[0].weight[0, 0, 0], np.array(0.75), 1e-5)


def test_quantiles_of_the_target():
    critic = fqe_quantile.Quantiles(linear([1.0, 0.0, 0.0], [2.0, 1.0, 0.0]), 2, False)
    cfg = fqe_quantile.FQEQuantile(quantiles=2, discount=0.5)
    trained = Trained.new(critic, optimisers.adam(1e-4))
    ranges = fqe.Range(array(-100.0)[0], array(100.0)[0], array(1.0)[0])
    found = fqe_quantile.State(trained, critic, ranges, constant([1.0, 0.0]))
    _, metrics = fqe_quantile.update(as_arrays(cfg), found, ROWS, NOISE, 0)
    y = np.array([[1 + 1.5, 1 + 0.5 * 7], [-1.0, -1.0]])
    z = np.array([[1.0, 2.5], [2.0, 4.0]])
    difference = y[:, None] - z[:, :, None]
    weight = np.abs(np.array([0.25, 0.75])[None, :, None] - (difference < 0))
    size = np.abs(difference)
    huber = np.where(size < 1, 0.5 * size**2, size - 0.5)
    same(metrics["critic/loss"], (weight * huber).mean(2).sum(1).mean(), 1e-5)
    same(metrics["critic/target"], y.mean(), 1e-5)


def test_faults():
    assert fqe.check(fqe.FQE(discount=1.0)) == ["discount is 1, expected below 1 without a horizon"]
    assert fqe.check(fqe.FQE(discount=1.0, horizon=10)) == []
    assert fqe.check(fqe.FQE(policy_mode="mean"))[0].startswith("policy_mode is 'mean', expected one of best, sample")
