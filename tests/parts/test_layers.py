"""Layers: products, scales, LayerNorm, dropout."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from holdfast.core.noise import Tape
from holdfast.parts import layers, nets
from support.formulas import (
    HAND,
    NOISE,
    array,
    mlp,
    same,
)
from support.marks import both

pytestmark = pytest.mark.usefixtures("x64")


def test_mlp(run):
    # x = (1, 2): (1 + 4, -1 + 1) = (5, 0) -> 5 + 0 + .5;  x = (-1, 0): (-1, 2) -> relu (0, 2) -> 6.5
    net = mlp(*HAND)
    same(run(net, array(1, 2)), [5.5])
    same(run(net, array(-1, 0)), [6.5])
    same(run(mlp(*HAND, activation="tanh"), array(1, 2)), [math.tanh(5) + 0.5])
    same(run(net, array([[1, 2], [-1, 0]], [[1, 2], [1, 2]])), [[[5.5], [6.5]], [[5.5], [5.5]]])


@pytest.mark.parametrize("outputs", [2, layers.NARROW + 1])
def test_the_gradients_of_a_product_equal_those_of_jax(run, outputs):
    keys = jax.random.split(jax.random.PRNGKey(0), 3)
    x, w = jax.random.normal(keys[0], (2, 4, 3, 5), float), jax.random.normal(keys[1], (2, 5, outputs), float)
    slope = jax.random.normal(keys[2], (2, 4, 3, outputs), float)  # two members of an ensemble, rows [4, 3]

    def pulled(multiply):
        def first(x, w):
            return jax.vjp(multiply, x, w)[1](slope[0])

        def second(x, w):  # of a function of the gradients: what a gradient penalty needs
            return jax.grad(lambda x, w: sum(jnp.tanh(g).sum() for g in first(x, w)), (0, 1))(x, w)

        return lambda x, w: (first(x[0], w[0]), jax.vmap(first)(x, w), jax.vmap(second)(x, w))

    found, wanted = run(pulled(layers.product), x, w), pulled(jnp.matmul)(x, w)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        same(one, other, rtol=1e-9, atol=1e-11)


def test_scale_and_shift_of_rows_have_the_usual_gradients(run):
    # rows (1, 2), (3, 4) with slopes (1, 10), (100, 1000): the scale gets (1 + 300, 20 + 4000), the shift the sums
    x, slope, scale = array((1, 2), (3, 4)), array((1, 10), (100, 1000)), array(5, 7)
    pull = run(lambda *given: jax.vjp(layers.scaled, *given[:3])[1](given[3]), x, scale, array(1, 1), slope)
    same(pull[0], [[5, 70], [500, 7000]])
    same(pull[1], [301, 4020])
    same(pull[2], [101, 1010])
    for lead in ((), (1,), (5,), (6,), (2, 3), (0,)):  # halved as far as it goes, the rest summed
        rows = NOISE.normal("rows", (*lead, 3))
        same(run(layers.summed, rows), np.asarray(rows).reshape(-1, 3).sum(0), 1e-6)


def test_layer_norm_and_its_place(run):
    # (1, 3): mean 2, variance 1 -> (-1, 1) / sqrt(1 + eps)
    norm = layers.LayerNorm(array(2, 2), array(1, 1), eps=3.0)
    same(run(norm, array(1, 3)), [0, 2])
    sizes = (2, 2, 1)
    for place in ("pre", "post"):
        net = nets.mlp(NOISE, sizes, norm=place, eps=0.0)
        first, last = net.layers
        x = np.asarray(array(1, 2) @ first.weight + first.bias)

        def normal(x):
            return (x - x.mean()) / x.std()

        hidden = np.maximum(normal(x), 0) if place == "pre" else normal(np.maximum(x, 0) + 0.0)
        if place == "post" and not np.maximum(x, 0).std():
            continue
        same(run(net, array(1, 2)), hidden @ last.weight + last.bias, 1e-9)
    assert any(np.maximum(x, 0)), "the case after the activation was left out: change the draw"


@both
def test_dropout(run):
    keep = layers.dropout(NOISE, "drop", 0.25, (2000,), (3, 2))
    assert [k.shape for k in keep] == [(2000, 3), (2000, 2)]
    assert np.unique(np.concatenate([k.ravel() for k in keep])).tolist() == pytest.approx([0, 4 / 3])
    assert abs((np.asarray(keep[0]) > 0).mean() - 0.75) < 4 * math.sqrt(0.25 * 0.75 / 6000)
    assert layers.dropout(NOISE, "drop", 0.0, (5,), (3,)) == ()
    # x = (1, 2): hidden (5, 0), the first doubled: 10 + .5;  dropped: .5
    net = mlp(*HAND)
    same(run(net, array(1, 2), (array(2, 2),)), [10.5])
    same(run(net, array(1, 2), (array(0, 2),)), [0.5])
    tape = Tape({"d_0": np.array([[True, False]])})
    same(layers.dropout(tape, "d", 0.5, (1,), (2,))[0], [[2, 0]])
