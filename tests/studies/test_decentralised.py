"""The study of teams that learn from logs: its smallest form, and its mistakes. Its tables: test_tabular_mabcq.py."""

import dataclasses

import numpy as np
import pytest

from holdfast import UserError
from holdfast.studies import decentralised, decentralised_spread, result


@pytest.mark.slow
def test_the_study_in_its_smallest_form(tmp_path):
    args = decentralised.Args(
        episodes=200,
        updates=500,
        levels=("expert",),
        log_episodes=60,
        steps=60,
        seeds=1,
        hidden=(16,),
        test_episodes=20,
        learner_steps=("mabcq=30",),
        runs=tmp_path / "runs",
    )
    found = decentralised.decentralised(args)
    assert {len(row) for row in found.rows} == {len(found.header)}
    teams = {row[2]: row[3] for row in found.rows if row[0] == "spread"}
    assert set(teams) == {"the log", *decentralised_spread.LEARNERS}
    updates = {row[2]: row[7] for row in found.rows if row[0] == "spread"}
    assert (updates["MABCQ"], updates["OMIGA"]) == (30, 60)
    again = decentralised.decentralised(dataclasses.replace(args, learners=("omar", "mabcq")))  # reads its runs
    assert {row[2]: row[3] for row in again.rows if row[0] == "spread"} == {
        name: teams[name] for name in ("the log", "MABCQ", "OMAR")
    }
    with pytest.raises(UserError, match="contains a run with other settings"):
        decentralised.decentralised(dataclasses.replace(args, learner_steps=(), learners=("mabcq",)))
    assert all(np.isfinite(value) and value < 0 for value in teams.values())
    assert len(found.notes) == len(decentralised.LOGS) + 1
    pytest.importorskip("matplotlib")
    assert [path.suffix for path in result.write(found, tmp_path / "out")] == [".json", ".csv", ".png"]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"levels": ("experts",)}, "did you mean 'expert'"),
        ({"learners": ("omigo",)}, "did you mean 'omiga'"),
        ({"learner_steps": ("mabc=3",)}, "did you mean 'mabcq'"),
        ({"learner_steps": ("mabcq=0",)}, r"--learner-steps mabcq=0: expected NAME=N with N from 1"),
        ({"steps": 0, "seeds": 0}, "steps is 0, expected at least 1; seeds is 0"),
    ],
)
def test_mistakes(wrong, said):
    with pytest.raises(UserError, match=said):
        decentralised.decentralised(decentralised.Args(**wrong))
