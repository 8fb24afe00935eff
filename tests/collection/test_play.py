"""Logs have the exact size, can be played again, and end at a failure with whole episodes."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest

from holdfast.cli import main as holdfast
from holdfast.collection import behaviours, play
from holdfast.core.errors import UserError
from holdfast.data import load_dataset
from holdfast.data.checks.check import check
from holdfast.environments.gym.collector import episode_seed
from support.logs import CHAIN, ENV, played_again


def test_a_log_has_exactly_the_steps_and_can_be_played_again():
    data = play.collect(ENV, behaviours.uniform(), steps=1300, seed=3)
    assert (data.n_steps, data.lengths.tolist()) == (1300, [200] * 6 + [100])
    assert data.truncations[data.offsets[1:] - 1].all()
    assert not data.terminations.any()
    assert data.env_id == ENV
    # three environments: episode e is number e // 3 of environment e % 3
    assert played_again(data, gymnasium.make(ENV), [episode_seed(3, e % 3, e // 3) for e in range(7)])
    assert {f.kind for f in check(data) if f.level != "note"} == set()
    assert play.collect(ENV, behaviours.uniform(), steps=1300, seed=3).fingerprint == data.fingerprint
    assert play.collect(ENV, behaviours.uniform(), steps=1300, seed=4).fingerprint != data.fingerprint
    assert np.abs(data.actions).max() > 1.9


def test_whole_episodes_are_taken_by_number_and_short_ones_are_not_favoured():
    data = play.collect(CHAIN, behaviours.uniform(), episodes=40, seed=1)
    assert data.n_episodes == 40
    ends = data.terminations | data.truncations
    assert ends[data.offsets[1:] - 1].all()
    assert ends.sum() == 40
    more = play.collect(CHAIN, behaviours.uniform(), episodes=60, seed=1)
    # with as many environments, more episodes only add to the list
    np.testing.assert_array_equal(more.observations[: len(data.observations)], data.observations)
    assert {f.level for f in check(data)} <= {"note", "warn"}


@pytest.mark.parametrize("wrong", [{}, {"steps": 10, "episodes": 1}, {"steps": 0}, {"episodes": 1, "seed": -1}])
def test_invalid_sizes_are_refused(wrong):
    with pytest.raises(UserError, match="expected one of the two"):
        play.collect(ENV, behaviours.uniform(), **wrong)


def test_parts_are_joined():
    parts = [play.collect(ENV, behaviours.uniform(), steps=250, seed=s, id=f"part-{s}") for s in (0, 1)]
    whole = play.joined(parts, "whole")
    assert whole.lengths.tolist() == [200, 50] * 2
    np.testing.assert_array_equal(whole.returns(), np.concatenate([p.returns() for p in parts]))
    np.testing.assert_array_equal(whole.select([2, 3]).observations, parts[1].observations)
    assert [one["seed"] for one in whole.provenance["collected"]] == [0, 1]
    with pytest.raises(UserError, match="cannot be joined"):
        play.joined([parts[0], play.collect(CHAIN, behaviours.uniform(), episodes=2)], "none")


class Wearing(gymnasium.Env):
    """Episodes of three steps; after twenty steps in all it breaks."""

    observation_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)
    action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)
    total = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        Wearing.total, self.t = Wearing.total + 1, self.t + 1
        if Wearing.total > 20:
            raise RuntimeError("the belt is torn")
        return np.zeros(1, np.float32), 1.0, self.t == 3, False, {}


def test_a_failing_environment_leaves_the_episodes_before_it(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(Wearing, "total", 0)
    gymnasium.register("holdfast-test/Wearing-v0", Wearing)
    path = tmp_path / "log.npz"
    try:
        assert holdfast(["data", "collect", str(path), "--env", "holdfast-test/Wearing-v0", "--steps", "1000"]) == 2
    finally:
        del gymnasium.registry["holdfast-test/Wearing-v0"]
    said = capsys.readouterr().err
    data = load_dataset(str(path))
    assert "the belt is torn" in said
    assert f"its {data.n_episodes} complete episodes are in" in said
    assert data.n_steps == 3 * data.n_episodes >= 3
    assert data.terminations.sum() == data.n_episodes
