"""Minari's data sets, by id and as a folder."""

import json

import h5py
import numpy as np
import pytest

from holdfast.core.errors import UserError
from holdfast.data import load_dataset
from holdfast.data.spaces import to_json


def test_minari_by_id_and_folder(tmp_path, monkeypatch):
    from holdfast.data.convert import convert

    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    whole = load_dataset("bundled/pendulum-mixed").select(np.arange(12))
    convert(whole, "my/set-v0")
    for name in ("my/set-v0", tmp_path / "my" / "set-v0", tmp_path / "my" / "set-v0" / "data"):
        data = load_dataset(name)
        assert data.fingerprint == whole.fingerprint
        assert data.env_id == "Pendulum-v1"
        assert data.reference == (-1224.0, -150.0)
    with pytest.raises(UserError, match=r"did you mean 'my/set-v0'\?; --download"):
        load_dataset("my/sett-v0")
    with pytest.raises(UserError, match="takes no option cut_jumps"):
        load_dataset("my/set-v0", cut_jumps=True)


def test_a_damaged_minari_set_is_one_line(tmp_path):
    from holdfast.data.convert import convert

    folder = convert(load_dataset("bundled/pendulum-mixed").select([0, 1]), tmp_path / "a-v0")
    file = folder / "data" / "main_data.hdf5"
    whole = file.read_bytes()
    file.write_bytes(whole[:3000])
    with pytest.raises(UserError, match="truncated"):
        load_dataset(folder)
    file.unlink()
    with pytest.raises(UserError, match="does not exist"):
        load_dataset(folder)
    file.write_bytes(whole)
    with h5py.File(file, "a") as broken:
        del broken["episode_1/rewards"]
    with pytest.raises(UserError, match="episode_1 has no rewards"):
        load_dataset(folder)
    (folder / "data" / "metadata.json").write_text("{")
    with pytest.raises(UserError, match=r"metadata.json is damaged"):
        load_dataset(folder)


def test_an_empty_minari_set_is_read_and_found_faulty(tmp_path):
    from holdfast.data.checks.check import require_sound

    data = load_dataset("bundled/pendulum-mixed")
    (tmp_path / "data").mkdir()
    facts = {"observation_space": data.observation_space, "action_space": data.action_space}
    meta = {k: to_json(v) for k, v in facts.items()} | {"total_episodes": 0, "dataset_id": "none-v0"}
    (tmp_path / "data" / "metadata.json").write_text(json.dumps(meta))
    (tmp_path / "data" / "main_data.hdf5").touch()
    empty = load_dataset(tmp_path)
    assert (empty.n_steps, empty.n_episodes) == (0, 0)
    with pytest.raises(UserError, match="none-v0: the data set is empty"):
        require_sound(empty)
