import json

import h5py
import numpy as np
import pytest

from holdfast.core.errors import UserError
from holdfast.data import load_dataset
from holdfast.data.references import d4rl_id, environment_spec_for, reference_for, time_limit
from holdfast.data.spaces import to_json


def write(path, columns):
    if path.suffix == ".npz":
        np.savez(path, **columns)
    else:
        with h5py.File(path, "w") as file:
            for name, column in columns.items():
                file[name] = column
    return path


def flat(n=12, width=11):
    rng = np.random.default_rng(0)
    return {
        "observations": rng.normal(size=(n, width)).astype(np.float32),
        "actions": rng.uniform(-1, 1, (n, 3)).astype(np.float32),
        "rewards": rng.normal(size=n).astype(np.float32),
        "terminals": np.arange(n) == 4,
        "timeouts": np.arange(n) == 8,
    }


def test_bundled():
    data = load_dataset("bundled/pendulum-mixed")
    assert (data.n_episodes, data.n_steps, data.env_id, data.horizon) == (168, 33576, "Pendulum-v1", 200)
    assert data.reference == (-1224.0, -150.0)
    assert data.returns().mean() == pytest.approx(-621.7, abs=0.1)
    assert data.fingerprint.startswith("a780f6827cbb1a4d")


@pytest.mark.parametrize("ending", ["hdf5", "npz"])
def test_d4rl_file(tmp_path, ending):
    columns = flat() | {"infos/action_log_probs": np.arange(12.0)}
    if ending == "npz":
        del columns["infos/action_log_probs"]
    data = load_dataset(write(tmp_path / f"hopper_medium-v2.{ending}", columns))
    assert data.id == "hopper-medium-v2"
    assert data.lengths.tolist() == [5, 3, 2]
    assert data.env_id == "Hopper-v5"
    assert data.reference == (-20.272305, 3234.3)
    np.testing.assert_array_equal(data.rewards, columns["rewards"][[0, 1, 2, 3, 4, 5, 6, 7, 9, 10]])
    if ending == "hdf5":
        assert data.columns["behaviour_log_prob"].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 9, 10]


def test_d4rl_next_observations_can_be_passed_over(tmp_path):
    columns = flat()
    columns["next_observations"] = np.roll(columns["observations"], -1, axis=0)
    path = write(tmp_path / "x.hdf5", columns)
    assert load_dataset(path).n_steps == 12
    assert load_dataset(path, use_next_observations=False).n_steps == 10


def test_d4rl_v0_without_timeouts_uses_the_familys_time_limit(tmp_path):
    columns = flat(1003)
    del columns["timeouts"]
    columns["terminals"][:] = False
    data = load_dataset(write(tmp_path / "hopper_random.hdf5", columns))
    assert data.lengths.tolist() == [999, 2]
    assert load_dataset(tmp_path / "hopper_random.hdf5", max_episode_steps=500).lengths.tolist() == [499, 499, 2]


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


def trajectories():
    """Two trajectories of 3 and 2 transitions in the form of OGBench's files: the last row of each only closes it."""
    return {
        "observations": np.array([0, 1, 2, 3, 10, 11, 12], np.float32)[:, None],
        "actions": np.arange(7, dtype=np.float32)[:, None] / 10,
        "terminals": np.array([0, 0, 0, 1, 0, 0, 1], np.float32),
    }


def check_ogbench(data):
    assert data.lengths.tolist() == [3, 2]
    assert data.observations[:, 0].tolist() == [0, 1, 2, 3, 10, 11, 12]
    np.testing.assert_allclose(data.actions[:, 0], [0, 0.1, 0.2, 0.4, 0.5])
    assert data.truncations.tolist() == [False, False, True, False, True]
    assert not data.terminations.any()


def test_ogbench_as_its_files_are(tmp_path):
    path = write(tmp_path / "a.npz", trajectories())
    with pytest.raises(UserError, match="no rewards"):
        load_dataset(path)
    data = load_dataset(path, rewards=np.arange(7.0))
    check_ogbench(data)
    assert data.rewards.tolist() == [0, 1, 2, 4, 5]
    by_function = load_dataset(path, rewards=lambda c: -c["observations"][:, 0])
    assert by_function.rewards.tolist() == [0, -1, -2, -10, -11]


def test_ogbench_compact(tmp_path):
    columns = trajectories() | {"rewards": np.arange(7.0), "valids": np.array([1, 1, 1, 0, 1, 1, 0.0])}
    columns["terminals"] = np.array([0, 0, 1, 1, 0, 1, 1.0])
    check_ogbench(load_dataset(write(tmp_path / "a.npz", columns)))


