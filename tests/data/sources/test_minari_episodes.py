"""Minari data sets, episode by episode: rows that do not agree, incomplete sets, environments and their wrappers."""

import json

import gymnasium
import h5py
import numpy as np
import pytest
from gymnasium.wrappers import ClipAction, RecordEpisodeStatistics, RescaleAction, TimeAwareObservation
from tests.support.datasets import kinds, masked_dataset

from holdfast.core.errors import UserError
from holdfast.data import load_dataset
from holdfast.data.checks.check import check
from holdfast.data.convert import convert
from holdfast.environments.gym.adapter import make_env


@pytest.fixture
def folder(tmp_path):
    return convert(load_dataset("bundled/pendulum-mixed").select(np.arange(5)), tmp_path / "a-v0")


def change(folder, episode, column, edit):
    with h5py.File(folder / "data" / "main_data.hdf5", "a") as file:
        values = file[f"episode_{episode}/{column}"][()]
        del file[f"episode_{episode}/{column}"]
        file[f"episode_{episode}/{column}"] = edit(values)


def note(folder, **entries):
    path = folder / "data" / "metadata.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **entries}))


@pytest.mark.parametrize(
    ("column", "edit", "text"),
    [
        ("observations", lambda v: v[:-2], "has 199 rows, expected 201 for 200 actions"),
        ("rewards", lambda v: np.append(v, 0), "has 201 rows, expected 200"),
        ("truncations", lambda v: v[1:], "has 199 rows"),
        ("observations", lambda v: np.concatenate([v, v], 1), r"has rows of shape \(6,\)"),
        ("actions", lambda v: v[:0], "episode 2 has no steps"),
        ("rewards", lambda v: np.stack([v, v], 1), r"has shape \(200, 2\)"),
    ],
)
def test_a_wrong_episode_is_named_and_can_be_left_out(folder, column, edit, text):
    whole = load_dataset(folder)
    change(folder, 2, column, edit)
    with pytest.raises(UserError, match=rf"episode 2.*{text}|{text}.*") as caught:
        load_dataset(folder)
    assert "--skip-episodes 2" in str(caught.value)
    assert "\n" not in str(caught.value)
    rest = load_dataset(folder, skip_episodes=(2,))
    assert rest.fingerprint == whole.select([0, 1, 3, 4]).fingerprint


def test_rows_that_agree_in_total_only(folder):
    change(folder, 1, "observations", lambda v: v[:-1])
    change(folder, 3, "observations", lambda v: np.concatenate([v, v[-1:]]))
    with pytest.raises(UserError, match=r"observations of episode 1 .*and 1 more such faults.*--skip-episodes 1 3"):
        load_dataset(folder)
    assert load_dataset(folder, skip_episodes=[1, 3]).n_episodes == 3
    with pytest.raises(UserError, match="no episode 9 to skip"):
        load_dataset(folder, skip_episodes=[1, 3, 9])


def test_episodes_are_left_out_of_every_source(tmp_path, folder):
    data = load_dataset(folder)
    for name in ("a.npz", "a.hdf5"):
        part = load_dataset(convert(data, tmp_path / name), skip_episodes=[0, 4])
        assert part.fingerprint == data.select([1, 2, 3]).fingerprint
        with pytest.raises(UserError, match="no episode 5 to skip"):
            load_dataset(tmp_path / name, skip_episodes=[5])


def test_an_incomplete_set_is_noticed(folder):
    assert "incomplete" not in kinds(load_dataset(folder), "warn")
    with h5py.File(folder / "data" / "main_data.hdf5", "a") as file:
        del file["episode_4"]
    (fault,) = [f for f in check(load_dataset(folder)) if f.kind == "incomplete"]
    assert fault.level == "warn"
    assert "total_episodes 5, the file has 4" in fault.message
    assert "total_steps 1000, the file has 800" in fault.message
    note(folder, total_episodes="5", total_steps=800)
    assert "incomplete" not in kinds(load_dataset(folder), "warn")


def test_masks_and_discounts_are_read_by_episode(tmp_path):
    data = masked_dataset()
    folder = convert(data, tmp_path / "m-v0")
    assert load_dataset(folder).fingerprint == data.fingerprint
    assert load_dataset(folder, skip_episodes=[1]).fingerprint == data.select([0, 2]).fingerprint


def test_the_sets_own_evaluation_environment(folder, tmp_path):
    spec = gymnasium.make("Pendulum-v1", g=3.0, max_episode_steps=17).spec.to_json()
    note(folder, eval_env_spec=spec)
    data = load_dataset(folder)
    assert data.horizon == 200
    env = make_env(data.evaluation_spec)
    assert (env.spec.max_episode_steps, env.unwrapped.g) == (17, 3.0)
    copy = load_dataset(convert(data, tmp_path / "copy.npz"))
    assert copy.evaluation_spec == spec
    assert load_dataset("bundled/pendulum-mixed").evaluation_spec == load_dataset("bundled/pendulum-mixed").env_spec


@pytest.mark.filterwarnings("ignore:.*precision lowered")
def test_gymnasiums_wrappers_are_applied():
    inner = RescaleAction(gymnasium.make("Pendulum-v1", max_episode_steps=9), -3.0, 3.0)
    spec = TimeAwareObservation(RecordEpisodeStatistics(ClipAction(inner))).spec.to_json()
    env = make_env(spec)
    assert env.observation_space.shape == (4,)
    assert env.unwrapped.action_space.high.tolist() == [2.0]
    assert env.env.env.action_space.high.tolist() == [3.0]
    ends = [env.reset(seed=0) and False]
    while not ends[-1]:
        ends.append(env.step(np.zeros(1, np.float32))[3])
    assert len(ends) == 10


@pytest.mark.filterwarnings("ignore:.*precision lowered")
def test_other_wrappers_are_named(folder):
    spec = json.loads(RescaleAction(gymnasium.make("Pendulum-v1"), -1.0, 1.0).spec.to_json())
    other = {"name": "Secret", "entry_point": "nowhere.at_all:Secret", "kwargs": {}}
    running = {"name": "NormalizeObservation", "entry_point": "gymnasium.wrappers:NormalizeObservation", "kwargs": {}}
    files = {"name": "RecordVideo", "entry_point": "gymnasium.wrappers:RecordVideo", "kwargs": {"video_folder": "x"}}
    spec["additional_wrappers"] += [other, running, files]
    note(folder, env_spec=json.dumps(spec))
    data = load_dataset(folder)
    (fault,) = [f for f in check(data) if f.kind == "wrappers"]
    assert (fault.level, fault.count) == ("warn", 2)
    assert "Secret, NormalizeObservation" in fault.message
    env = make_env(data.env_spec)
    assert type(env).__name__ == "NormalizeObservation"
    assert env.action_space.high.tolist() == [1.0]
