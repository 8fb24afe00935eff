"""Normalised scores and their references."""

from __future__ import annotations

import numpy as np
import pytest

from holdfast.core.errors import UserError
from holdfast.evaluation.scores import normalized, reference_of


def test_normalised_scores() -> None:
    np.testing.assert_array_equal(normalized([[-10.0, 90.0], [40.0, 190.0]], (-10, 90)), [[0, 100], [50, 200]])
    for reference in ((1.0, 1.0), (0.0, float("nan"))):
        with pytest.raises(UserError, match="two different finite numbers"):
            normalized(0.0, reference)


def test_references_go_with_their_environment() -> None:
    info = {"reference": [1, 2], "env_id": "Mine-v0", "dataset": "mine"}
    assert reference_of(info, "Mine-v0") == (1.0, 2.0)
    assert reference_of(info, "Other-v0") is None
    assert reference_of(info, "Hopper-v5") == reference_of({}, "Hopper-v5") != None  # noqa: E711
