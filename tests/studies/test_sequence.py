"""The study of sequences: the delayed log, rows and sentences, and a whole study of a tiny size."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from holdfast.core.errors import UserError
from holdfast.data import Dataset, load_dataset
from holdfast.studies import sequence
from holdfast.studies.result import picture
from support.studies import run_of

TINY = dataclasses.replace(
    sequence.QUICK, steps=6, seeds=2, hidden=(8,), width=8, context=3, layers=1, targets=2, evaluations=2, episodes=1
)


def test_a_delayed_log_has_the_same_returns_in_its_last_rewards():
    def episode(rewards):
        last = np.arange(len(rewards)) == len(rewards) - 1
        actions = np.zeros((len(rewards), 1), np.float32)
        return {
            "observations": np.zeros((len(rewards) + 1, 2), np.float32),
            "actions": actions,
            "rewards": rewards,
            "terminations": last,
            "truncations": last & False,
        }

    data = Dataset.from_episodes([episode([1.0, 2.0, 4.0]), episode([-3.0, 1.0])])
    late = sequence.delayed(data)
    assert late.rewards.tolist() == [0, 0, 7, 0, -2]
    assert late.returns().tolist() == data.returns().tolist()
    assert late.id == f"{data.id}-delayed"
    assert sequence.asked_for(data, TINY) == [-2, 7]


def test_rows_and_sentences():
    labels = ("DT", "%BC", "BC", "IQL")
    found = {
        sequence.LOGGED: {label: run_of([[[0], [10]], [[0], [20]]]) for label in labels},
        sequence.DELAYED: {label: run_of([[[0], [7]], [[0], [11]]]) for label in labels},
    }
    rows = sequence.rows_of(found)
    assert [row[:4] for row in rows[:2]] == [("as logged", "DT", "", 15.0), ("as logged", "%BC", "", 15.0)]
    assert rows[4][:4] == ("delayed", "DT", "", 9.0)
    reached = [np.array([[1.0, 3.0]]), np.array([[5.0, 9.0]])]
    assert [row[2:4] for row in sequence.target_rows([0.0, 8.0], reached)] == [(0.0, 2.0), (8.0, 7.0)]
    changes, targets = sequence.summary(found, [0.0, 8.0], reached)
    assert "DT 15.0 and 9.0 (-6.0)" in changes
    assert "0: 2, 8: 7. Rank correlation 1.00" in targets


def test_a_short_study_of_dt_learns_faster():
    short, *_ = sequence.learners(TINY, delayed=True)
    assert short.config["delayed"]
    assert short.config["actor_lr"] == 1e-3
    published, *_ = sequence.learners(sequence.PAPER, delayed=False)
    assert "actor_lr" not in published.config


def test_sizes_out_of_range_are_refused():
    with pytest.raises(UserError, match="seeds is 0, expected at least 1"):
        sequence.run(sequence.Args(seeds=0))


@pytest.mark.slow
def test_the_study(tmp_path, monkeypatch):
    monkeypatch.setattr(sequence, "QUICK", TINY)
    found = sequence.run(sequence.Args(runs=tmp_path / "runs"))
    assert len(found.rows) == 2 * 4 + 2
    assert all(np.isfinite(row[3]) and row[4] <= row[3] <= row[5] for row in found.rows)
    late = load_dataset(str(tmp_path / "runs" / "delayed.npz"))
    assert (late.rewards != 0).sum() == late.n_episodes
    assert len(picture(found)) > 10_000
    again = sequence.run(sequence.Args(runs=tmp_path / "runs"))
    assert again.rows == found.rows
