"""The comparison tables: published scores, the learners of the cells, resuming, the rows, and mistakes."""

from __future__ import annotations

import pytest

from holdfast import UserError
from holdfast.algorithms import registry
from holdfast.studies import base, comparison
from holdfast.studies.comparison import Args, Ours

SCORES = {
    ("hopper-medium", "BC"): Ours(20.0, 19.0, 21.5),
    ("hopper-medium", "COMBO"): Ours(40.0, None, None),
    ("hopper-medium", "CQL"): Ours(30.0, 1.0, 2.0),
    ("hopper-medium", "UWAC"): Ours(25.0, 1.0, 2.0),
}


def test_the_published_tables_are_whole():
    """Twelve rows of eight methods, and fifteen rows of ten methods without the entries that were not reported."""
    rows = comparison.published()
    combo = [row for row in rows if row.table == "COMBO"]
    assert len({row.task for row in combo}) == 12
    assert len(combo) == 12 * 8
    uwac = [row for row in rows if row.table == "UWAC"]
    assert len({row.task for row in uwac}) == 15
    assert len(uwac) == 15 * 10 - 15
    at = {(row.table, row.task, row.method): row.score for row in rows}
    assert len(at) == len(rows)
    assert at["COMBO", "hopper-medium", "COMBO"] == 94.9
    assert at["COMBO", "walker2d-medium", "BC"] == 6.6  # printed as walker2d-medium-replay
    assert at["COMBO", "walker2d-medium-replay", "BC"] == 11.3
    assert at["UWAC", "hopper-medium-expert", "UWAC"] == 134.7
    assert {row.method for row in rows} == {*comparison.METHODS, comparison.DISCRETE}
    assert all("2021" in row.source for row in rows)


def test_the_learners_of_the_quick_form_and_of_the_papers():
    quick = comparison.arm("MOPO", "hopper-medium", comparison.QUICK, paper=False)
    assert quick.preset == "tuned_100k"
    assert quick.config == {"hidden": [64, 64], "model_hidden": [64, 64], "model_steps": 2000}
    paper = comparison.arm("MOPO", "hopper-medium", comparison.PAPER, paper=True)
    assert (paper.preset, paper.config) == ("hopper-medium", {})
    assert comparison.arm("SAC-off", "hopper-medium", comparison.QUICK, paper=False).preset == "mujoco"
    assert all("continuous" in registry.get(name).actions for name in comparison.METHODS.values())


def test_the_tables_by_hand():
    theirs = [row for row in comparison.published() if row.task == "hopper-medium"]
    rows = comparison.rows_of(theirs, SCORES)
    assert {len(row) for row in rows} == {len(comparison.HEADER)}
    assert ("COMBO", "hopper-medium", "BC", 20.0, 19.0, 21.5, 29.0, "") in rows
    assert ("COMBO", "hopper-medium", "COMBO", 40.0, "", "", 94.9, "") in rows
    assert ("COMBO", "hopper-medium", "BEAR", "", "", "", 52.1, "") in rows
    assert ("UWAC", "hopper-medium", "UWAC", 25.0, 1.0, 2.0, 88.9, 12.2) in rows
    found = comparison.notes(theirs, {"hopper-medium": 34.3}, SCORES)
    head, ours, given, ranks = (line.split() for line in found[1:5])
    assert head == ["Table", "of", "COMBO", "log", *(row.method for row in theirs if row.table == "COMBO")]
    assert ours == ["hopper-medium", "ours", "34.3", "20.0", "40.0", "-", "30.0", "-", "-", "-", "-"]
    assert given == ["paper", "29.0", "94.9", "28.0", "86.6", "0.8", "52.1", "32.7", "31.1"]
    assert " ".join(ranks).endswith("rank correlation of the methods within a row: hopper-medium 1.00.")
    assert max(map(len, found)) <= 120


@pytest.mark.slow
def test_a_cell_is_trained_once(tmp_path, monkeypatch):
    args = Args(runs=tmp_path / "runs", steps=2, episodes=1, hidden=(8,))
    size = base.size_of(args, comparison.QUICK, comparison.PAPER)
    log = "bundled/pendulum-mixed"
    monkeypatch.setattr(comparison, "reference_for", lambda task: (-1224.0, -150.0))
    found = comparison.trained("hopper-medium", log, "BC", size, args)
    assert -40 < found.value < 110
    assert (tmp_path / "runs" / "hopper-medium" / "BC" / "result.json").is_file()
    monkeypatch.setattr("holdfast.training.launch.start", lambda *a: pytest.fail("trained again"))
    assert comparison.trained("hopper-medium", log, "BC", size, args) == found
    other = base.size_of(Args(steps=3, hidden=(8,)), comparison.QUICK, comparison.PAPER)
    with pytest.raises(UserError, match="other settings"):
        comparison.trained("hopper-medium", log, "BC", other, args)


def test_mistakes(monkeypatch):
    monkeypatch.setattr(comparison, "local_ids", dict)
    for args, message in (
        (Args(), "none of zoo/halfcheetah-medium-v0, .* is on this machine: name logs with --logs TASK=LOG"),
        (Args(logs=("hopper-medium",)), "--logs hopper-medium: expected TASK=LOG"),
        (Args(logs=("hoper-medium=x.npz",)), "unknown task of the tables 'hoper-medium'.*did you mean 'hopper-medium'"),
        (Args(methods=("REM",)), "unknown method of the tables 'REM'"),
        (Args(seeds=0, hidden=()), "seeds is 0, expected at least 1; hidden is empty or not positive"),
    ):
        with pytest.raises(UserError, match=message):
            comparison.run(args)
