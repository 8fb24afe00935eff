"""Tables, pictures and pages of a run folder that the test writes, and the two commands that make them."""

from __future__ import annotations

import html.parser
import io
import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from holdfast.core.errors import UserError
from holdfast.report import curves, svg
from holdfast.report.page import write_page
from holdfast.report.table import results_table, rows
from holdfast.runs.read import read_run
from support.made_runs import EPISODES, STEPS, make_run, value_of

Patch = pytest.MonkeyPatch
Capture = pytest.CaptureFixture[str]


def test_a_run_is_read_back_into_arrays(tmp_path: Path) -> None:
    record = read_run(make_run(tmp_path / "run", (0.5, 0.9)))
    assert record.replicas == [
        "expectile-0.5-seed-0",
        "expectile-0.5-seed-1",
        "expectile-0.9-seed-0",
        "expectile-0.9-seed-1",
    ]
    assert [(g.label, g.rows) for g in record.groups] == [("expectile 0.5", [0, 1]), ("expectile 0.9", [2, 3])]
    assert record.returns.shape == (4, 3, EPISODES)
    assert record.returns[3, 1, 2] == value_of(1, 0.9, 20, 2)
    assert record.eval_steps.tolist() == record.metric_steps.tolist() == list(STEPS)
    assert np.isnan(record.metrics["actor/<loss>"][0, 0])
    assert record.metrics["actor/<loss>"][2].tolist()[1:] == [18.0, 27.0]
    assert record.reference == (-1224.0, -150.0)
    mean, low, high = record.over_seeds([0, 1])
    assert mean.tolist() == record.returns[:2].mean((0, 2)).tolist()
    assert (low < mean).all()
    assert (mean < high).all()


def test_an_evaluation_that_was_cut_short_is_left_out(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", ended=False)
    lines = (run / "evaluations.csv").read_text().splitlines()
    (run / "evaluations.csv").write_text("\n".join(lines[:-1]) + "\n")
    assert read_run(run).eval_steps.tolist() == [10, 20]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda run: (run / "config.json").unlink(), "is not a run folder"),
        (lambda run: [(run / f"{n}.csv").unlink() for n in ("metrics", "evaluations")], "has no metrics yet"),
        (
            lambda run: (run / "metrics.csv").write_text("step,phase,replica,seed,x\n1,offline,seed-0,0,zebra\n"),
            "damaged",
        ),
        (lambda run: (run / "metrics.csv").write_text("stop,phase\n1,offline\n"), "damaged"),
        (lambda run: (run / "metrics.csv").write_bytes(b"\xff\xfe\x00"), "cannot read"),
    ],
)
def test_a_folder_that_is_not_a_run_gets_one_line(tmp_path: Path, spoil: Any, message: str) -> None:
    run = make_run(tmp_path / "run")
    spoil(run)
    with pytest.raises(UserError, match=message) as caught:
        read_run(run)
    assert "\n" not in str(caught.value)


def test_the_table_has_every_replica_and_the_iqm(tmp_path: Path) -> None:
    from rich.console import Console

    record = read_run(make_run(tmp_path / "run", (0.5, 0.9)))
    logged, low, high = rows(record)
    assert logged == [("logging policy", "-190.0", "-", "96.3")]
    assert [cells[0] for cells in low] == [*record.replicas[:2], "mean over 2 seeds, expectile 0.5"]
    assert low[0][1] == f"{np.mean([value_of(0, 0.5, 30, k) for k in range(EPISODES)]):.1f}"
    assert re.fullmatch(r"-\d+\.\d to -\d+\.\d", low[0][2])
    assert high[2][3] == f"{float(record.score(record.average([2, 3]).value)):.1f}"
    shown = io.StringIO()
    Console(width=120, file=shown).print(results_table(record))
    text = shown.getvalue()
    assert "1,234 updates/s (4 runs in one program)" in text
    assert "compiled in 1.5 s" in text


