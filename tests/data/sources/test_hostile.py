"""Data files of a stranger: no other file is read, no memory is filled, nothing but regular files is opened."""

import json
import os
import socket
import zipfile

import h5py
import numpy as np
import pytest

from holdfast import Dataset, UserError
from holdfast.cli import main
from holdfast.data.checks.check import check, require_sound
from holdfast.data.convert import convert
from holdfast.data.sources import load_dataset

N = 40


def columns(n=N) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    ends = np.arange(n) % 8 == 7
    return {
        "observations": rng.normal(size=(n, 3)).astype(np.float32),
        "actions": rng.uniform(-1, 1, (n, 2)).astype(np.float32),
        "rewards": rng.normal(size=n).astype(np.float32),
        "terminals": ends,
        "timeouts": np.zeros(n, bool),
    }


def d4rl(path, **others):
    """A D4RL file; a function in place of a column writes it itself."""
    with h5py.File(path, "w") as file:
        for name, column in {**columns(), **others}.items():
            if callable(column):
                column(file, name)
            elif column is not None:
                file[name] = column
    return path


@pytest.fixture
def minari(tmp_path):
    data = Dataset.from_arrays(*[columns()[k] for k in ("observations", "actions", "rewards", "terminals")])
    return convert(data, tmp_path / "set-v0")


def external_storage(file, name):
    file.create_dataset(name, (N,), "f4", external=[("/etc/passwd", 0, 4 * N)])


def external_link(file, name):
    file[name] = h5py.ExternalLink("other.hdf5", "/secret")


def soft_link(file, name):
    file[name] = h5py.SoftLink("/observations")


def virtual(file, name):
    layout = h5py.VirtualLayout((N,), "f4")
    layout[:] = h5py.VirtualSource("other.hdf5", "secret", (N,))
    file.create_virtual_dataset(name, layout)


@pytest.mark.parametrize("write", [external_storage, external_link, soft_link, virtual])
@pytest.mark.parametrize("name", ["rewards", "timeouts", "next_observations", "infos/action_log_probs", "holdfast"])
def test_an_hdf5_file_reads_no_other_file(tmp_path, write, name):
    with h5py.File(tmp_path / "other.hdf5", "w") as other:
        other["secret"] = np.ones(N, np.float32)
    path = d4rl(tmp_path / "log.hdf5", **{name: write})
    with pytest.raises(UserError, match=rf"log.hdf5: {name} is (a link|stored in other files)"):
        load_dataset(path)


@pytest.mark.parametrize("write", [external_storage, external_link, virtual])
@pytest.mark.parametrize("name", ["rewards", "infos"])
def test_a_minari_set_reads_no_other_file(tmp_path, minari, write, name):
    with h5py.File(minari / "data" / "main_data.hdf5", "r+") as file:
        episode = file["episode_2"]
        if name in episode:
            del episode[name]
        write(episode, name)
    with pytest.raises(UserError, match=rf"episode_2/{name} is (a link|stored in other files)"):
        load_dataset(minari)


def test_converting_a_hostile_set_writes_nothing(tmp_path, capsys):
    path = d4rl(tmp_path / "log.hdf5", rewards=external_storage)
    assert main(["data", "convert", str(path), str(tmp_path / "leak.npz")]) == 2
    assert not (tmp_path / "leak.npz").exists()
    assert "rewards" in capsys.readouterr().err


def test_an_hdf5_file_that_declares_more_rows_than_its_other_columns_is_refused(tmp_path):
    path = d4rl(tmp_path / "log.hdf5", rewards=lambda file, name: file.create_dataset(name, (2_000_000_000,), "f4"))
    with pytest.raises(UserError, match="rewards has 2000000000 rows, observations 40"):
        load_dataset(path)


def test_an_hdf5_file_that_declares_more_than_it_can_hold_is_refused(tmp_path):
    path = d4rl(tmp_path / "log.hdf5", observations=lambda f, k: f.create_dataset(k, (N, 10**9), "f4"))
    with pytest.raises(UserError, match="observations declares 160,000,000,000 bytes"):
        load_dataset(path)


def test_a_large_chunk_counts(tmp_path):
    def chunked(file, name):
        file.create_dataset(name, (N,), "f4", maxshape=(None,), chunks=(2**28,), compression="gzip")

    with pytest.raises(UserError, match="a chunk of rewards declares"):
        load_dataset(d4rl(tmp_path / "log.hdf5", rewards=chunked))


