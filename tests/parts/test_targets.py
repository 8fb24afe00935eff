"""Bootstrapped targets against numbers worked by hand."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from holdfast.parts import targets
from support.formulas import (
    array,
    same,
    transitions,
)

pytestmark = pytest.mark.usefixtures("x64")


def test_td_target(run):
    # 1 + .9 * 10;  true end: 1;  time limit: still 1 + .9 * 10
    batch = transitions([1, 1, 1], [0, 1, 0], [0, 0, 1])
    same(run(targets.td, batch, array(10, 10, 10), 0.9), [10, 1, 10])
    # a logged discount of .5 and 0 multiplies: 1 + .9 * .5 * 10, 1 + 0, and the true end stays an end
    batch = transitions([1, 1, 1], [0, 0, 1], [0, 0, 0], discount=array(0.5, 0, 1))
    same(run(targets.td, batch, array(10, 10, 10), 0.9), [5.5, 1, 1])


REWARD, NEXT = [1, 2, 3, 4, 5], [10, 20, 30, 40, 50]


LAST = np.array([False, False, True, False, True])


@pytest.mark.parametrize(
    ("trace", "wanted"),
    [
        # lambda 0: r + .5 V(s'), the third step ends truly
        (0.0, [6, 12, 3, 24, 30]),
        # lambda 1: 3; 2 + .5 * 3; 1 + .5 * 3.5 and, beyond the time limit, 5 + .5 * 50; 4 + .5 * 30
        (1.0, [2.75, 3.5, 3, 19, 30]),
        # lambda .5: 2 + .5 (.5 * 20 + .5 * 3); 1 + .5 (.5 * 10 + .5 * 7.75); 4 + .5 (.5 * 40 + .5 * 30)
        (0.5, [5.4375, 7.75, 3, 21.5, 30]),
    ],
)
def test_lambda_returns(run, trace, wanted):
    bootstrap = 0.5 * (1 - array(0, 0, 1, 0, 0))
    same(run(targets.lambda_returns, array(*REWARD), array(*NEXT), bootstrap, LAST, trace), wanted)


def test_lambda_returns_on_many_episodes_are_the_loop_over_steps(run):
    rng = np.random.default_rng(0)
    n, last = 500, rng.random(500) < 0.1
    last[-1] = True
    reward, value, bootstrap = rng.normal(size=n), rng.normal(size=n), 0.97 * (rng.random(n) > 0.05)
    wanted, after = np.zeros(n), 0.0
    for t in reversed(range(n)):
        after = value[t] if last[t] else 0.1 * value[t] + 0.9 * after
        after = wanted[t] = reward[t] + bootstrap[t] * after
    same(run(targets.lambda_returns, reward, value, jnp.asarray(bootstrap), jnp.asarray(last), 0.9), wanted, 1e-10)
