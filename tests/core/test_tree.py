"""Averages, choices and names of the leaves of trees."""

from __future__ import annotations

import jax.numpy as jnp
import pytest

from holdfast.core.trained import Trained
from holdfast.core.tree import ema, named_leaves, where
from support.formulas import (
    HAND,
    array,
    mlp,
    same,
)
from support.marks import both

pytestmark = pytest.mark.usefixtures("x64")


@both
def test_averages_and_choices_of_trees(run):
    old, new = {"a": array(1), "b": array(10, 20)}, {"a": array(2), "b": array(0, 0)}
    found = run(lambda n, o: ema(n, o, 0.25), new, old)  # .75 old + .25 new
    same(found["a"], [1.25])
    same(found["b"], [7.5, 15])
    assert run(where, jnp.asarray(True), new, old)["b"].tolist() == [0, 0]
    assert run(where, jnp.asarray(False), new, old)["b"].tolist() == [10, 20]


def test_leaves_have_dotted_names():
    tree = {"net": Trained(mlp(*HAND), {"count": 0})}
    assert list(named_leaves(tree)) == [
        "net.net.layers.0.weight",
        "net.net.layers.0.bias",
        "net.net.layers.1.weight",
        "net.net.layers.1.bias",
        "net.opt.count",
    ]