def test_references_are_refused(tmp_path):
    def references(file, name):
        file.create_dataset(name, (N,), h5py.ref_dtype)

    with pytest.raises(UserError, match="rewards holds references"):
        load_dataset(d4rl(tmp_path / "log.hdf5", rewards=references))


def npz(path, **others):
    np.savez_compressed(path, **{**columns(), **others})
    return path


def test_a_member_of_an_npz_file_that_nobody_uses_is_not_read(tmp_path):
    path = npz(tmp_path / "log.npz")
    with zipfile.ZipFile(path, "a") as file:
        file.writestr("unused.npy", b"no array at all")
        file.writestr("objects.npy", b"\x93NUMPY\x01\x00")
    assert load_dataset(path).n_steps


def test_an_npz_file_that_unpacks_to_more_than_it_may_is_refused(tmp_path):
    path = npz(tmp_path / "log.npz", rewards=np.zeros(2**25, np.float64))
    assert path.stat().st_size < 2**20
    with pytest.raises(UserError, match=r"rewards declares 268,435,.* bytes, too many for a file"):
        load_dataset(path)


def test_an_npy_header_is_compared_with_its_member(tmp_path):
    path = npz(tmp_path / "log.npz", rewards=np.zeros(3))
    with zipfile.ZipFile(path) as file:
        members = {name: file.read(name) for name in file.namelist()}
    members["rewards.npy"] = members["rewards.npy"].replace(b"(3,)", b"(9,)")
    with zipfile.ZipFile(path, "w") as file:
        for name, data in members.items():
            file.writestr(name, data)
    with pytest.raises(UserError, match="rewards declares 72 bytes and has 24"):
        load_dataset(path)


