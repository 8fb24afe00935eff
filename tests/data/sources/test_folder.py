"""Folders of columns: mapped, not read; damaged ones are refused in one line."""

import json

import numpy as np
import pytest

from holdfast.core.contract import Treatment
from holdfast.core.errors import UserError
from holdfast.data import load_dataset
from holdfast.data.checks.check import check
from holdfast.data.convert import convert
from holdfast.data.feed.columns import stats
from holdfast.data.feed.treatment import fit
from holdfast.data.sources import folder


@pytest.fixture
def written(tmp_path, pendulum):
    return convert(pendulum, tmp_path / "log.columns")


def is_mapped(column) -> bool:
    base = column
    while base is not None and not isinstance(base, np.memmap):
        base = base.base
    return base is not None


def test_columns_are_mapped(written):
    data = load_dataset(written)
    for name in folder.COLUMNS[:-1]:
        assert is_mapped(getattr(data, name)), name
    assert not is_mapped(data.offsets)


def test_statistics_faults_and_fingerprint_are_those_in_memory(written, pendulum):
    data = load_dataset(written)
    assert data.fingerprint == pendulum.fingerprint
    assert [(f.kind, f.text, f.where) for f in check(data)] == [(f.kind, f.text, f.where) for f in check(pendulum)]
    treatment = Treatment(normalize_obs=1e-3, return_scale=1000.0)
    one, other = fit(treatment, data), fit(treatment, pendulum)
    np.testing.assert_array_equal(one.obs_mean, other.obs_mean)
    np.testing.assert_array_equal(one.obs_std, other.obs_std)
    assert stats(data, one) == stats(pendulum, other)


def test_a_log_is_written_in_parts(tmp_path, masked):
    target = tmp_path / "parts.columns"
    target.mkdir()
    folder.write(masked, target, b"{}", rows=4)
    for name in folder.COLUMNS:
        np.testing.assert_array_equal(np.load(target / f"{name}.npy"), getattr(masked, name))
    np.testing.assert_array_equal(np.load(target / "action_mask.npy"), masked.columns["action_mask"])


@pytest.mark.parametrize(
    ("rows", "blocks"), [(1, [(0, 1), (1, 2), (2, 3)]), (5, [(0, 2), (2, 3)]), (6, [(0, 2), (2, 3)]), (99, [(0, 3)])]
)
def test_blocks_are_whole_episodes(masked, rows, blocks):
    assert masked.lengths.tolist() == [4, 1, 6]
    assert [(b.start, b.stop) for b in folder.episode_blocks(masked.offsets, rows)] == blocks


def test_an_incomplete_log_is_not_closed(tmp_path, masked):
    writer = folder.Writer(tmp_path, {"rewards": masked.rewards}, masked.n_steps, masked.n_episodes)
    writer.add({"rewards": masked.rewards[:4]}, masked.lengths[:1])
    with pytest.raises(ValueError, match="incomplete"):
        writer.close(b"{}")


def test_release_keeps_the_numbers(written, pendulum):
    data = load_dataset(written)
    folder.release(data.observations)
    np.testing.assert_array_equal(data.observations, pendulum.observations)
    folder.release(pendulum.rewards)  # not mapped: nothing happens


def cut(path):
    (path / "rewards.npy").write_bytes((path / "rewards.npy").read_bytes()[:-8])


def objects(path):
    np.save(path / "rewards.npy", np.array([None] * 3), allow_pickle=True)


def no_file(path):
    (path / "rewards.npy").unlink()


def no_space(path):
    meta = json.loads((path / folder.METADATA).read_text())
    del meta["action_space"]
    (path / folder.METADATA).write_text(json.dumps(meta))


def fewer(path):
    np.save(path / "rewards.npy", np.load(path / "rewards.npy")[:-1])


def in_column_order(path):
    np.save(path / "observations.npy", np.asfortranarray(np.load(path / "observations.npy")))


def text(path):
    (path / "rewards.npy").write_text("rewards")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut, "rewards.npy declares"),
        (objects, "Python objects"),
        (no_file, "rewards.npy does not exist"),
        (no_space, "its metadata cannot be read"),
        (fewer, "rewards has"),
        (in_column_order, "column order"),
        (text, "cannot be read"),
    ],
)
def test_damaged_folders_are_refused(written, damage, message):
    damage(written)
    with pytest.raises(UserError, match=message) as caught:
        load_dataset(written)
    assert "\n" not in str(caught.value)


def test_options_of_other_files_are_refused(written):
    assert load_dataset(written, id="other").id == "other"
    with pytest.raises(UserError, match="takes no option max_episode_steps"):
        load_dataset(written, max_episode_steps=5)
