"""Images in data sets: one layout, bytes everywhere, no statistics, and the same set in every file format."""

import dataclasses

import minari
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete
from minari.data_collector import EpisodeBuffer

from holdfast.core.contract import Treatment
from holdfast.core.errors import UserError
from holdfast.core.spec import ArraySpec
from holdfast.data import Dataset, load_dataset
from holdfast.data.checks import fixes
from holdfast.data.checks.check import require_sound
from holdfast.data.convert import convert
from holdfast.data.describe import describe
from holdfast.data.feed.columns import prepare
from holdfast.data.feed.treatment import Fitted, fit
from support import pixels
from support.datasets import kinds

SHAPE = (12, 12, 1)


@pytest.fixture(scope="module")
def data():
    return pixels.log(8, zoom=2)


def relaid(change):
    """The log with observations in another layout."""
    changed = [{**one, "observations": change(one["observations"])} for one in pixels.episodes(8, zoom=2)]
    return Dataset.from_episodes(changed, id="other")


def test_images_are_bytes_in_one_layout(data):
    assert data.images
    assert data.observations.dtype == np.uint8
    assert data.spec.obs == ArraySpec(SHAPE, "uint8")
    assert data.observation_space == Box(0, 255, SHAPE, np.uint8)
    for change in (lambda x: np.moveaxis(x, -1, 1), lambda x: x[..., 0], lambda x: x > 0):
        other = relaid(change)
        np.testing.assert_array_equal(other.observations, data.observations)
        assert other.fingerprint == data.fingerprint


def test_a_space_of_another_layout_is_changed_too():
    one = pixels.episodes(1, zoom=2)[0]
    frames = np.repeat(one["observations"], 4, -1)
    space = Box(0, 255, (4, 12, 12), np.uint8)
    made = Dataset.from_episodes([{**one, "observations": np.moveaxis(frames, -1, 1)}], observation_space=space)
    assert made.observation_space == Box(0, 255, (12, 12, 4), np.uint8)
    np.testing.assert_array_equal(made.observations, frames)


def test_flat_columns_of_images(data):
    rows = data.observation_rows
    flat = Dataset.from_arrays(
        data.observations[rows], data.actions, data.rewards, data.terminations, None, data.observations[rows + 1]
    )
    assert flat.fingerprint == data.fingerprint


def test_float_images_are_refused(data):
    floats = data.observations.astype(np.float32)
    with pytest.raises(UserError, match=r"shape \(48, 12, 12, 1\) and type float32.*images as bytes \(uint8\)"):
        dataclasses.replace(data, observations=floats)
    with pytest.raises(UserError, match=r"observations have shape \(48, 144\).*their space is Box \(12, 12, 1\)"):
        dataclasses.replace(data, observations=data.observations.reshape(48, -1))


def test_checks_and_summaries(data):
    assert "observations (36, 36, 1) uint8" in repr(data)
    assert [fault.kind for fault in require_sound(data)] == ["duplicate"]
    assert kinds(data, "note") == ["images"]
    blank = dataclasses.replace(data, observations=np.zeros_like(data.observations))
    assert "constant_observation" in kinds(blank, "warn")
    assert describe(data)["observation_space"] == "Box(0, 255, (12, 12, 1), uint8)"
    assert fixes.drop_nonfinite(data).fingerprint == data.fingerprint


def test_the_treatment_leaves_bytes(data):
    fitted = fit(Treatment(normalize_obs=1e-3, reward_scale=2.0), data)
    assert not fitted.normalized
    columns = prepare(data, fitted, ("initial_obs",))
    assert columns.obs.dtype == columns.extra["initial_obs"].dtype == np.uint8
    np.testing.assert_array_equal(columns.obs, data.observations)
    np.testing.assert_array_equal(columns.reward, 2 * data.rewards)
    values, arrays = fitted.to_dict()
    assert Fitted.from_dict(values, arrays).keep_types
    assert sum(x.size for x in arrays.values()) == 2  # no statistics of pixels


@pytest.mark.parametrize("name", ["copy.npz", "copy.hdf5", "copy-v0"])
def test_every_format_keeps_the_images(data, name, tmp_path):
    copy = load_dataset(convert(data, tmp_path / name))
    assert copy.fingerprint == data.fingerprint
    assert copy.observations.dtype == np.uint8
    assert copy.observation_space == data.observation_space


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_minari_sets_with_channels_first(data, tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    buffers = [
        EpisodeBuffer(
            id=e,
            observations=np.moveaxis(np.repeat(one["observations"], 3, -1), -1, 1),
            actions=one["actions"],
            rewards=one["rewards"],
            terminations=one["terminations"],
            truncations=one["truncations"],
        )
        for e, one in enumerate(pixels.episodes(3, zoom=2))
    ]
    space = Box(0, 255, (3, 12, 12), np.uint8)
    minari.create_dataset_from_buffers("my/images-v0", buffers, observation_space=space, action_space=Discrete(3))
    found = load_dataset("my/images-v0")
    assert found.observation_space == Box(0, 255, (12, 12, 3), np.uint8)
    assert "raw_observation_space" not in found.provenance
    np.testing.assert_array_equal(found.observations[: len(data.observations) // 8, ..., :1], data.observations[:6])


def test_sets_of_images_are_joined(data):
    both = Dataset.concat([data, data.select([0, 1])])
    assert both.images
    assert both.n_episodes == 10
    with pytest.raises(UserError, match="their observations have the spaces"):
        Dataset.concat([data, pixels.log(2, zoom=6)])
