"""The study of BCQ's regimes: values of logs, rows, and a whole study of a tiny size."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from holdfast.collection import from_run, play, presets
from holdfast.core.errors import UserError
from holdfast.data import Dataset, load_dataset
from holdfast.studies import bcq_regimes, result, runs
from holdfast.training import launch as training
from support.studies import run_of

TINY = bcq_regimes.Size(
    env="Pendulum-v1", steps=440, imperfect=0.5, seeds=2, warmup=40, hidden=(8,), vae_hidden=(8,), evaluations=2,
    episodes=1,
)  # fmt: skip


def log(lengths, rewards):
    """A log with these rewards; a time limit ends each episode."""
    ends = np.zeros(sum(lengths), bool)
    ends[np.cumsum(lengths) - 1] = True
    obs = np.random.default_rng(0).normal(size=(sum(lengths), 3)).astype(np.float32)
    actions = np.zeros((sum(lengths), 1), np.float32)
    return Dataset.from_arrays(
        obs, actions, np.asarray(rewards, float), ends & False, ends, obs + 1, action_bounds=(-1, 1)
    )


def test_values_of_logged_steps_are_discounted_returns_to_the_end_of_the_episode():
    data = log([3, 1], [1.0, 2.0, 3.0, 10.0])
    gamma = bcq_regimes.DISCOUNT
    first = [1 + 2 * gamma + 3 * gamma**2, 2 + 3 * gamma, 3, 10]
    assert bcq_regimes.value_of_steps(data) == pytest.approx(np.mean(first))
    assert play.whole(data).tolist() == [True, False]
    assert play.whole(log([2], [1.0, 1.0])).tolist() == [True]


def test_rows_have_the_last_return_and_the_value_estimate():
    values = {"actor/q": [[0, 3.0], [0, 5.0]]}
    made = {label: run_of([[[0], [10]], [[0], [20]]], metrics=values) for label in ("DDPG", "BC", "VAE-BC", "BCQ")}
    found = bcq_regimes.Regime(log([2, 1], [1.0, 2.0, 50.0]), None, made)
    rows = bcq_regimes.rows_of("imitation", found)
    assert [row[:3] for row in rows] == [("imitation", label, 15.0) for label in made]
    assert {row[5] for row in rows} == {3.0}  # the episode that was cut off is not counted
    assert rows[0][6] == rows[3][6] == 4
    assert np.isnan([rows[1][6], rows[2][6]]).all()
    assert all(row[3] <= row[2] <= row[4] for row in rows)
    note = bcq_regimes.summary({"imitation": found})[0]
    assert "BCQ less DDPG" in note
    assert "DDPG 4, BCQ 4" in note


def test_a_log_with_other_settings_is_refused(tmp_path):
    path = tmp_path / "log.npz"
    asked = presets.LogRequest(preset="random", env="Pendulum-v1", steps=40)
    made = presets.load_or_make(asked, "random", path)
    assert presets.load_or_make(asked, "random", path).fingerprint == made.fingerprint
    with pytest.raises(UserError, match=r"log.npz is a log of other settings \(steps 40 instead of 50\)"):
        presets.load_or_make(dataclasses.replace(asked, steps=50), "random", path)


def test_vae_bc_is_bcq_without_influence_of_the_critics():
    arms = {arm.label: arm for arm in bcq_regimes.learners(TINY)}
    assert arms["VAE-BC"].config == {**arms["BCQ"].config, "acting_candidates": 1, "candidates": 1, "phi": 0.0}
    discrete = bcq_regimes.learners(dataclasses.replace(TINY, env="CartPole-v1"))
    assert [arm.algorithm for arm in discrete] == ["dqn", "bc", "discrete_bcq"]


@pytest.mark.slow
def test_the_four_regimes(tmp_path, monkeypatch):
    monkeypatch.setattr(bcq_regimes, "QUICK", TINY)
    args = bcq_regimes.Args(runs=tmp_path / "runs")
    found = bcq_regimes.run(args)
    assert len(found.rows) == 4 * 4
    concurrent = runs.read_run(tmp_path / "runs" / "concurrent" / "BCQ")
    assert (concurrent.config["growing"], concurrent.config["steps"]) == (1.0, 400)
    noise = [runs.read_run(tmp_path / "runs" / f"behaviour-{r}").config["config"]["exploration_noise"]
             for r in ("final-buffer", "concurrent")]  # fmt: skip
    assert noise == [0.5, 0.1]
    best = max(from_run.policies(tmp_path / "runs" / "behaviour-concurrent"), key=lambda kept: kept[1])
    logged = load_dataset(tmp_path / "runs" / "logs" / "imperfect.npz").provenance["collected"][0]
    assert (logged["step"], logged["random_actions"], logged["steps"]) == (best[0], 0.3, 220)
    monkeypatch.setattr(training, "start", lambda *a, **k: pytest.fail("a finished run was trained again"))
    assert str(bcq_regimes.run(args).rows) == str(found.rows)  # as text: NaN is not itself
    pytest.importorskip("matplotlib")
    assert (tmp_path / "out" / "bcq-regimes.png") in result.write(found, tmp_path / "out")
