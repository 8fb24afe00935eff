"""Gradient steps, metrics, and updates that happen now and then."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax
import pytest

from holdfast.core.trained import Trained, merge, occasionally, weighted
from holdfast.parts import optimisers
from support.formulas import (
    array,
    same,
)
from support.marks import both

pytestmark = pytest.mark.usefixtures("x64")


def quadratic(net, data):
    return ((net - data) ** 2).sum(), {"far": jnp.abs(net - data).max()}


@both
def test_a_gradient_step(run):
    # loss (1 - 3)^2 + (2 - 2)^2 = 4, gradient (-4, 0), norm 4; plain descent at .1: (1.4, 2)
    tx = optax.sgd(0.1)
    before = Trained.new(array(1, 2), tx)
    after, metrics = run(lambda t, d: t.step(tx, quadratic, d, name="net"), before, array(3, 2))
    same(after.net, [1.4, 2])
    assert {k: float(v) for k, v in metrics.items()} == {
        "net/loss": 4,
        "net/gradient_norm": 4,
        "net/far": 2,
    }
    other = after.replace(array(0, 0))
    assert other.opt is after.opt
    same(other.net, [0, 0])


@both
def test_the_gradient_norm_is_the_one_before_clipping(run):
    tx = optimisers.adam(0.1, clip_norm=1e-3)
    _, metrics = run(lambda t, d: t.step(tx, quadratic, d, name="net"), Trained.new(array(1, 2), tx), array(3, 2))
    assert metrics["net/gradient_norm"] == 4


def test_gradients_flow_into_the_network_only():
    tx = optax.sgd(0.1)

    def through(data):
        return Trained.new(data, tx).step(tx, lambda net, d: ((net * d).sum(), {}), data, name="n")[0].net.sum()

    # net = x, moved by -.1 x: what remains is .9 x, and its slope is .9 of the data given, not more
    same(jax.grad(through)(array(2.0)), [0.9])


def test_merge_refuses_a_metric_twice():
    assert merge({"a": 1}, {"b": 2}, {}) == {"a": 1, "b": 2}
    with pytest.raises(ValueError, match=r"reported twice: \['a'\]"):
        merge({"a": 1}, {"a": 2})


def test_weighted_metrics():
    found = weighted({"a": jnp.asarray(2.0), "b": (jnp.asarray(3.0), 0.0)})
    assert {k: (float(v), float(w)) for k, (v, w) in found.items()} == {"a": (2, 1), "b": (3, 0)}


@both
def test_occasionally(run):
    f = lambda s: (s + 1, {"m": s * 2})  # noqa: E731
    for step, wanted in ((3, (4.0, 6.0, 1.0)), (2, (3.0, 0.0, 0.0))):
        state, metrics = run(lambda t: occasionally(t == 3, f, jnp.asarray(3.0)), jnp.asarray(step))
        assert (float(state), *(float(x) for x in metrics["m"])) == wanted


def test_occasionally_stays_a_branch_under_vmap_over_replicas():
    f = lambda s: (jnp.sin(s), {"m": s.sum()})  # noqa: E731

    def loop(states, step):
        return jax.vmap(lambda s: occasionally(step == 2, f, s))(states)

    text = str(jax.make_jaxpr(loop)(jnp.ones((4, 3)), 1))
    assert "cond[" in text
    assert "select_n" not in text

    def own_counter(states, counters):  # what the loop's own step is for
        return jax.vmap(lambda s, c: occasionally(c == 2, f, s))(states, counters)

    text = str(jax.make_jaxpr(own_counter)(jnp.ones((4, 3)), jnp.arange(4)))
    assert "cond[" not in text
