"""Action masks: what the data forbid is in no loss and no target, is never done, and never evaluated."""

from __future__ import annotations

import dataclasses

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from holdfast.algorithms import bc, registry
from holdfast.core.config import as_arrays, over_the_run
from holdfast.core.contract import Context
from holdfast.core.noise import Noise
from holdfast.core.spec import Batch, Seen, Spec
from holdfast.data.dataset import Dataset
from holdfast.evaluation.evaluate import evaluate
from holdfast.parts import layers, nets
from holdfast.parts.action_values import ActionValues
from holdfast.parts.distributions import Categorical
from holdfast.training.run import train
from support.marks import quick

ACTIONS, ILLEGAL, ROWS = 4, 3, 32
LEARN = [n for n in registry.names() if not registry.get(n).inputs]  # the others evaluate another run's policy
# tables; a network of windows, see its own tests
ELSEWHERE = ("tabular_bcq", "tabular_mabcq", "decision_transformer")
NAMES = [n for n in LEARN if "discrete" in registry.get(n).actions and n not in ELSEWHERE]
each = pytest.mark.parametrize("name", quick(NAMES, "dqn"))
HEADS = (nets.Critic, nets.CategoricalPolicy, ActionValues)


def heads(state) -> list:
    """The networks of a state that say something of every action."""
    return [x for x in jax.tree.leaves(state, is_leaf=lambda x: isinstance(x, HEADS)) if isinstance(x, HEADS)]


def net_of(head) -> layers.MLP:
    return head.nets if isinstance(head, nets.Critic) else head.net


def spoiled(state):
    """The same state, whose networks say something absurd of the illegal action."""

    def one(head):
        if not isinstance(head, HEADS):
            return head
        net = net_of(head)
        *body, last = net.layers
        shape = last.bias.shape
        each_action = last.bias.reshape(*shape[: len(shape) - 1], ACTIONS, -1)
        bias = each_action.at[..., ILLEGAL, :].add(1e3).reshape(shape)
        made = dataclasses.replace(net, layers=(*body, layers.Linear(last.weight, bias)))
        return dataclasses.replace(head, **{"nets" if isinstance(head, nets.Critic) else "net": made})

    return jax.tree.map(one, state, is_leaf=lambda x: isinstance(x, HEADS))


def of_legal_actions(state, obs) -> list[np.ndarray]:
    """What every network says of the legal actions."""
    found = []
    for head in heads(state):
        net = net_of(head)
        out = layers.members(net, obs) if isinstance(head, nets.Critic) else net(obs)
        found.append(np.asarray(out.reshape(*out.shape[:-1], ACTIONS, -1))[..., :ILLEGAL, :])
    return found


