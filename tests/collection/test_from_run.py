"""Logs and policies of a finished run."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest

from holdfast.collection import from_run
from holdfast.core.errors import UserError
from holdfast.data.checks.check import check
from holdfast.environments.gym.collector import episode_seed
from holdfast.policy.policy import Policy
from support.logs import ENV, played_again
from support.small_runs import tiny


def test_the_replay_holds_the_collected_transitions_in_order(learned):
    data = from_run.replay_log(learned.path, 1)
    assert data.lengths.tolist() == [200, 200, 50]
    assert played_again(data, gymnasium.make(ENV), [episode_seed(1, 0, e) for e in range(3)])
    assert {f.kind for f in check(data) if f.level != "note"} == set()
    first = from_run.replay_log(learned.path, 1, rows=230)
    assert first.lengths.tolist() == [200, 30]
    np.testing.assert_array_equal(first.actions, data.actions[:230])
    with pytest.raises(UserError, match="has collected 450 steps"):
        from_run.replay_log(learned.path, 1, rows=451)
    with pytest.raises(UserError, match="has 2 replicas"):
        from_run.replay_log(learned.path, 2)


def test_runs_without_a_replay_or_kept_policies_are_refused(tmp_path):
    run = tiny(tmp_path / "bc")
    with pytest.raises(UserError, match="learned from logged data"):
        from_run.replay_log(run.path)
    with pytest.raises(UserError, match="--keep-policies"):
        from_run.policies(run.path)


def test_the_medium_policy_is_a_third_of_the_way(learned, monkeypatch):
    kept = from_run.policies(learned.path, 1)
    assert [step for step, *_ in kept] == [90, 180, 270, 360, 450]
    assert kept[-1][1] == pytest.approx(np.mean(learned.result["returns"][1]))
    steps = [Policy.load(folder).info["step"] for *_, folder in kept]
    assert steps == [90, 180, 270, 360, 450]
    last = Policy.load(learned.path / "policy" / "seed-1")
    obs = np.ones(3, np.float32)
    np.testing.assert_array_equal(Policy.load(kept[-1][2])(obs), last(obs))
    made = [(90, -1000.0, None), (180, -801.0, None), (270, -799.0, None), (360, -200.0, None), (450, -400.0, None)]
    monkeypatch.setattr(from_run, "policies", lambda run, replica: made)
    assert from_run.medium("run", -1000)[0] == 270  # (-1000 to -400) / 3: -800
    with pytest.raises(UserError, match="train for longer"):
        from_run.medium("run", -400)
