"""A written data set reads back unchanged; nothing is overwritten or left half-written."""

import dataclasses
import errno
import os

import h5py
import numpy as np
import pytest

from holdfast.core.errors import UserError
from holdfast.data import load_dataset
from holdfast.data.checks.check import check
from holdfast.data.checks.fixes import cut_at_flags
from holdfast.data.convert import convert

TARGETS = ["copy.npz", "copy.hdf5", "copy.columns", "copy-v0"]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("which", ["pendulum", "masked"])
def test_round_trip(tmp_path, target, which, request):
    data = request.getfixturevalue(which)
    again = load_dataset(convert(data, tmp_path / target))
    assert again.fingerprint == data.fingerprint
    for name in ("observations", "actions", "rewards", "terminations", "truncations", "offsets"):
        np.testing.assert_array_equal(getattr(again, name), getattr(data, name))
    assert set(again.columns) == set(data.columns)
    assert (again.observation_space, again.action_space) == (data.observation_space, data.action_space)
    assert (again.reference, again.env_id, again.horizon) == (data.reference, data.env_id, data.horizon)
    assert again.provenance["converted_from"] == data.id
    assert [p for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_through_all_forms(tmp_path, pendulum):
    data = pendulum
    for target in TARGETS:
        data = load_dataset(convert(data, tmp_path / target))
    assert data.fingerprint == pendulum.fingerprint
    assert data.provenance["recipe"] == pendulum.provenance["recipe"]


def test_minari_itself_reads_what_was_written(tmp_path, monkeypatch, pendulum):
    import minari

    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    convert(pendulum, "my/deep/pendulum-v3")
    assert list(minari.list_local_datasets()) == ["my/deep/pendulum-v3"]
    theirs = minari.load_dataset("my/deep/pendulum-v3")
    assert (theirs.total_episodes, theirs.total_steps) == (10, pendulum.n_steps)
    assert theirs.env_spec.id == "Pendulum-v1"
    np.testing.assert_array_equal(theirs[1].observations, pendulum.select([1]).observations)
    np.testing.assert_array_equal(theirs[1].rewards, pendulum.select([1]).rewards)


def test_infos_have_one_row_more_than_steps(tmp_path, masked):
    with h5py.File(convert(masked, tmp_path / "a-v0") / "data" / "main_data.hdf5") as file:
        for name in ("action_mask", "discount", "behaviour_log_prob"):
            assert len(file[f"episode_2/infos/{name}"]) == 7
        np.testing.assert_array_equal(file["episode_2/infos/discount"][:6], masked.columns["discount"][5:])


def test_an_episode_that_no_flag_ends_is_a_timeout_in_d4rls_form(tmp_path, masked):
    open_ended = masked.truncations.copy()
    open_ended[4] = False
    again = load_dataset(convert(dataclasses.replace(masked, truncations=open_ended), tmp_path / "a.hdf5"))
    assert again.lengths.tolist() == [4, 1, 6]
    assert again.truncations[4]


def test_d4rl_form_holds_d4rls_columns(tmp_path, masked):
    with h5py.File(convert(masked, tmp_path / "a.hdf5")) as file:
        assert file["terminals"][()].tolist() == [False] * 3 + [True] + [False] * 7
        assert np.flatnonzero(file["timeouts"][()]).tolist() == [4, 10]
        np.testing.assert_array_equal(file["next_observations"][3], masked.observations[4])


@pytest.mark.parametrize("target", TARGETS)
def test_no_file_is_overwritten(tmp_path, target, pendulum):
    path = convert(pendulum, tmp_path / target)
    before = sorted((p, p.stat().st_mtime_ns) for p in tmp_path.rglob("*"))
    with pytest.raises(UserError, match="exists already"):
        convert(pendulum, path)
    assert sorted((p, p.stat().st_mtime_ns) for p in tmp_path.rglob("*")) == before


@pytest.mark.parametrize("target", TARGETS)
def test_a_write_that_fails_leaves_nothing(tmp_path, target, pendulum, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "rename", full)
    with pytest.raises(UserError, match="No space left on device"):
        convert(pendulum, tmp_path / target)
    assert list(tmp_path.iterdir()) == []


def test_a_minari_id_needs_a_version(tmp_path, monkeypatch, pendulum):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    for target in ("noversion", str(tmp_path / "noversion")):
        with pytest.raises(UserError, match="not a Minari id"):
            convert(pendulum, target)
    assert load_dataset(convert(pendulum, tmp_path / "noversion", "named-v0")).n_episodes == 10


def test_d4rl_form_refuses_flags_inside_an_episode(tmp_path, pendulum):
    inside = pendulum.truncations.copy()
    inside[50] = True
    data = dataclasses.replace(pendulum, truncations=inside)
    with pytest.raises(UserError, match="--cut-at-flags"):
        convert(data, tmp_path / "a.hdf5")
    cut = cut_at_flags(data)
    assert cut.lengths[:2].tolist() == [51, int(data.lengths[0]) - 51]
    np.testing.assert_array_equal(cut.observations[51], cut.observations[52])
    np.testing.assert_array_equal(cut.rewards, data.rewards)
    assert cut.provenance["mended"] == {**pendulum.provenance["mended"], "cut_at_flags": 1}
    assert "end_inside" not in [f.kind for f in check(cut)]
