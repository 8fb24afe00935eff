"""The same data has the same hash, other data another one."""

import dataclasses

import numpy as np


def test_fingerprint_sees_every_column_and_no_storage_type(log):
    wide = dataclasses.replace(log, observations=log.observations.astype(np.float64))
    assert wide.fingerprint == log.fingerprint
    for name in ("observations", "actions", "rewards", "terminations", "truncations"):
        column = getattr(log, name).copy()
        column[-1] = ~column[-1] if column.dtype == bool else column[-1] + 1
        assert dataclasses.replace(log, **{name: column}).fingerprint != log.fingerprint, name
    assert dataclasses.replace(log, columns={"discount": np.ones(6)}).fingerprint != log.fingerprint
