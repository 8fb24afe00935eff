"""Tables, pictures and pages of a run folder that the test writes, and the two commands that make them."""

from __future__ import annotations

import datetime
import io
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from holdfast.core.errors import UserError
from holdfast.report import compare_page, curves, drawing
from holdfast.report.command import command_of
from holdfast.report.compare import compare
from holdfast.report.page import write_page
from holdfast.report.table import results_table, rows
from holdfast.report.verdict import verdict_of
from holdfast.runs.read import read_run
from holdfast.runs.settings import Settings
from support.html import Outline
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
    assert "name no environment to play in" in write_page(run).read_text()


def test_without_jinja2_the_message_names_the_extra(tmp_path: Path, monkeypatch: Patch) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(UserError, match=r"pages need Jinja2: pip install 'holdfast-rl\[report\]'"):
        write_page(make_run(tmp_path / "run"))


def test_without_matplotlib_the_message_names_the_extra(tmp_path: Path, monkeypatch: Patch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(UserError, match=r"pip install 'holdfast-rl\[report\]'"):
        curves.write_curve(make_run(tmp_path / "run"))


@pytest.mark.parametrize(("sweep", "ended"), [((), True), ((0.5, 0.7, 0.9), True), ((), False)])
def test_the_page_is_self_contained(tmp_path: Path, sweep: tuple[float, ...], ended: bool) -> None:
    text = write_page(make_run(tmp_path / "run", sweep, ended)).read_text(encoding="utf-8")
    outline = Outline.of(text)
    assert outline.fetched == []
    assert outline.ids == len(set(re.findall(r' id="([^"]*)"', text)))
    assert "@import" not in text
    assert "<script" not in text
    assert "url(http" not in text
    assert outline.charts == 4  # returns in two widths, and two metrics
    assert "actor/&lt;loss&gt;" in text
    assert "actor/<loss>" not in text
    assert "The data set is not available" in text
    assert ("not finished" in text) == (not ended)
    for value in sweep:
        assert text.count(f">expectile {value:g}</text>") == 2  # in the legends of both widths


def test_names_with_markup_are_escaped(tmp_path: Path) -> None:
    name = "<script>alert(1)</script>&\"'$x$"
    text = write_page(make_run(tmp_path / "a b&c", data=name, environment=name)).read_text(encoding="utf-8")
    Outline.of(text)
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    found = compare(make_run(tmp_path / "one", (0.5, 0.9), data=name, environment=name))
    Outline.of(compare_page.page(found))
    assert "<script" not in compare_page.page(found) + found._repr_html_()


@pytest.mark.parametrize(
    ("logged", "sentence", "tone"),
    [
        ([-300.0, -310.0], "Beats the log by", "good"),
        ([-50.0, -40.0], "Falls short of the log by", "bad"),
        ([-400.0, 100.0], "No clear difference from the log:", ""),
    ],
)
def test_the_verdict_compares_with_the_log(tmp_path: Path, logged: list[float], sentence: str, tone: str) -> None:
    record = read_run(make_run(tmp_path / "run"))
    found = verdict_of(record, np.array(logged))
    mean = record.returns[:, -1].mean()
    assert found.sentence.startswith(sentence)
    numbers = re.findall(r"-?[\d.]+\d", found.sentence)
    value, low, high = map(float, numbers)
    assert value == pytest.approx(abs(mean - np.mean(logged)) if tone else mean - np.mean(logged), abs=0.06)
    assert low < value < high
    assert found.tone == tone


def test_the_verdict_of_a_sweep_is_that_of_its_best_setting(tmp_path: Path) -> None:
    found = verdict_of(read_run(make_run(tmp_path / "run", (0.5, 0.9, 0.7))), np.array([-300.0, -310.0]))
    assert found.sentence.startswith("Expectile 0.9 beats the log by")
    assert "best of 3 settings" in " ".join(found.details)


def test_the_verdict_without_a_log_or_an_evaluation(tmp_path: Path) -> None:
    online = read_run(make_run(tmp_path / "run", ended=False, data=None, env="Pendulum-v1", seeds=(0, 1, 2, 3)))
    assert re.fullmatch(r"IQM return -\d+\.\d \[.*\] after 30 environment steps\.", verdict_of(online, None).sentence)
    none = read_run(make_run(tmp_path / "none", evaluated=False))
    found = verdict_of(none, np.array([0.0, 1.0]))
    assert "name no environment to play in" in found.sentence
    assert found.details == ["The mean return of the log is 0.5 [0.0, 1] over 2 episodes."]
    skipped = read_run(make_run(tmp_path / "skipped", evaluated=False, evaluate=False))
    assert "--no-eval" in verdict_of(skipped, None).sentence


def test_the_page_of_a_bandit_log(tmp_path: Path) -> None:
    """One row of metrics, no evaluation, and data that were in memory: no chart of one dot, and no alarm."""
    run = make_run(tmp_path / "run", evaluated=False, steps=(10,), in_memory=True, data="clicks")
    text = write_page(run).read_text(encoding="utf-8")
    assert Outline.of(text).charts == 0
    assert "<td>critic/loss</td><td>0.1</td><td>0.1</td>" in text
    assert "The data set was in memory" in text
    assert "download" not in text
    assert "<h2>Results</h2>" not in text


def test_the_page_says_how_the_run_was_made(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", (0.5, 0.9), preset="tuned_100k", allow=["one_step"])
    text = write_page(run).read_text(encoding="utf-8")
    assert "holdfast train iql --data made/up-v0 --preset tuned_100k --steps 30 --seeds 2" in text
    assert "--sweep expectile=0.5,0.9 --allow one_step" in text
    assert "kostrikov2021offline" in text
    assert "tuned_100k" in text
    assert datetime.datetime.now(datetime.UTC).strftime("%Y-") in text


def test_an_algorithm_of_the_caller_has_a_page_without_a_citation(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", algorithm="own", algorithm_module="own_method:algorithm")
    text = write_page(run).read_text(encoding="utf-8")
    assert "own on made/up-v0" in text
    assert "holdfast train --config config.json" in text
    assert "@article" not in text


def test_the_command_makes_the_same_settings() -> None:
    from holdfast.cli.train import parse

    made = Settings.of(
        "iql",
        preset="tuned_100k",
        config={"hidden": (32, 16), "expectile": 0.8},
        treatment={"normalize_obs": 0.25, "return_scale": None},
        data="bundled/pendulum-mixed",
        steps=77,
        seeds=3,
        seed=5,
        sweep={"inverse_temperature": [1.0, 2.5]},
        evaluate=False,
        loggers=["tensorboard"],
        clip_actions=True,
        eval_every=11,
    )
    words = shlex.split(command_of(made))
    assert words[:3] == ["holdfast", "train", "iql"]
    found, _ = parse("iql", words[3:], "tuned_100k", None)
    assert found.to_dict() == made.to_dict()


def test_the_page_shows_the_bundled_data(tmp_path: Path) -> None:
    text = write_page(make_run(tmp_path / "run", data="bundled/pendulum-mixed")).read_text(encoding="utf-8")
    assert "33,576 steps in 168 episodes" in text
    assert "returns of the logged episodes" in text
    assert "Faults found in the data" in text
    assert "Beats the log by" in text
    changed = make_run(tmp_path / "other", data="bundled/pendulum-mixed", dataset_fingerprint="0" * 64)
    assert "has changed since" in write_page(changed).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "y", [[1.0, 1.0, 1.0], [np.nan, np.nan, np.nan], [np.nan, 2.0, np.nan], [1e-30, 2e-30, 0.0], [0.0, 0.0, 0.0]]
)
def test_charts_of_constant_missing_and_tiny_numbers(y: list[float]) -> None:
    drawn = drawing.figure(drawing.SMALL)
    axes = drawn.add_subplot()
    drawing.draw_curves(axes, [drawing.Curve("m", np.array([1, 2, 3]), np.array(y))], drawing.SMALL)
    drawing.dress(axes, drawing.SMALL)
    text = drawing.svg(drawn, "m")
    assert "nan" not in text
    assert "inf" not in text


@pytest.mark.parametrize("size", [drawing.PICTURE, drawing.WIDE, drawing.NARROW])
@pytest.mark.parametrize("labels", [4, 12])
def test_the_legend_is_whole(tmp_path: Path, size: drawing.Size, labels: int) -> None:
    values = tuple((i + 1) / 1234567 for i in range(labels))
    drawn = curves.draw(read_run(make_run(tmp_path / "run", values)), size)
    drawn.draw_without_rendering()
    (legend,) = drawn.legends
    shown = legend.get_window_extent()
    assert drawn.bbox.x0 <= shown.x0 < shown.x1 <= drawn.bbox.x1
    assert drawn.bbox.y0 <= shown.y0 < shown.y1 <= drawn.bbox.y1
    assert len(legend.get_texts()) == labels


def test_a_level_far_away_does_not_flatten_the_curves(tmp_path: Path) -> None:
    record = read_run(make_run(tmp_path / "run", value=lambda seed, e, step, k: -200.0 + seed + k))
    (axes,) = curves.draw(record, drawing.NARROW).axes
    low, high = axes.get_ylim()
    assert -201 < low < -199  # means of the two seeds are -198.5 and -197.5
    assert -190 < high < -189  # the return of the log belongs to the picture
    words = [text.get_text() for text in axes.texts]
    assert "random -1,224 ↓" in words
    assert "expert -150 ↑" in words


def test_the_report_command(tmp_path: Path, capsys: Capture) -> None:
    from holdfast.cli.report import main

    run = make_run(tmp_path / "run")
    assert main([str(run)]) == 0
    said = capsys.readouterr().out
    assert "logging policy" in said
    assert str(run / "report.html") in said.replace("\n", "")
    assert (run / "curve.png").is_file()
    with pytest.raises(UserError, match="is not a run folder, it contains 1: name one"):
        main([str(tmp_path)])
    with pytest.raises(UserError, match="--opne"):
        main([str(run), "--opne"])


@pytest.mark.slow
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
