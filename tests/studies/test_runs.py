"""Studies made of runs: flags they refuse, sizes, rows, differences of learners, two whole studies of a tiny size."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

from holdfast.core.errors import UserError
from holdfast.evaluation.statistics import Estimate
from holdfast.studies import aca, base, bcq_bipedalwalker, bcq_regimes, obac, obac_motivation, result, runs
from holdfast.training import launch as training
from support.studies import run_of


def test_milestones_have_equal_distances_and_end_with_the_run():
    run = run_of(np.zeros((2, 20, 3)), np.arange(1, 21) * 50)
    assert [int(run.eval_steps[t]) for t in runs.milestones(run)] == [200, 400, 600, 800, 1000]
    few = run_of(np.zeros((2, 2, 3)), [10, 20])
    assert runs.milestones(few) == [0, 1]


def test_a_row_has_the_mean_and_the_area_so_far():
    run = run_of([[[0, 2], [4, 4], [5, 7], [8, 8], [9, 11]], [[2, 4], [4, 4], [9, 7], [8, 8], [9, 11]]])
    rows = runs.rows_of("E", "SAC", run)
    assert [row[:3] for row in rows] == [("E", "SAC", step) for step in (100, 200, 300, 400, 500)]
    assert [row[3] for row in rows] == [2, 4, 7, 8, 10]
    assert [row[6] for row in rows] == [2, 3, 13 / 3, 21 / 4, 31 / 5]
    assert all(row[4] <= row[3] <= row[5] for row in rows)


def test_metrics_are_means_of_the_interval_before_each_row():
    values = [[np.nan, 1, 0, 1, 3], [np.nan, 3, 1, 1, 5]]
    assert runs.interval_means(run_of(np.zeros((2, 5, 1)), metrics={"m": values}), "m")[1:] == [2, 0.5, 1, 4]
    assert np.isnan(runs.interval_means(run_of(np.zeros((2, 5, 1)), metrics={"m": values}), "m")[0])


def test_differences_are_paired_by_seed_and_their_words_respect_the_interval():
    low = run_of([[[0], [0]], [[10], [10]], [[20], [20]]], (1, 2))
    high = run_of([[[1], [3]], [[12], [12]], [[22], [22]]], (1, 2))
    found = runs.gain(high, low)
    assert found == Estimate(2.0, 2.0, 2.0)  # the spread between seeds is not that of the difference
    assert runs.verdict(found).endswith("above")
    assert runs.verdict(runs.gain(low, high)).endswith("below")
    assert "no difference" in runs.verdict(Estimate(1.0, -0.5, 2.0))
    assert "one seed" in runs.verdict(runs.gain(run_of([[[1], [3]]], (1, 2)), run_of([[[0], [0]]], (1, 2))))


@pytest.mark.parametrize(
    ("module", "wrong", "message"),
    [
        (
            obac_motivation,
            {"steps": 900, "seeds": 0},
            "seeds is 0, expected at least 1; steps is 900, expected at least 1005",
        ),
        (obac_motivation, {"envs": ()}, "envs is empty"),
        (obac, {"envs": ("Pendulum-v9",)}, "Pendulum"),
        (obac, {"envs": ("CartPole-v1",)}, "obac needs continuous actions"),
        (obac, {"gate": "stat"}, "did you mean 'state'"),
        (aca, {"updates": 0, "seeds": 0}, "updates is 0, expected at least 1; seeds is 0, expected at least 1"),
        (aca, {"steps": 5}, "steps is 5, expected at least 20"),
        (aca, {"data": "bundled/pendulum"}, "pendulum-mixed"),
        (bcq_regimes, {"steps": 100, "seeds": 0}, "steps is 100, expected at least 160; seeds is 0"),
        (bcq_regimes, {"env": "Pendulum-v9"}, "Pendulum"),
        (bcq_bipedalwalker, {"updates": 1, "steps": 0}, "steps is 0, expected at least 1; updates is 1"),
        (bcq_bipedalwalker, {"data": ("a", "b", "c"), "expert": "d"}, "leave one out"),
    ],
)
def test_mistakes_are_reported_before_training(module, wrong, message, tmp_path):
    with pytest.raises(UserError, match=message):
        module.run(module.Args(runs=tmp_path / "runs", **wrong))
    assert not list(tmp_path.rglob("config.json"))


TINY = runs.OnlineSize(
    envs=("Pendulum-v1",), steps=40, seeds=2, hidden=(8,), batch_size=8, warmup=10, evaluations=5, episodes=5
)


def test_flags_replace_the_fields_of_their_names():
    args = obac.Args(steps=50, hidden=(9,))
    size = base.sized(args, TINY, obac.PAPER)
    assert (size.steps, size.hidden, size.seeds, size.envs) == (50, (9,), 2, ("Pendulum-v1",))
    assert base.sized(obac.Args(paper=True), TINY, obac.PAPER) == obac.PAPER


@pytest.mark.slow
def test_the_motivation_of_obac(tmp_path, monkeypatch):
    monkeypatch.setattr(obac_motivation, "QUICK", TINY)
    args = obac_motivation.Args(runs=tmp_path / "runs")
    found = obac_motivation.run(args)
    assert [row[:3] for row in found.rows] == [
        ("Pendulum-v1", arm.label, step) for arm in obac_motivation.ARMS for step in (8, 16, 24, 32, 40)
    ]
    assert found.notes[0] == obac_motivation.CLAIM
    assert "Pendulum-v1, 2 seeds" in found.notes[1]
    replay = [tmp_path / "runs" / "Pendulum-v1" / name / "metrics.csv" for name in ("SAC", "IQL-concurrent")]
    assert replay[0].read_bytes() == replay[1].read_bytes()  # both policies are of one replay

    trained = []
    monkeypatch.setattr(training, "start", lambda *a, **k: trained.append(a))
    again = obac_motivation.run(args)
    assert again.rows == found.rows
    assert not trained
    with pytest.raises(UserError, match=r"steps 40 instead of 45.*name another folder with --runs"):
        obac_motivation.run(obac_motivation.Args(runs=tmp_path / "runs", steps=45))
    with pytest.raises(UserError, match=r"hidden \[8\] instead of \[9\]"):
        obac_motivation.run(obac_motivation.Args(runs=tmp_path / "runs", hidden=(9,)))


def gated(returns, on, difference):
    """A run of OBAC with made-up returns and gate; nothing is reported before the first update."""
    values = {"on": on, "difference": difference, "policy_value": 0 * difference, "behaviour_value": difference}
    gates = {f"gate/{name}": np.full((2, 5), float(value)) for name, value in values.items()}
    for value in gates.values():
        value[:, 0] = np.nan
    return run_of(np.full((2, 5, 3), float(returns)), metrics=gates)


def test_the_summary_of_obac(tmp_path, monkeypatch):
    made = {obac.OBAC: gated(-100, 0.25, 3), obac.SAC: gated(-120, 0, 2), obac.FIXED: gated(-150, 1, 5)}
    monkeypatch.setattr(runs, "learn_all", lambda arms, size, folder: dict.fromkeys(size.envs, made))
    found = obac.run(obac.Args(envs=("A", "B")))
    assert len(found.rows) == 2 * 3 * 5
    assert found.rows[0][7:] == ("", "")
    assert found.rows[1][7:] == (0.25, 3)
    for env, note in zip("AB", found.notes[1:], strict=True):
        assert f"in {env}, 2 seeds" in note
        assert "OBAC less SAC +20.0 [+20.0, +20.0]: above" in note
        assert "less the fixed constraint +50.0" in note
        assert "on for 25 % of the updates at the start and 25 % at the end" in note
    pytest.importorskip("matplotlib")
    written = result.write(found, tmp_path)
    assert [p.suffix for p in written] == [".json", ".csv", ".png"]
    with written[1].open(newline="") as file:
        assert len(list(csv.reader(file))) == 1 + 30
    assert json.loads(written[0].read_text())["settings"]["arms"][1]["config"]["gate"] == "off"


@pytest.mark.slow
def test_obac_against_sac(tmp_path, monkeypatch):
    monkeypatch.setattr(obac, "QUICK", TINY)
    found = obac.run(obac.Args(runs=tmp_path / "runs"))
    gate = {label: [row[7] for row in found.rows if row[1] == label] for label in (obac.OBAC, obac.SAC, obac.FIXED)}
    assert gate[obac.SAC][0] == ""  # no update within the random steps
    assert gate[obac.SAC][2:] == [0, 0, 0]
    assert gate[obac.FIXED][2:] == [1, 1, 1]
    assert all(0 <= on <= 1 for on in gate[obac.OBAC][2:])