def test_the_curve_is_a_whole_png(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", (0.5, 0.9))
    assert curves.write_curve(run) == run / "curve.png"
    data = (run / "curve.png").read_bytes()
    assert data.startswith(b"\x89PNG")
    assert data.endswith(b"IEND\xaeB`\x82")
    assert sorted(p.name for p in run.iterdir() if p.name.startswith(".")) == []
    figure = curves.draw(read_run(run))
    words = " ".join(text.get_text() for text in figure.findobj(lambda a: hasattr(a, "get_text")))
    for expected in (
        "iql on made/up-v0",
        "updates",
        "return",
        "normalised score",
        "logging policy -190",
        "expert -150",
        "expectile 0.9",
    ):
        assert expected in words


def test_a_run_without_evaluation_has_a_page_and_no_curve(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", evaluated=False)
    with pytest.raises(UserError, match="no evaluation"):
        curves.write_curve(run)
    assert "contains no evaluation" in write_page(run).read_text()


def test_without_matplotlib_the_message_names_the_extra(tmp_path: Path, monkeypatch: Patch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(UserError, match=r"pip install 'holdfast\[report\]'"):
        curves.write_curve(make_run(tmp_path / "run"))


class Outline(html.parser.HTMLParser):
    """Tags that are open at the end, and everything that would be fetched."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.fetched: list[str] = []
        self.charts = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.fetched += [v or "" for k, v in attrs if k in ("src", "href", "srcset", "xlink:href")]
        self.charts += tag == "svg"
        if tag not in ("meta",):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.open.pop()


@pytest.mark.parametrize(("sweep", "ended"), [((), True), ((0.5, 0.7, 0.9), True), ((), False)])
def test_the_page_is_self_contained(tmp_path: Path, sweep: tuple[float, ...], ended: bool) -> None:
    text = write_page(make_run(tmp_path / "run", sweep, ended)).read_text(encoding="utf-8")
    outline = Outline()
    outline.feed(text)
    assert outline.open == []
    assert outline.fetched == []
    assert "@import" not in text
    assert "url(" not in text
    assert outline.charts == 3  # returns and two metrics
    assert "actor/&lt;loss&gt;" in text
    assert "actor/<loss>" not in text
    assert "The data set is not available" in text
    assert ("not finished" in text) == (not ended)
    hover = json.loads(html.unescape(re.findall(r"data-hover='(.*?)'", text)[0]))
    assert len(hover["lines"]) == max(1, len(sweep))


def test_the_page_shows_the_bundled_data(tmp_path: Path) -> None:
    text = write_page(make_run(tmp_path / "run", data="bundled/pendulum-mixed")).read_text(encoding="utf-8")
    assert "33,576 steps in 168 episodes" in text
    assert "Returns of the logged episodes" in text
    changed = make_run(tmp_path / "other", data="bundled/pendulum-mixed", dataset_fingerprint="0" * 64)
    assert "has changed since" in write_page(changed).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 8000, [0, 2000, 4000, 6000, 8000]), (-0.73, -0.05, [-0.8, -0.6, -0.4, -0.2, 0]), (3, 3.5, [3, 3.2, 3.4, 3.6])],
)
def test_ticks_are_round_and_enclose(low: float, high: float, expected: list[float]) -> None:
    np.testing.assert_allclose(svg.ticks(low, high, 5), expected, atol=1e-12)


@pytest.mark.parametrize(
    "y", [[1.0, 1.0, 1.0], [np.nan, np.nan, np.nan], [np.nan, 2.0, np.nan], [1e-30, 2e-30, 0.0], [0.0, 0.0, 0.0]]
)
def test_charts_of_constant_missing_and_tiny_numbers(y: list[float]) -> None:
    drawn = svg.chart([svg.Line("m", np.array([1, 2, 3]), np.array(y))])
    assert "nan" not in drawn.lower().replace("data-hover", "")
    assert "inf" not in drawn


def test_the_report_command(tmp_path: Path, capsys: Capture) -> None:
    from holdfast.cli.report import main

    run = make_run(tmp_path / "run")
    assert main([str(run)]) == 0
    said = capsys.readouterr().out
    assert "logging policy" in said
    assert str(run / "report.html") in said.replace("\n", "")
    assert (run / "curve.png").is_file()
    with pytest.raises(UserError, match="is not a run folder"):
        main([str(tmp_path)])
    with pytest.raises(UserError, match="--opne"):
        main([str(run), "--opne"])


def test_the_demo_with_few_steps(tmp_path: Path, monkeypatch: Patch, capsys: Capture) -> None:
    from holdfast.cli.demo import main

    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "demo").mkdir(parents=True)
    (tmp_path / "runs" / "demo" / "mine.txt").write_text("precious")
    assert main(["--steps", "2", "--seeds", "2", "--eval-episodes", "1"]) == 0
    said, told = capsys.readouterr()
    assert "runs/demo is not empty: this run is written to runs/demo-1" in told
    for words in (
        "logging policy",
        "mean over 2 seeds",
        "updates/s",
        "runs/demo-1/policy/seed-0",
        "holdfast report runs/demo-1",
    ):
        assert words in said
    assert (tmp_path / "runs/demo-1/curve.png").is_file()
    assert (tmp_path / "runs/demo-1/policy/seed-1/policy.safetensors").is_file()
    assert [p.name for p in (tmp_path / "runs/demo").iterdir()] == ["mine.txt"]
