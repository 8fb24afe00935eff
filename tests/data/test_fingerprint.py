"""The same data has the same hash, other data another one."""

import dataclasses

import numpy as np
import pytest
from gymnasium.spaces import Box

from holdfast.data.dataset import Dataset


@pytest.fixture
def log() -> Dataset:
    """Two episodes of three steps."""
    ends = np.array([0, 0, 1, 0, 0, 1], bool)
    seen = np.arange(16, dtype=np.float32).reshape(8, 2)
    actions = np.arange(6, dtype=np.float32)[:, None] / 10
    return Dataset(seen, actions, np.ones(6), ends, ~ends & False, [0, 3, 6], Box(-99, 99, (2,)), Box(-1, 1, (1,)))


def test_fingerprint_sees_every_column_and_no_storage_type(log):
    wide = dataclasses.replace(log, observations=log.observations.astype(np.float64))
    assert wide.fingerprint == log.fingerprint
    for name in ("observations", "actions", "rewards", "terminations", "truncations"):
        column = getattr(log, name).copy()
        column[-1] = ~column[-1] if column.dtype == bool else column[-1] + 1
        assert dataclasses.replace(log, **{name: column}).fingerprint != log.fingerprint, name
    assert dataclasses.replace(log, columns={"discount": np.ones(6)}).fingerprint != log.fingerprint