@each
def test_nothing_is_learned_from_an_illegal_action(name):
    """Where it is illegal in every row, what the networks say of it changes no loss, no target and no other output."""
    algorithm, rng = registry.get(name), np.random.default_rng(0)
    cfg = next(iter(algorithm.presets.values())).config
    small = {f.name: (8,) for f in dataclasses.fields(cfg) if f.name.endswith("hidden")}
    small |= {n: 4 for n in ("heads", "quantiles") if hasattr(cfg, n)}
    rates = {f.name: 1e-2 for f in dataclasses.fields(cfg) if f.name.endswith("lr")}
    cfg = as_arrays(over_the_run(dataclasses.replace(cfg, **small, **rates), 10))
    mask = jnp.arange(ACTIONS)[None] != jnp.full((ROWS, 1), ILLEGAL)
    obs, following = (jnp.asarray(rng.normal(size=(ROWS, 3)), jnp.float32) for _ in range(2))
    reward, written = (jnp.asarray(rng.normal(size=ROWS), jnp.float32) for _ in range(2))
    ended, cut = jnp.zeros(ROWS), jnp.zeros(ROWS)
    action = jnp.asarray(rng.integers(0, ILLEGAL, ROWS))
    extra = {"weight": jnp.abs(written), "lambda_return": written}  # AWR's own columns
    batch = Batch(obs, action, reward, following, ended, cut, mask, mask, extra)
    spec = Spec((3,), ACTIONS, discrete=True, masked=True)
    update = algorithm.update or algorithm.phases(cfg)[-1].update

    @jax.jit
    def learn(state):
        for step in range(2):
            state, metrics = update(cfg, state, batch, Noise(jax.random.PRNGKey(step)), step)
        return state, metrics

    state = algorithm.init(cfg, Context(spec, None), Noise(jax.random.PRNGKey(0)))
    (one, metrics), (other, other_metrics) = learn(state), learn(spoiled(state))
    for a, b in zip(of_legal_actions(one, obs), of_legal_actions(other, obs), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    assert any((a != b).any() for a, b in zip(of_legal_actions(one, obs), of_legal_actions(state, obs), strict=True))
    for metric in metrics:
        np.testing.assert_allclose(
            jax.tree.leaves(metrics[metric]),
            jax.tree.leaves(other_metrics[metric]),
            rtol=1e-3,
            atol=1e-4,
            err_msg=metric,
        )
    seen = Seen(obs, jnp.zeros(ROWS), mask)
    for mode in ("best", "sample", "explore"):
        chosen, _ = algorithm.act(cfg, other, seen, (), Noise(jax.random.PRNGKey(1)), mode)
        assert (np.asarray(chosen) != ILLEGAL).all(), mode


def test_the_likelihood_is_that_among_legal_actions():
    dist = Categorical(jnp.log(jnp.array([[0.1, 0.2, 0.3, 0.4]])))
    legal = dist.among(jnp.array([[True, True, False, False]]))
    np.testing.assert_allclose(np.exp(legal.log_probs()), [[1 / 3, 2 / 3, 0, 0]], rtol=1e-6)
    assert legal.log_prob(jnp.array([1]))[0] == pytest.approx(np.log(2 / 3))
    # BC's penalty: the mean of squares over the two that are legal
    wanted = (np.log(1 / 3) ** 2 + np.log(2 / 3) ** 2) / 2
    assert bc.squared_log_probs(legal)[0] == pytest.approx(wanted, rel=1e-5)
    assert bc.squared_log_probs(dist)[0] == pytest.approx(np.square(np.log([0.1, 0.2, 0.3, 0.4])).mean(), rel=1e-5)


def test_after_an_end_no_action_is_legal_and_nothing_turns_nan():
    dist = Categorical(jnp.array([[1.0, 2.0], [0.0, 0.0]]))
    none = dist.among(jnp.array([[False, False], [True, False]]))
    np.testing.assert_allclose(np.exp(none.log_probs())[0], np.exp([1, 2]) / np.exp([1, 2]).sum(), rtol=1e-6)
    np.testing.assert_allclose(np.exp(none.log_probs())[1], [1, 0])


class Doors(gymnasium.Env):
    """Ten rooms in a row with three doors each; one is shut, and pushing it is an error."""

    observation_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gymnasium.spaces.Discrete(3)

    def see(self):
        self.shut = int(self.np_random.integers(3))
        mask = np.arange(3) != self.shut
        return self.np_random.uniform(-1, 1, 2).astype(np.float32), {"action_mask": mask.astype(np.int8)}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.room = 0
        return self.see()

    def step(self, action):
        if action == self.shut:
            raise ValueError("that door is shut")
        self.room += 1
        obs, info = self.see()
        return obs, float(action == 2), self.room == 10, False, info


@pytest.mark.parametrize("name", quick(["bc", "iql"], "bc"))
def test_a_shipped_policy_obeys_the_masks_of_its_environment(name, tmp_path):
    """The data always take door 2 if it is open: without the mask every policy would push it where it is closed."""
    gymnasium.register("holdfast-test/Doors-v0", Doors)
    env, rng, episodes = Doors(), np.random.default_rng(0), []
    for e in range(12):
        obs, info = env.reset(seed=e)
        rows = {"observations": [obs], "actions": [], "rewards": [], "action_mask": [info["action_mask"]]}
        ended = False
        while not ended:
            legal = np.flatnonzero(rows["action_mask"][-1])
            action = int(legal[-1] if rng.random() < 0.8 else legal[0])
            obs, reward, ended, _, info = env.step(action)
            for key, value in zip(rows, (obs, action, reward, info["action_mask"]), strict=True):
                rows[key].append(value)
        rows["action_mask"][-1] = np.zeros(3, np.int8)  # after the end nothing is legal
        last = np.arange(10) == 9
        episodes.append(
            {k: np.stack(v) for k, v in rows.items()} | {"terminations": last, "truncations": np.zeros(10, bool)}
        )
    data = Dataset.from_episodes(episodes, action_space=Doors.action_space)
    rates = ("actor_lr", "value_lr", "critic_lr") if name == "iql" else ("actor_lr",)
    config = {"hidden": (16,), "batch_size": 32, **dict.fromkeys(rates, 3e-3)}
    run = train(name, data, steps=300, block=300, evaluate=False, config=config, out=tmp_path / "run")
    try:
        found = evaluate(run.policy(), "holdfast-test/Doors-v0", episodes=5)
        sampled = evaluate(run.policy(), "holdfast-test/Doors-v0", episodes=5, mode="sample")
    finally:
        del gymnasium.registry["holdfast-test/Doors-v0"]
    assert (found.lengths == 10).all()
    assert (sampled.lengths == 10).all()
    assert found.returns.mean() > 5  # door 2 is open in two rooms of three
