"""Probabilities and densities of a policy's actions, worked by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from holdfast import UserError
from holdfast.algorithms import registry
from holdfast.core.config import as_arrays
from holdfast.core.contract import Context
from holdfast.core.noise import Noise
from holdfast.core.spec import Spec
from holdfast.parts.distributions import Categorical, Deterministic, Normal
from holdfast.policy.policy import Policy
from support.policies import FAKE, MEMORY, PICK, continuous, discrete, make, scores

OBS = np.array([[0.0, 1.0, 2.0], [1.0, 1.0, 1.0]], np.float32)


def categorical(cfg, state, seen, memory):
    return Categorical(scores(cfg, state, seen))


def normal(cfg, state, seen, memory):
    mean = scores(cfg, state, seen)
    return Normal(mean, jnp.full_like(mean, jnp.log(0.5)))


CHOOSES = PICK._replace(name="chooses", dist=categorical)
DRAWS = FAKE._replace(name="draws", dist=normal)


@pytest.fixture
def chooser():
    return make(CHOOSES, Spec((3,), 4, True), discrete(3, 4, 5))  # actions 5 to 8


def logits(policy, obs):
    net = policy.state.actor.net
    return 0.3 * (policy.fitted.observe(obs) @ np.asarray(net["weight"]) + np.asarray(net["bias"]))


def test_probabilities_are_the_softmax(chooser):
    x = logits(chooser, OBS)
    wanted = np.exp(x) / np.exp(x).sum(1, keepdims=True)
    np.testing.assert_allclose(chooser.probabilities(OBS), wanted, rtol=1e-5)
    np.testing.assert_allclose(chooser.probabilities(OBS[0]), wanted[0], rtol=1e-5)
    np.testing.assert_allclose(chooser.log_prob(OBS, [5, 8]), np.log(wanted[[0, 1], [0, 3]]), rtol=1e-5)
    assert chooser.log_prob(OBS[0], 6).shape == ()
    best = chooser(OBS)
    np.testing.assert_allclose(chooser.log_prob(OBS, best), np.log(wanted.max(1)), rtol=1e-5)


def test_masked_actions_have_no_probability(chooser):
    mask = [[True, False, True, True], [False, False, True, False]]
    x = np.where(mask, np.exp(logits(chooser, OBS)), 0)
    np.testing.assert_allclose(chooser.probabilities(OBS, mask=mask), x / x.sum(1, keepdims=True), rtol=1e-5)
    assert chooser.log_prob(OBS, [6, 7], mask=mask).tolist() == [-np.inf, 0.0]
    with pytest.raises(UserError, match="no action is legal"):
        chooser.probabilities(OBS, mask=[[True] * 4, [False] * 4])


def test_densities_are_in_the_units_of_the_environment():
    policy = make(DRAWS, fitted=continuous(low=(-2.0, 0.0), high=(1.0, 10.0)))  # half widths 1.5 and 5
    action = np.array([[-0.5, 5.0], [0.25, 2.5]])
    inside = (action - [-0.5, 5.0]) / [1.5, 5.0]
    mean = logits(policy, OBS)
    each = -0.5 * ((inside - mean) / 0.5) ** 2 - np.log(0.5) - 0.5 * np.log(2 * np.pi)
    wanted = each.sum(1) - np.log(1.5) - np.log(5.0)
    np.testing.assert_allclose(policy.log_prob(OBS, action), wanted, rtol=1e-5)
    np.testing.assert_allclose(policy.log_prob(OBS[0], action[0]), wanted[0], rtol=1e-5)


def test_a_policy_with_memory_is_asked_with_its_memory():
    def dist(cfg, state, seen, memory):
        return Categorical(jnp.stack([memory["steps"], jnp.zeros_like(memory["steps"])], 1) + 0 * seen.obs[:, :1])

    def act(cfg, state, seen, memory, noise, mode):
        return jnp.zeros(len(seen.obs), int), {**memory, "steps": memory["steps"] + 1}

    remembers = MEMORY._replace(name="remembers", act=act, dist=dist)
    policy = make(remembers, Spec((3,), 2, True), discrete(3, 2, 0))
    assert policy.probabilities(OBS[0]).tolist() == [0.5, 0.5]
    _, memory = policy.act(OBS[:1])
    e = np.exp(1.0)
    np.testing.assert_allclose(policy.probabilities(OBS[0], memory=memory, reward=1.0), [e / (1 + e), 1 / (1 + e)])


def test_what_a_policy_does_not_have_is_named(chooser):
    with pytest.raises(UserError, match="fake gives no distribution of its actions"):
        make().log_prob(OBS, [[0, 1], [0, 1]])
    with pytest.raises(UserError, match="continuous actions: use log_prob"):
        make(DRAWS).probabilities(OBS)
    fixed = FAKE._replace(name="fixed", dist=lambda cfg, state, seen, memory: Deterministic(scores(cfg, state, seen)))
    with pytest.raises(UserError, match="fixed is deterministic: its actions have no density"):
        make(fixed).log_prob(OBS, [[0, 1], [0, 1]])
    with pytest.raises(UserError, match="chooses assigns no values to actions"):
        chooser.value(OBS)


@pytest.mark.parametrize(
    ("action", "text"),
    [
        ([5, 9], r"row 1 is 9, outside"),
        ([4, 5], r"row 0 is 4, outside"),
        ([5.0, 6.0], "type float64, expected whole numbers"),
        ([5], r"shape \(1,\), expected \(2,\)"),
    ],
)
def test_bad_discrete_actions_are_refused(chooser, action, text):
    with pytest.raises(UserError, match=text):
        chooser.log_prob(OBS, action)


@pytest.mark.parametrize(
    ("action", "text"),
    [
        ([[0.0, 1.0], [0.0, 10.1]], r"row 1 is \[0.0, 10.1\], outside"),
        ([[0.0, np.nan], [0.0, 1.0]], "row 0 is .*outside"),
        ([0.0, 1.0], r"shape \(2,\), expected \(2, 2\)"),
    ],
)
def test_bad_continuous_actions_are_refused(action, text):
    with pytest.raises(UserError, match=text):
        make(DRAWS).log_prob(OBS, action)


def test_a_network_of_action_values_needs_no_critic_of_the_run():
    algorithm = registry.get("dqn")
    cfg = algorithm.Config(hidden=(8,))
    spec = Spec((3,), 2, True)
    state = algorithm.init(as_arrays(cfg), Context(spec), Noise(jax.random.PRNGKey(0)))
    policy = Policy(algorithm, cfg, state, spec, discrete(3, 2, 0))
    values = np.stack([policy.value(OBS, [a, a]) for a in (0, 1)], 1)
    np.testing.assert_allclose(policy.value(OBS), values.max(1))
    assert policy(OBS).tolist() == values.argmax(1).tolist()
    np.testing.assert_allclose(policy.probabilities(OBS), np.eye(2)[values.argmax(1)])
    assert policy.value(OBS, mask=[[True, False]] * 2).tolist() == values[:, 0].tolist()
