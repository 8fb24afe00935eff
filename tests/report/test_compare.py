"""`holdfast compare` on folders that the test writes, with numbers worked by hand."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import holdfast
from holdfast.cli.compare import main
from holdfast.core.errors import UserError
from holdfast.evaluation.statistics import Estimate
from holdfast.report import compare_page
from holdfast.report.compare import compare
from holdfast.report.comparison import verdict
from holdfast.report.entries import find
from support.made_runs import EPISODES, make_run, value_of

Capture = pytest.CaptureFixture[str]


def flat(level: float) -> Any:
    """Returns that depend on the seed only: a run of seeds 0, 1, 2 has level, level + 1, level + 2."""
    return lambda seed, expectile, step, episode: level + seed


def labels(*runs: Path) -> list[str]:
    return [entry.label for entry in compare(*runs).entries]


def test_runs_are_found_by_folder_pattern_and_parent(tmp_path: Path) -> None:
    names = ("a1", "a2", "b/c")
    made = [make_run(tmp_path / name) for name in names]
    assert find([tmp_path]) == [made[0], made[1], made[2]]
    assert find([made[1], str(tmp_path / "a*"), tmp_path / "b"]) == [made[1], made[0], made[2]]
    (tmp_path / "none").mkdir()
    for name, message in ((tmp_path / "none", "contains no run"), (str(tmp_path / "x*"), "no folder matches"),
                          (tmp_path / "y", "is not a folder")):  # fmt: skip
        with pytest.raises(UserError, match=message) as caught:
            find([name])
        assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="expected at least two"):
        compare(made[0])


def test_labels_say_what_differs(tmp_path: Path) -> None:
    config = {"expectile": 0.7, "hidden": [8, 8]}
    a = make_run(tmp_path / "a")
    b = make_run(tmp_path / "b", config={**config, "hidden": [16, 16]})
    c = make_run(tmp_path / "c", algorithm="td3_bc")
    assert labels(a, c) == ["iql", "td3_bc"]
    assert labels(a, b, c) == ["iql hidden 8 8", "iql hidden 16 16", "td3_bc"]
    same = make_run(tmp_path / "d")
    assert labels(a, same) == ["iql (a)", "iql (d)"]
    elsewhere = make_run(tmp_path / "e" / "a")
    assert labels(a, elsewhere) == [f"iql (a) ({a})", f"iql (a) ({elsewhere})"]
    swept = make_run(tmp_path / "f", (0.5, 0.9))
    assert labels(swept) == ["iql expectile 0.5", "iql expectile 0.9"]
    assert labels(swept, a) == ["iql expectile 0.5", "iql expectile 0.9", "iql expectile 0.7"]
    other = make_run(tmp_path / "g", data="other-v0", config={**config, "hidden": [4, 4]})
    assert labels(a, other) == ["iql", "iql"]  # of two tasks, whose settings may differ


def test_differences_are_paired_where_the_seeds_are_the_same(tmp_path: Path) -> None:
    one = make_run(tmp_path / "one", value=flat(10), seeds=(0, 1, 2))
    same = make_run(tmp_path / "same", value=flat(15), seeds=(2, 1, 0), algorithm="bc")
    others = make_run(tmp_path / "others", value=flat(13), seeds=(3, 4, 5), algorithm="awac")
    found = compare(one, same, others)
    first, second, third = found.lines()
    assert first.against is None
    assert second.against is not None
    assert second.against.paired
    assert list(second.against.difference) == pytest.approx([5, 5, 5])  # in every resample of the pairs
    assert third.against is not None
    assert not third.against.paired
    low, high = third.against.difference[1:]
    assert third.against.difference.value == (13 + 4) - (10 + 1)
    assert low is not None
    assert high is not None
    assert 4 <= low < 6 < high <= 8
    assert [line.kind for line in found.lines()] == ["mean"] * 3
    assert [line.best for line in found.lines()] == [False, False, True]
    # 15, 16, 17 against 10, 11, 12: each is better; so are 16, 17, 18, of seeds 3 to 5
    assert second.against.improvement == Estimate(1.0, 1.0, 1.0)
    assert len(found.pairs()) == 3


def test_four_seeds_have_an_iqm(tmp_path: Path) -> None:
    made = [make_run(tmp_path / n, value=lambda s, e, t, k: 1000.0 if s == 3 else s, seeds=(0, 1, 2, 3), algorithm=n)
            for n in ("bc", "iql")]  # fmt: skip
    line = compare(*made).lines()[0]
    assert (line.kind, line.average.value) == ("IQM", 1.5)


def test_one_seed_each_is_compared_over_episodes(tmp_path: Path) -> None:
    made = [make_run(tmp_path / n, seeds=(0,), algorithm=n) for n in ("bc", "iql")]
    against = compare(*made).lines()[1].against
    assert against is not None
    assert against.improvement is None
    assert against.difference.value == 0
    assert against.difference.low is not None
    assert against.difference.low < 0


def test_aggregates_over_tasks_are_in_scores(tmp_path: Path) -> None:
    # Pendulum's references are -1224 and -150: a return r has the score 100 (r + 1224) / 1074
    returns = {"bc": 0.0, "iql": 537.0}  # scores 0 and 50, and 100 and 150 on the second task
    for name, plus in returns.items():
        for task, more in (("x-v0", 0.0), ("y-v0", 1074.0)):
            make_run(tmp_path / f"{name}-{task}", algorithm=name, data=task, seeds=(0, 1),
                     value=lambda s, e, t, k, r=plus + more: -1224.0 + r)  # fmt: skip
    found = compare(tmp_path)
    assert list(found.tasks) == ["x-v0", "y-v0"]
    bc, iql = found.aggregates()
    assert (bc.label, bc.runs, bc.kind) == ("bc", 4, "IQM")
    assert bc.average.value == pytest.approx(50)  # of 0, 0, 100, 100
    assert iql.average.value == pytest.approx(100)  # of 50, 50, 150, 150
    assert bc.gap.value == pytest.approx(50)
    assert iql.gap.value == pytest.approx(25)  # 150 counts as 100
    assert bc.improvement is None
    assert iql.improvement == Estimate(1.0, 1.0, 1.0)
    shares = dict(zip(iql.profile.thresholds.round(6).tolist(), iql.profile.share.tolist(), strict=True))
    assert shares[0.0] == 1.0
    assert shares[75.0] == 0.5
    assert min(shares.values()) == 0.0


def test_without_references_there_are_no_aggregates(tmp_path: Path) -> None:
    made = [make_run(tmp_path / n, algorithm=n, environment="Nowhere-v0") for n in ("bc", "iql")]
    found = compare(*made)
    assert found.aggregates() == []
    assert {row["score"] for row in found.rows()} == {None}


def test_runs_without_evaluations_are_left_out(tmp_path: Path) -> None:
    make_run(tmp_path / "a")
    make_run(tmp_path / "b", algorithm="bc")
    make_run(tmp_path / "c", evaluated=False)
    found = compare(tmp_path)
    assert len(found.entries) == 2
    assert found.left_out == [f"{tmp_path / 'c'}: no evaluation yet, and no estimate (holdfast ope)"]
    assert "no evaluation yet" in compare_page.page(found)


def test_a_difference_is_clear_if_its_interval_excludes_zero() -> None:
    assert verdict(Estimate(3.0, 1.0, 5.0)) == "higher"
    assert verdict(Estimate(-3.0, -5.0, -1.0)) == "lower"
    assert verdict(Estimate(3.0, -1.0, 5.0)) == "not clear"
    assert verdict(Estimate(3.0, None, None)) == "not clear"


def test_the_command_writes_picture_tables_and_page(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    long = make_run(tmp_path / "run", (0.512345678, 0.9), seeds=(0, 1, 2))
    other = make_run(tmp_path / "other", algorithm="td3_bc", value=lambda s, e, t, k: value_of(s, e, t, k) + 100)
    out = tmp_path / "out"
    assert main([str(long), str(other), "--out", str(out)]) == 0
    said = capsys.readouterr().out
    names = ["comparison.png", "comparison.csv", "differences.csv", "comparison.html"]
    assert sorted(path.name for path in out.iterdir()) == sorted(names)
    assert all(str(out / name) in said for name in names)
    assert "td3_bc beats iql expectile 0.9 by" in said.replace("\n", " ")
    assert "…" not in said
    assert (out / "comparison.png").read_bytes().endswith(b"IEND\xaeB`\x82")
    with (out / "comparison.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["entry"] for row in rows] == ["iql expectile 0.512346", "iql expectile 0.9", "td3_bc"]
    mean = np.mean([value_of(s, 1.0, 30, k) + 100 for s in (0, 1) for k in range(EPISODES)])
    assert float(rows[2]["return"]) == pytest.approx(mean)
    assert float(rows[2]["difference_low"]) < float(rows[2]["difference"]) < float(rows[2]["difference_high"])
    assert [row["best"] for row in rows] == ["False", "False", "True"]
    with (out / "differences.csv").open(newline="") as file:
        assert [(row["one"], row["other"], row["paired"]) for row in csv.DictReader(file)] == [
            ("iql expectile 0.9", "iql expectile 0.512346", "True"),
            ("td3_bc", "iql expectile 0.512346", "False"),
            ("td3_bc", "iql expectile 0.9", "False"),
        ]
    assert main([str(long), "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 2
    with pytest.raises(UserError, match="is not a folder"):
        main([str(tmp_path / "none"), str(long)])


def test_compare_from_python(tmp_path: Path) -> None:
    found = holdfast.compare(make_run(tmp_path / "a"), str(make_run(tmp_path / "b", algorithm="bc")))
    assert repr(found) == "Comparison of 2 entries on made/up-v0"
    assert "<table" in found._repr_html_()
    assert [row["entry"] for row in found.rows()] == ["iql", "bc"]
