"""Several data sets as one."""

import dataclasses

import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete
from tests.support.datasets import masked_dataset, pendulum_dataset, sound_dataset

from holdfast.core.errors import UserError
from holdfast.data import load_dataset
from holdfast.data.convert import convert
from holdfast.data.dataset import Dataset


def test_parts_joined_again_are_the_whole():
    whole = load_dataset("bundled/pendulum-mixed")
    cut = whole.n_episodes // 3
    parts = [whole.select(np.arange(cut)), whole.select(np.arange(cut, whole.n_episodes))]
    joined = Dataset.concat(parts)
    assert joined.fingerprint == whole.fingerprint
    assert (joined.action_space, joined.env_spec, joined.reference) == (
        whole.action_space, whole.env_spec, whole.reference,
    )  # fmt: skip
    noted = joined.provenance["joined"]
    assert [one["episodes"] for one in noted] == [cut, whole.n_episodes - cut]
    assert sum(one["share"] for one in noted) == pytest.approx(1)
    assert [one["fingerprint"] for one in noted] == [part.fingerprint for part in parts]


def test_a_share_of_each_set():
    data = pendulum_dataset()
    other = data.select(np.arange(4))
    joined = Dataset.concat([data, other], shares=[0.5, 1], seed=3)
    assert joined.n_episodes == 5 + 4
    assert joined.fingerprint == Dataset.concat([data, other], shares=[0.5, 1], seed=3).fingerprint
    assert joined.fingerprint != Dataset.concat([data, other], shares=[0.5, 1], seed=4).fingerprint
    for shares in ([0.5], [0, 1], [1, 2]):
        with pytest.raises(UserError, match="expected 2 numbers above 0"):
            Dataset.concat([data, other], shares=shares)
    with pytest.raises(UserError, match="no data sets to join"):
        Dataset.concat([])


def test_sets_that_differ_are_refused():
    box = dataclasses.replace(sound_dataset(), env_spec=None)
    wide = dataclasses.replace(box, action_space=Box(-2, 2, (2,)))
    narrow = dataclasses.replace(box, observations=box.observations[:, :1], observation_space=Box(-9, 9, (1,)))
    for other, what in ((wide, "actions"), (narrow, "observations"), (sound_dataset(discrete=True), "actions")):
        with pytest.raises(UserError, match=f"cannot be joined: their {what}"):
            Dataset.concat([box, other])
    elsewhere = dataclasses.replace(box, env_spec='{"id": "Y-v0"}')
    with pytest.raises(UserError, match="come from X-v0 and Y-v0"):
        Dataset.concat([sound_dataset(), elsewhere])
    assert Dataset.concat([box, elsewhere]).env_spec is None


def test_columns_that_one_set_does_not_have():
    full = masked_dataset()
    bare = dataclasses.replace(full, columns={})
    joined = Dataset.concat([bare, full])
    assert joined.columns.keys() == {"discount", "action_mask"}
    assert (joined.columns["discount"][: bare.n_steps] == 1).all()
    assert joined.columns["action_mask"][: len(bare.observations)].all()
    assert Dataset.concat([full, full]).columns.keys() == full.columns.keys()


def test_numbers_of_actions_that_were_assumed():
    def log(most):
        actions = np.arange(20) % most
        return Dataset.from_arrays(np.zeros((20, 2)), actions, np.ones(20), np.arange(20) % 5 == 4)

    assert Dataset.concat([log(3), log(5)]).action_space == Discrete(5)
    with pytest.raises(UserError, match="actions"):
        Dataset.concat([log(3), dataclasses.replace(log(5), provenance={})])


def test_names_of_several_sets(tmp_path):
    data = pendulum_dataset()
    one = convert(data.select([0, 1, 2]), tmp_path / "one.npz")
    two = convert(data.select([3, 4]), tmp_path / "two.hdf5")
    joined = load_dataset(one, also=[two])
    assert joined.fingerprint == data.select([0, 1, 2, 3, 4]).fingerprint
    assert [noted["path"] for noted in joined.provenance["joined"]] == [str(one), str(two)]
    assert load_dataset(one, also=[two], shares=[1, 0.5]).n_episodes == 4
    with pytest.raises(UserError, match="--skip-episodes is for one data set"):
        load_dataset(one, also=[two], skip_episodes=[1])


def test_several_names_on_the_command_line(tmp_path):
    from holdfast.cli.train import parse

    made, _ = parse("bc", ["--data", "bundled/pendulum-mixed", "a-v0", "b-v0", "--steps", "3"], None, None)
    assert (made.data, made.data_options) == ("bundled/pendulum-mixed", {"also": ["a-v0", "b-v0"]})
    alone, _ = parse("bc", ["--data", "a-v0"], None, None)
    assert (alone.data, alone.data_options) == ("a-v0", {})
