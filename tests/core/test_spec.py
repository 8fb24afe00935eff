"""Batches and the shapes of a problem."""

from __future__ import annotations

import pytest

from holdfast.core.spec import Spec
from support.formulas import (
    array,
    same,
    transitions,
)

pytestmark = pytest.mark.usefixtures("x64")


def test_a_batch_reads_its_columns_and_its_parts():
    batch = transitions([1, 2, 3], [0, 0, 1], [0, 0, 0], mc_return=array(7, 8, 9))
    same(batch.mc_return, [7, 8, 9])
    with pytest.raises(AttributeError, match="no column 'next_action'"):
        _ = batch.next_action
    with pytest.raises(KeyError, match="no rows of 'online'"):
        batch.of("online")
    assert Spec((3,), 2).action_shape == (2,)
    assert Spec((3,), 2, discrete=True).action_shape == ()
