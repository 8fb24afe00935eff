"""The natural policy gradient: advantages by hand, the conjugate gradient, and the size of a step."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from holdfast.core.noise import Noise
from holdfast.core.spec import Spec
from holdfast.parts import natural_gradient as natural
from holdfast.parts import nets

pytestmark = pytest.mark.usefixtures("x64")

REWARD = jnp.asarray([[1.0, 1.0], [2.0, 5.0], [3.0, 9.0]])
VALUE = jnp.asarray([[0.5, 2.0], [1.0, 0.0], [4.0, 0.0]])
ALIVE = jnp.asarray([[True, True], [True, False], [True, False]])


def test_advantages_bootstrap_with_the_value_of_the_last_state():
    found = natural.gae(REWARD, VALUE, ALIVE, 0.9, 0.5)
    last = 3 + 0.9 * 4 - 4
    middle = 2 + 0.9 * 4 - 1 + 0.45 * last
    first = 1 + 0.9 * 1 - 0.5 + 0.45 * middle
    np.testing.assert_allclose(found[:, 0], [first, middle, last])
    np.testing.assert_allclose(found[:, 1], [1 + 0.9 * 2 - 2, 0, 0])


def test_sums_stop_where_a_path_ends():
    found = natural.discounted_sums(REWARD, ALIVE, 0.5)
    np.testing.assert_allclose(found, [[1 + 0.5 * (2 + 0.5 * 3), 1], [2 + 0.5 * 3, 0], [3, 0]])


def test_whitening_sees_the_steps_that_exist():
    found = np.asarray(natural.whitened(REWARD, ALIVE))
    inside = found[np.asarray(ALIVE)]
    assert inside.mean() == pytest.approx(0, abs=1e-6)
    assert inside.std() == pytest.approx(1, abs=1e-5)
    assert not found[~np.asarray(ALIVE)].any()


def test_the_conjugate_gradient_solves_a_system():
    rng = np.random.default_rng(0)
    half = rng.normal(size=(5, 5))
    matrix = jnp.asarray(half @ half.T + np.eye(5))
    b = jnp.asarray(rng.normal(size=5))
    found = natural.conjugate_gradient(lambda x: {"x": matrix @ x["x"]}, {"x": b}, 8)["x"]
    np.testing.assert_allclose(found, np.linalg.solve(matrix, b), rtol=1e-8)


def test_a_step_is_at_most_half_of_its_size_in_divergence_and_raises_the_surrogate():
    """Without damping the divergence is half of the size; damping makes the step shorter."""
    noise = Noise(jax.random.PRNGKey(0))
    policy = nets.gaussian_policy(noise, Spec((2,), 1), (4,), squash="none", activation="tanh")
    obs = noise.normal("obs", (50, 2))
    action = policy(obs).mean + noise.normal("eps", (50, 1))
    advantage = action[:, 0] * obs[:, 0]
    alive = jnp.arange(50) < 40
    delta = 1e-6
    given = (policy, obs, action, jnp.where(alive, advantage, 0), alive, delta, 1e-3)
    new, gain = jax.jit(lambda *x: natural.natural_step(*x, steps=20))(*given)
    assert gain > 0
    old, moved = jax.jit(lambda *policies: [one(obs) for one in policies])(policy, new)
    spread = jnp.exp(2 * (old.log_std - moved.log_std)) + jnp.square((old.mean - moved.mean) / jnp.exp(moved.log_std))
    divergence = (moved.log_std - old.log_std + 0.5 * spread - 0.5).sum(-1)[:40].mean()
    assert 0.3 < divergence / (0.5 * delta) < 1.02
    ratio = jnp.exp(moved.log_prob(action) - old.log_prob(action))
    assert (ratio * advantage)[:40].mean() > advantage[:40].mean()
