"""`holdfast runs` on folders that the test writes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from holdfast.cli.runs import main
from holdfast.core.errors import UserError
from holdfast.runs.folder import RunFolder
from holdfast.runs.listing import list_runs
from support.made_runs import make_run, value_of

Capture = pytest.CaptureFixture[str]


def test_every_run_below_a_folder_is_listed_once(tmp_path: Path) -> None:
    make_run(tmp_path / "b" / "deep")
    copy = make_run(tmp_path / "a") / "offline"  # as in a fine-tuning run
    make_run(copy)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")  # of another program
    make_run(tmp_path / ".hidden" / "run")
    assert [one.path for one in list_runs(tmp_path)] == [tmp_path / "a", tmp_path / "b" / "deep"]
    assert [one.path for one in list_runs(copy.parent)] == [copy.parent]
    with pytest.raises(UserError, match="is not a folder"):
        list_runs(tmp_path / "none")


def test_what_is_known_of_a_run(tmp_path: Path) -> None:
    make_run(tmp_path / "run", preset="tuned_100k")
    (found,) = list_runs(tmp_path)
    values = [value_of(seed, 1.0, 30, k) for seed in (0, 1) for k in range(4)]
    assert found.final is not None
    assert found.final.value == np.mean(values)
    assert (found.average, found.best, found.state) == ("mean", None, "finished")
    assert (found.algorithm, found.data, found.preset) == ("iql", "made/up-v0", "tuned_100k")
    assert (found.seeds, found.settings, found.steps, found.reached) == (2, 1, 30, 30)
    assert found.fault is None


def test_a_sweep_has_the_return_of_its_best_setting(tmp_path: Path) -> None:
    make_run(tmp_path / "run", (0.5, 0.9, 0.7), seeds=(0, 1, 2, 3))
    (found,) = list_runs(tmp_path)
    assert (found.best, found.average, found.settings) == ("expectile 0.9", "IQM", 3)
    assert found.final is not None
    assert found.final.value == np.mean([value_of(seed, 0.9, 30, k) for seed in (1, 2) for k in range(4)])


def test_the_state_of_a_run(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", ended=False)
    assert [one.state for one in list_runs(run)] == ["interrupted"]
    folder = RunFolder(run)
    folder.lock()
    assert [one.state for one in list_runs(run)] == ["in use"]
    folder.close()
    assert [one.state for one in list_runs(run)] == ["interrupted"]
    assert not (run / ".lock").exists()


def test_a_run_without_rows_or_with_a_damaged_file_is_listed_with_its_fault(tmp_path: Path) -> None:
    young = make_run(tmp_path / "young", ended=False)
    for name in ("metrics", "evaluations"):
        table = young / f"{name}.csv"
        table.write_text(table.read_text().splitlines()[0] + "\n")
    (make_run(tmp_path / "zz") / "config.json").write_text("{")
    one, other = list_runs(tmp_path)
    assert (one.state, one.final, one.algorithm) == ("interrupted", None, "iql")
    assert "has no metrics yet" in str(one.fault)
    assert other.state == "damaged"
    assert "config.json" in str(other.fault)


def test_the_command(tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    name = "a-run-with-a-name-that-is-longer-than-the-terminal"
    make_run(tmp_path / name, (0.5, 0.9))
    make_run(tmp_path / "b", ended=False, evaluated=False)
    assert main([str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert name in said  # not cut
    for text in ("finished", "interrupted", "iql on made/up-v0", "30 of 30", "(expectile 0.9)", "return -"):
        assert text in said
    assert main([str(tmp_path), "--json"]) == 0
    one, other = json.loads(capsys.readouterr().out)
    assert one["path"] == str(tmp_path / name)
    assert one["final"]["low"] < one["final"]["value"] < one["final"]["high"]
    assert other["final"] is None
    monkeypatch.setenv("COLUMNS", "300")
    assert main([str(tmp_path)]) == 0
    assert "return [95 % interval]" in capsys.readouterr().out
    (tmp_path / "empty").mkdir()
    assert main([str(tmp_path / "empty")]) == 0
    assert "no runs under" in capsys.readouterr().out