@pytest.mark.parametrize("suffix", [".npz", ".hdf5"])
@pytest.mark.parametrize("kind", ["pipe", "socket", "device"])
def test_only_regular_files_are_opened(tmp_path, suffix, kind, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = f"log{suffix}"
    if kind == "pipe":
        os.mkfifo(name)
    elif kind == "device":
        os.symlink("/dev/zero", name)
    else:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(name)
    with pytest.raises(UserError, match="is not a regular file"):
        load_dataset(name)


def test_the_metadata_of_a_minari_set_is_a_regular_file(minari):
    (minari / "data" / "metadata.json").unlink()
    os.mkfifo(minari / "data" / "metadata.json")
    with pytest.raises(UserError):
        load_dataset(minari)


REFERENCES = [(1.0, 1.0), (float("nan"), 3.0), (0.0, float("inf"))]


@pytest.mark.parametrize("reference", REFERENCES)
def test_references_that_give_no_score_are_a_fault_of_the_data(minari, reference):
    file = minari / "data" / "metadata.json"
    meta = json.loads(file.read_text())
    file.write_text(json.dumps({**meta, "ref_min_score": reference[0], "ref_max_score": reference[1]}))
    data = load_dataset(minari)
    assert [(f.level, str(f.where)) for f in check(data) if f.kind == "reference"] == [("fatal", "reference")]
    assert main(["data", "check", str(minari)]) == 1
    assert main(["data", "info", str(minari)]) == 0
    with pytest.raises(UserError, match="reference returns are"):
        require_sound(data)
    require_sound(data, ["reference"])
    assert data.normalized(data.returns()) is None


@pytest.mark.parametrize("low", ["3", [1], {}, True, 10**400])
def test_references_of_another_type_are_refused(minari, low):
    file = minari / "data" / "metadata.json"
    meta = json.loads(file.read_text())
    file.write_text(json.dumps({**meta, "ref_min_score": low, "ref_max_score": 3.0}))
    with pytest.raises(UserError, match=r"reference is .*expected two numbers"):
        load_dataset(minari)


LIMITS = ['"10"', "1e30", "-1", "true", "[]"]
SPECS = [3, [], {}, "{", "[]", "{}", '{"id": 3}', '{"a": ' * 10**5, '{"id": "X-v0", "kwargs": 3}']
SPECS += [f'{{"id": "X-v0", "max_episode_steps": {limit}}}' for limit in LIMITS]


@pytest.mark.parametrize("spec", SPECS, ids=[str(spec)[:40] for spec in SPECS])
def test_an_environment_spec_of_another_type_is_refused(tmp_path, spec):
    flat = columns()
    arrays = [flat[k] for k in ("observations", "actions", "rewards", "terminals")]
    with pytest.raises(UserError) as caught:
        Dataset.from_arrays(*arrays, env_spec=spec)
    assert "env_spec" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_bare_id_is_an_environment_spec(tmp_path):
    flat = columns()
    arrays = [flat[k] for k in ("observations", "actions", "rewards", "terminals")]
    data = Dataset.from_arrays(*arrays, env_spec="Pendulum-v1")
    assert data.env_id == "Pendulum-v1"
    assert data.horizon is None
    assert load_dataset(convert(data, tmp_path / "set-v0")).env_id == "Pendulum-v1"


def test_the_spec_of_an_older_gymnasium_is_converted(tmp_path):
    flat = columns()
    arrays = [flat[k] for k in ("observations", "actions", "rewards", "terminals")]
    spec = {"id": "Pendulum-v1", "autoreset": False, "apply_api_compatibility": False, "max_episode_steps": 200}
    data = Dataset.from_arrays(*arrays, env_spec=json.dumps(spec))
    assert load_dataset(convert(data, tmp_path / "set-v0")).horizon == 200


def test_the_list_of_data_sets_shows_odd_metadata(tmp_path, minari, monkeypatch, capsys):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    file = minari / "data" / "metadata.json"
    meta = json.loads(file.read_text())
    file.write_text(json.dumps({**meta, "env_spec": [3], "total_steps": "[/red]"}))
    other = tmp_path / "deep-v0" / "data"
    other.mkdir(parents=True)
    (other / "metadata.json").write_text("[" * 100_000)
    assert main(["data", "list"]) == 0
    printed = capsys.readouterr().out
    assert "set-v0" in printed
    assert "deep-v0" not in printed


def change_metadata(folder, **entries):
    path = folder / "data" / "metadata.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **entries}))


def test_nested_observations_are_read_by_the_names_of_their_space(minari):
    box = {"type": "Box", "dtype": "float32", "shape": [3], "low": [-9.0] * 3, "high": [9.0] * 3}
    change_metadata(minari, observation_space=json.dumps({"type": "Dict", "subspaces": {"a": box}}))
    with h5py.File(minari / "data" / "main_data.hdf5", "a") as file:
        for group in file.values():
            values = group["observations"][()]
            del group["observations"]
            group["observations/a"] = values
            group["observations/again"] = group["observations"]  # a circle
            group["observations/other"] = h5py.ExternalLink("other.hdf5", "/secret")
    assert load_dataset(minari).observations.shape[1:] == (3,)
    with h5py.File(minari / "data" / "main_data.hdf5", "a") as file:
        del file["episode_1/observations/a"]
        file["episode_1/observations/a"] = h5py.ExternalLink("other.hdf5", "/secret")
    with pytest.raises(UserError, match="observations/a is a link"):
        load_dataset(minari)


@pytest.mark.parametrize(
    "space",
    [
        {"type": "MultiDiscrete", "dtype": "int64", "nvec": [10**9, 4], "start": [0, 0]},
        {"type": "Tuple", "subspaces": [{"type": "Discrete", "n": 2**24, "dtype": "int64", "start": 0}] * 2},
    ],
)
def test_spaces_that_are_too_large_to_flatten_are_refused(minari, space):
    change_metadata(minari, observation_space=json.dumps(space))
    with pytest.raises(UserError, match=r"observations have .* numbers, expected at most"):
        load_dataset(minari)


@pytest.mark.parametrize(
    ("name", "value"),
    [("assumed", "kind"), ("left_out", "many"), ("raw_observation_space", 3), ("evaluation_spec", {"id": "A-v0"})],
)
def test_provenance_of_another_type_is_refused(minari, name, value):
    change_metadata(minari, provenance=json.dumps({name: value}))
    with pytest.raises(UserError, match=name):
        load_dataset(minari)


def test_columns_that_are_not_read_are_only_named(tmp_path):
    path = d4rl(tmp_path / "a.hdf5", is_first=np.zeros(N), done=external_link)
    noted = [fault["where"]["column"] for fault in load_dataset(path).provenance["faults"]]
    assert noted == ["is_first"]
