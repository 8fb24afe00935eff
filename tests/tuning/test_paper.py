"""The table of a paper: which runs it has, its page, and its numbers."""

import csv
import re

import numpy as np
import pytest

import holdfast
from holdfast.cli import main
from holdfast.core.errors import UserError
from holdfast.runs.read import read_run
from holdfast.tuning import paper
from support.small_runs import DATA

HOW = {"steps": 4, "block": 4, "eval_episodes": 2, "seeds": 2, "progress": False, "skip_unfit": True}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    out = tmp_path_factory.mktemp("paper") / "table"
    return holdfast.tune(["bc", "dqn"], DATA, out=out, config={"hidden": [8], "batch_size": 8}, **HOW)


def test_a_table_of_normalised_scores(found, tmp_path):
    assert [(trial.algorithm, trial.origin) for trial in found.trials] == [("bc", "preset")]  # dqn is for other actions
    table = paper.table_of("Pendulum", found)
    record = read_run(found.path / found.trials[0].run)
    scores = np.asarray(record.score(record.returns[:, -1]))
    cell = table.cells["bc", DATA]
    assert cell.normalised
    assert cell.estimate.value == pytest.approx(scores.mean())
    assert cell.estimate.low <= cell.estimate.value <= cell.estimate.high
    assert table.logged[DATA].estimate.value == pytest.approx(float(record.score(record.logged)))
    page = paper.markdown(table)
    assert "# Pendulum" in page
    assert "4 updates, 2 seeds, 2 episodes a policy" in page
    assert "the mean over seeds" in page
    rows = [line for line in page.splitlines() if line.startswith("|")]
    assert rows[0] == f"| algorithm | {DATA} | mean |"
    assert re.fullmatch(r"\| `bc` \| -?[\d.]+ \[-?[\d.]+, -?[\d.]+\] \| -?[\d.]+ \|", rows[3])
    paper.write(table, tmp_path)
    with (tmp_path / "paper.csv").open(newline="") as file:
        cells = {(row["algorithm"], row["data"]): row for row in csv.DictReader(file)}
    assert float(cells["bc", DATA]["value"]) == cell.estimate.value
    assert cells["logged", DATA]["kind"] == "score"


def test_returns_without_a_reference_are_marked():
    raw = paper.Score(paper.Estimate(-120.0, -130.0, -110.0), False)
    score = paper.Score(paper.Estimate(50.0, None, None), True)
    assert paper._row("x", [raw, None, score]) == "| x | r -120.0 [-130.0, -110.0] |  | 50.0 |  |"
    assert paper._row("x", [score, score]) == "| x | 50.0 | 50.0 | 50.0 |"


def test_suites():
    assert "mujoco/hopper/medium-v0" in paper.suite_of("mujoco-v5").sets
    assert len(paper.suite_of("adroit").sets) == 12
    assert "D4RL/antmaze/large-diverse-v1" in paper.suite_of("antmaze").sets
    assert "D4RL/kitchen/partial-v2" in paper.suite_of("kitchen").sets
    assert DATA in paper.suite_of("bundled").sets
    with pytest.raises(UserError, match="unknown suite 'mujoco'"):
        paper.suite_of("mujoco")


@pytest.mark.parametrize(
    ("argv", "why"),
    [
        (["table"], "unknown benchmark 'table'"),
        (["paper", "--suite", "gym"], "expected one of mujoco-v5, adroit"),
        (["paper", "--data", "bundled/nothing"], "nothing"),
        (["paper", "--data", DATA, "--algorithms", "dqn"], "none of dqn learns from the actions of these data"),
        (["paper", "--data", DATA, "--algorithms", "bcx"], "unknown algorithm 'bcx'"),
        (["paper", "--resume", "nowhere"], "is not a search"),
    ],
)
def test_mistakes_are_one_line(argv, why, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["bench", *argv]) == 2
    line = capsys.readouterr().err
    assert why in line
    assert line.count("\n") == 1


@pytest.mark.slow
def test_a_table_from_the_command_line(tmp_path, capsys):
    argv = ["bench", "paper", "--data", DATA, "--algorithms", "bc", "td3_bc", "--steps", "40", "--seeds", "1"]
    assert main([*argv, "--episodes", "1", "--out", str(tmp_path / "table")]) == 0
    page = capsys.readouterr().out
    assert "| `td3_bc` |" in page
    assert main(["bench", "paper", "--resume", str(tmp_path / "table")]) == 0
    assert capsys.readouterr().out == page