def test_ogbench_regular_with_masks(tmp_path):
    columns = {
        "observations": np.array([0, 1, 2, 10, 11], np.float32)[:, None],
        "next_observations": np.array([1, 2, 3, 11, 12], np.float32)[:, None],
        "actions": np.array([0, 0.1, 0.2, 0.4, 0.5])[:, None],
        "terminals": np.array([0, 0, 1, 0, 1.0]),
        "rewards": np.zeros(5),
        "masks": np.ones(5),
    }
    check_ogbench(load_dataset(write(tmp_path / "a.npz", columns)))
    columns["masks"] = np.array([1, 0, 1, 1, 0.0])  # a goal inside the first trajectory, and at the end of the second
    data = load_dataset(write(tmp_path / "b.npz", columns))
    assert data.lengths.tolist() == [2, 1, 2]
    assert data.terminations.tolist() == [False, True, False, False, True]
    assert data.truncations.tolist() == [False, False, True, False, False]
    np.testing.assert_array_equal(data.observations[data.observation_rows + 1], columns["next_observations"])


def test_an_unclear_npz_is_refused(tmp_path):
    path = write(tmp_path / "a.npz", trajectories() | {"rewards": np.zeros(7)})
    with pytest.raises(UserError, match="--form d4rl or --form ogbench"):
        load_dataset(path)
    check_ogbench(load_dataset(path, form="ogbench"))
    assert load_dataset(path, form="d4rl").terminations.sum() == 1  # the file's last row is never used


def damaged(tmp_path):
    good = write(tmp_path / "good.hdf5", flat(4000))
    bytes_ = good.read_bytes()
    (tmp_path / "short.hdf5").write_bytes(bytes_[: len(bytes_) // 2])
    (tmp_path / "noise.hdf5").write_bytes(np.random.default_rng(0).bytes(5000))
    (tmp_path / "noise.npz").write_bytes(np.random.default_rng(0).bytes(5000))
    archive = write(tmp_path / "good.npz", flat(4000)).read_bytes()
    (tmp_path / "short.npz").write_bytes(archive[: len(archive) // 2])
    np.savez(tmp_path / "pickle.npz", observations=np.array([{"a": 1}], object))
    write(tmp_path / "keys.hdf5", {"observations": np.zeros((3, 1)), "foo": np.zeros(3)})
    (tmp_path / "empty.hdf5").write_bytes(b"")
    (tmp_path / "data.csv").write_text("a,b\n")
    (tmp_path / "folder").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("short.hdf5", "truncated"),
        ("noise.hdf5", "not HDF5, or damaged"),
        ("noise.npz", "NPZ file"),
        ("short.npz", "not NPZ, or damaged"),
        ("pickle.npz", "pickles are never read"),
        ("keys.hdf5", "has no actions, rewards, terminals; it has observations"),
        ("empty.hdf5", "damaged"),
        ("absent.hdf5", "does not exist"),
        ("absent.npz", "does not exist"),
        ("absent", "does not exist"),
        ("folder", "without a Minari data set"),
        ("data.csv", "is not a data set"),
    ],
)
def test_what_cannot_be_read_is_one_line(tmp_path, name, says):
    with pytest.raises(UserError, match=says) as caught:
        load_dataset(damaged(tmp_path) / name)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)


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
    with pytest.raises(UserError, match=r"metadata.json: cannot be read"):
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


def test_unknown_names_suggest_the_nearest():
    with pytest.raises(UserError, match="did you mean 'bundled/pendulum-mixed'"):
        load_dataset("bundled/pendulum")
    with pytest.raises(UserError, match="did you mean 'max_episode_steps'"):
        load_dataset("bundled/pendulum-mixed", max_episode_step=3)


def test_references():
    assert reference_for("halfcheetah-medium-expert-v2") == (-280.178953, 12135.0)
    assert reference_for("anything", "Walker2d-v5") == (1.629008, 4592.3)
    assert reference_for("maze2d-umaze-dense-v1") == (68.537689, 193.66285642381482)
    assert reference_for("D4RL/antmaze-large-play-v2") == (0.0, 1.0)
    assert reference_for("zoo/x-v0", "LunarLander-v3") == (-188.0, 240.0)
    assert reference_for("my-robot-v0") is None
    assert reference_for("door-robot-v0") is None
    assert d4rl_id("Ant_maze_u-maze_noisy_multistart_False_multigoal_False_sparse") == "antmaze-umaze"
    assert d4rl_id("maze2d-large-sparse-v1") == "maze2d-large-v1"
    assert d4rl_id("door-v0_demos_clipped") == "door-demos-clipped"
    assert d4rl_id("halfcheetah_medium_expert-v2") == "halfcheetah-medium-expert-v2"
    assert (time_limit("antmaze-umaze-v0"), time_limit("antmaze-large-v0"), time_limit(None)) == (700, 1000, None)
    assert environment_spec_for("hopper-medium-v2", (12,)) is None
