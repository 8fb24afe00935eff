"""Losses and weights, worked by hand."""

from __future__ import annotations

import pytest

from holdfast.parts import layers, losses
from support.formulas import array, same

pytestmark = pytest.mark.usefixtures("x64")


def test_squared_weights(run):
    net = layers.MLP((layers.Linear(array([1, 2], [3, 0]), array(9, 9)), layers.Linear(array([-1], [2]), array(9))), ())
    same(run(losses.squared_weights, net), 1 + 4 + 9 + 1 + 4)
