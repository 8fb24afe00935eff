"""The conservative penalty of CQL and Cal-QL: candidate actions and the dual variable, worked by hand."""

from __future__ import annotations

import math

import jax.numpy as jnp
import numpy as np
import pytest

from holdfast.core.noise import Tape
from holdfast.core.trained import Trained
from holdfast.parts import conservative, optimisers
from holdfast.parts.distributions import TanhNormal
from support.formulas import array, rows, same

pytestmark = pytest.mark.usefixtures("x64")


def test_candidates_and_their_densities(run):
    """Uniform actions of density .5^A, then the policy's at s' and at s with its own densities."""
    batch = rows(jnp.zeros((1, 1)), jnp.zeros((1, 2)))
    policy = TanhNormal(array([0.1, 0.2]), array([-1, 0]))
    next_policy = TanhNormal(array([-1, 1]), array([0, 0]))
    tape = {"random_action": jnp.full((2, 1, 2), 0.75)}
    tape |= {f"cql_{n}_action": jnp.full((2, 1, 2), e) for n, e in (("current", 0.3), ("next", -0.4))}
    action, log_density = run(lambda t: conservative.candidates(2, policy, next_policy, batch, Tape(t)), tape)
    assert action.shape == (6, 1, 2)
    same(action[0, 0], [0.5, 0.5])
    same(action[2, 0], np.tanh([-1.4, 0.6]))
    same(action[5, 0], np.tanh([0.1 + 0.3 / math.e, 0.5]))
    same(log_density[:2, 0], [-2 * math.log(2)] * 2)
    wanted = [next_policy.repeat(2).log_prob(action[2:4]), policy.repeat(2).log_prob(action[4:])]
    same(log_density[2:], jnp.concatenate(wanted), 1e-8)


def test_the_dual_variable_moves_only_if_it_is_learned(run):
    """Plain descent of rate 1 on -dual (3 d - .25) in log dual: dual 2, d 1 adds 2 * 2.75 to its logarithm."""
    tx = optimisers.sgd(1.0, 0.0)
    dual = Trained.new(jnp.log(2.0), tx)
    moved, metrics = run(lambda d: conservative.dual_step(dual, tx, d, 3.0, 0.25, True), jnp.asarray(1.0))
    same(moved.net, math.log(2) + 2 * 2.75)
    same(metrics["dual/loss"], -2 * 2.75)
    kept, metrics = run(lambda d: conservative.dual_step(dual, tx, d, 3.0, 0.25, False), jnp.asarray(1.0))
    same(kept.net, math.log(2))
    assert metrics == {}


def test_penalties(run):
    for learned, wanted in ((False, [3, -6]), (True, [2 * 2.75, 2 * -6.25])):
        same(run(lambda d, x=learned: conservative.penalty(d, 3.0, 0.25, 2.0, x), array(1, -2)), wanted)
