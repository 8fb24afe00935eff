"""Computations on large columns, part by part."""

import jax
import numpy as np
import pytest

from holdfast.core.contract import Treatment
from holdfast.data import chunks
from holdfast.data.checks.check import check
from holdfast.data.dataset import Dataset
from holdfast.data.feed.columns import prepare
from holdfast.data.feed.treatment import fit


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 8 * 23)


@pytest.mark.parametrize(("count", "width"), [(1, 1), (1000, 1), (1, 3), (1000, 3), (257, 40)])
def test_moments_have_the_bits_of_numpy(small_chunks, count, width):
    rng = np.random.default_rng(0)
    values = (rng.normal(size=(count, width)) * 10 ** rng.normal(size=(count, width))).astype(np.float32)
    rows = np.sort(rng.integers(0, count, count))
    for found, whole in ((chunks.moments(values), values), (chunks.moments(values, rows), values[rows])):
        wide = whole.astype(np.float64)
        np.testing.assert_array_equal(found[0], wide.mean(0), strict=True)
        np.testing.assert_array_equal(found[1], wide.std(0), strict=True)


def test_chunks_cover_all_rows_once(small_chunks):
    rows = np.arange(100)
    assert np.concatenate([rows[part] for part in chunks.chunks(100, 3)]).tolist() == rows.tolist()
    assert [len(rows[part]) for part in chunks.chunks(3, 1000)] == [1, 1, 1]


def test_a_row_wise_result_is_not_copied_to_the_cpu():
    values = np.random.default_rng(0).normal(size=(5000, 3))
    made = chunks.row_wise(lambda x: (x * 2).astype(np.float32), values)
    np.testing.assert_array_equal(made, (values * 2).astype(np.float32), strict=True)
    on_device = jax.device_put(made, jax.devices("cpu")[0])
    assert on_device.unsafe_buffer_pointer() == made.ctypes.data


def _log() -> Dataset:
    """A log with jumps that no flag marks, an absurd dimension and a constant one."""
    rng = np.random.default_rng(1)
    observations = rng.normal(size=(600, 4)).cumsum(0)
    observations[:, 1] = 3.0
    observations[300:, 2] *= 1e7
    observations[410:, 0] += 500
    ends = np.arange(600) % 30 == 29
    following = np.concatenate([observations[1:], observations[:1]])
    following[::97] += 1.0
    actions = rng.uniform(-1, 1, (600, 2))
    return Dataset.from_arrays(observations, actions, rng.normal(size=600), np.zeros(600, bool), ends, following)


def test_nothing_depends_on_the_size_of_the_chunks(monkeypatch):
    found = []
    for size in (8 * 23, chunks.CHUNK_BYTES):
        monkeypatch.setattr(chunks, "CHUNK_BYTES", size)
        data = _log()
        columns = prepare(data, fit(Treatment(normalize_obs=1e-3), data), ("mc_return", "next_action"), 0.9)
        leaves = [leaf.tobytes() for leaf in jax.tree.leaves(columns)]
        found.append(([str(fault) for fault in check(data)], data.fingerprint, leaves))
    assert found[0] == found[1]
    for part in ("not the following row", "further than the log's others", "never change"):
        assert part in " ".join(found[0][0])


def test_extremes_are_those_of_all_rows(small_chunks):
    values = np.random.default_rng(1).normal(size=(1000, 3)).astype(np.float32)
    for found, expected in zip(chunks.extremes(values), (values.min(0), values.max(0)), strict=True):
        np.testing.assert_array_equal(found, expected, strict=True)
    values[501, 1] = np.nan
    values[7, 2] = np.inf
    low, high = chunks.extremes(values)
    assert np.isnan([low[1], high[1]]).all()
    assert high[2] == np.inf
