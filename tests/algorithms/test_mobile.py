"""MOBILE: its target and the disagreement of the elites about the next value, worked by hand."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from holdfast.algorithms import mobile
from holdfast.core.noise import Tape
from holdfast.core.tree import PyTree
from support.formulas import Fixed, batch, critics, same

pytestmark = pytest.mark.usefixtures("x64")


class Three(PyTree):
    """Three members: the observation moves by 1, 3 and 5 with deviations 0, 1 and 2; members 0 and 2 are the elites."""

    elites: jnp.ndarray

    def predict(self, obs, action):
        change = jnp.asarray([1.0, 3.0, 5.0])[:, None, None]
        std = jnp.asarray([0.0, 1.0, 2.0])[:, None, None]
        shape = (3, len(obs), 2)  # one observation, and the reward
        return jnp.broadcast_to(change, shape), jnp.broadcast_to(std, shape)


def test_the_inconsistency_is_the_deviation_of_mean_next_values():
    rows = batch(action=jnp.asarray([[0.5], [0.0]]))
    noise = Tape({
        "penalty_model": np.array([0.5, -0.5]).reshape(1, 2, 1, 1) * np.ones((2, 2, 2, 2)),
        "penalty_action": np.zeros((2, 2, 2, 1)),
    })  # fmt: skip

    class At(Fixed):
        def sample(self, eps):
            return jnp.broadcast_to(self.action, eps.shape)

    critic = critics([1, 0], [2, 0])  # Q = s' and 2 s', the smaller one counts: s' > 0 here
    cfg = mobile.MOBILE(samples=2)
    found = mobile.inconsistency(cfg, Three(jnp.asarray([0, 2])), At(jnp.zeros(1)), critic, rows, noise)
    # samples of member 0: s + 1 twice; of member 2: s + 5 +- 1, with the mean s + 5. The deviation of (1, 5) is sqrt 8
    same(found, [np.sqrt(8), np.sqrt(8)])


def test_the_target():
    rows = batch(reward=jnp.asarray([1.0, 1.0]), terminated=jnp.asarray([0.0, 1.0]))
    cfg = mobile.MOBILE(penalty_weight=2.0, discount=0.5)
    value = jnp.asarray([8.0, 8.0])
    same(mobile.target(cfg, rows, value, jnp.asarray([1.0, 0.0])), [1 - 2 + 4, 1])
    same(mobile.target(cfg, rows, value, jnp.asarray([9.0, 9.0])), [0, 0])
    free = mobile.MOBILE(penalty_weight=2.0, discount=0.5, nonnegative=False)
    same(mobile.target(free, rows, value, jnp.asarray([9.0, 9.0])), [1 - 18 + 4, 1 - 18])


def test_the_temperature_is_bounded():
    cfg = mobile.MOBILE()
    same(mobile.temperature_of(cfg, jnp.log(jnp.asarray([0.5, 3.0]))), [0.5, 1.0])


def test_the_penalty_needs_two_elites():
    (fault,) = mobile.check(mobile.MOBILE(elites=1))
    assert fault.startswith("elites is 1")
