"""Values of discrete actions against numbers worked by hand."""

import jax
import jax.numpy as jnp
import pytest

from holdfast.core.noise import Noise, Tape
from holdfast.core.spec import Spec
from holdfast.parts import action_values as av
from support.formulas import array, constant_values, discrete_batch, near

NOISE = Noise(jax.random.PRNGKey(0))
SPEC = Spec((3,), 4, discrete=True)


def test_the_outputs_are_laid_out_action_by_action():
    values = constant_values([[1, 2, 3], [4, 5, 6]])(jnp.zeros((7, 3)))
    assert values.shape == (7, 2, 3)
    near(values[0], [[1, 2, 3], [4, 5, 6]])
    near(av.pick(values[:2], jnp.array([1, 0])), [[4, 5, 6], [1, 2, 3]])


@pytest.mark.slow
def test_mixing_the_last_layer_is_mixing_the_outputs():
    net = av.action_values(NOISE, SPEC, (8, 8), 5)
    obs, weights = NOISE.normal("obs", (6, 3)), jnp.array([0.1, 0.2, 0.0, 0.4, 0.3])
    assert net(obs).shape == (6, 4, 5)
    near(net.mix(weights)(obs)[..., 0], net(obs) @ weights)
    near(net.mean(obs), net(obs).mean(-1))


def test_the_best_legal_action():
    q = array([3, 1, 2], [3, 1, 2], [3, 1, 2])
    mask = jnp.array([[1, 1, 1], [0, 1, 1], [0, 0, 0]], bool)
    assert av.best(q).tolist() == [0, 0, 0]
    assert av.best(q, mask).tolist() == [0, 2, 0]  # none legal: 0, whose value an end cuts


def test_the_double_target():
    # online prefers action 0, the target network action 1; legal at the second row: only action 2
    online, target = constant_values([[3], [1], [0]]), constant_values([[10], [20], [5]])
    mask = jnp.array([[1, 1, 1], [0, 0, 1]], bool)
    rows = discrete_batch(next_mask=mask)
    near(av.next_values(online, target, rows, True), [[10], [5]])
    near(av.next_values(online, target, rows, False), [[20], [5]])
    # quantiles: chosen by their means, 2 against 3; all of them returned
    target = constant_values([[0, 4], [1, 5]])
    near(av.next_values(target, target, discrete_batch(), False), [[1, 5], [1, 5]])


def test_the_target_of_each_estimate():
    rows = discrete_batch(reward=array(1, 1), terminated=array(0, 1))
    near(av.td(rows, array([2, 4], [2, 4]), 0.5), [[2, 3], [1, 1]])


def test_a_greedy_distribution():
    dist = av.greedy(array([1, 3, 2], [9, 3, 2]), jnp.array([[1, 1, 1], [0, 0, 1]], bool))
    near(jnp.exp(dist.log_probs()), [[0, 1, 0], [0, 0, 1]])
    near(dist.entropy(), [0, 0])
    assert dist.mode().tolist() == [1, 2]


def test_epsilon():
    assert [float(av.epsilon_at(s, 0.1, 10)) for s in (0, 5, 10, 99)] == pytest.approx([1, 0.55, 0.1, 0.1])
    assert av.epsilon_at(5, 0.1, 0) == 0.1
    dist = av.greedy(array([1, 3, 2], [1, 3, 2]))
    mask = jnp.array([[1, 1, 1], [1, 1, 0]], bool)
    # row 0 explores (.05 < .1) and takes the largest uniform that is legal, row 1 does not
    tape = Tape({"explore": array(0.05, 0.5), "random_action": array([0.2, 0.3, 0.9], [0.9, 0.1, 0.95])})
    assert av.epsilon_greedy(dist, mask, 0.1, tape, "explore").tolist() == [2, 1]
    tape = Tape({"explore": array(0.05, 0.05), "random_action": array([0.2, 0.3, 0.9], [0.9, 0.1, 0.95])})
    assert av.epsilon_greedy(dist, mask, 0.1, tape, "explore").tolist() == [2, 0]
    for mode in ("best", "sample"):
        assert av.epsilon_greedy(dist, mask, 1.0, Tape({}), mode).tolist() == [1, 1]
