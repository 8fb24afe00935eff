import dataclasses
import json

import numpy as np
import pytest

from holdfast.cli import main as holdfast
from holdfast.cli.data import COMMANDS, main
from holdfast.core.errors import UserError
from holdfast.data import load_dataset
from holdfast.data.convert import convert
from holdfast.data.describe import describe, histogram


@pytest.fixture
def faulty(tmp_path):
    data = load_dataset("bundled/pendulum-mixed").select(np.arange(12))
    actions, seen = data.actions.copy(), data.observations.copy()
    actions[205], seen[410, 2] = 2.5, np.nan
    return str(convert(dataclasses.replace(data, actions=actions, observations=seen), tmp_path / "faulty.npz"))


def test_info(capsys):
    assert main(["info", "bundled/pendulum-mixed"]) == 0
    out = capsys.readouterr().out
    for text in (
        "33576 steps in 168 episodes",
        "Pendulum-v1",
        "0 terminated, 168 truncated",
        "Box(-2.0, 2.0, (1,)",
        "█",
        "note: bundled/pendulum-mixed has 33576 steps: preset tuned_100k",
    ):
        assert text in out
    assert main(["info", "bundled/pendulum-mixed", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["steps"] == 33576
    assert facts["returns"]["max"] == pytest.approx(-3.353, abs=1e-3)


def test_check_passes_and_fails(capsys, faulty):
    assert main(["check", "bundled/pendulum-mixed"]) == 0
    assert "fit for training" in capsys.readouterr().out
    assert main(["check", faulty]) == 1
    out = capsys.readouterr().out
    assert "fatal nonfinite  episode 2, row 408, observations[2]" in out
    assert "fatal action_bounds  episode 1, row 205, actions[0]" in out
    assert "fix: --clip-actions" in out
    assert "2 fatal" in out
    assert main(["check", faulty, "--allow", "action_bounds", "--json"]) == 1
    assert {f["kind"] for f in json.loads(capsys.readouterr().out) if f["level"] == "fatal"} == {
        "nonfinite",
        "action_bounds",
    }
    with pytest.raises(UserError, match="did you mean 'action_bounds'"):
        main(["check", faulty, "--allow", "action_bound"])


def test_convert_fixes_what_was_asked_for(capsys, faulty, tmp_path):
    target = str(tmp_path / "fixed.hdf5")
    assert main(["convert", faulty, target, "--drop-nonfinite", "--clip-actions"]) == 0
    assert "in 11 episodes" in capsys.readouterr().out
    assert main(["check", target]) == 0
    data = load_dataset(target)
    assert data.provenance["mended"] == {"drop_first_rows": 24, "drop_nonfinite": 1, "clip_actions": 1}
    with pytest.raises(UserError, match="exists already"):
        main(["convert", faulty, target])


def test_list(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    assert main(["convert", "bundled/pendulum-mixed", "my/copy-v0"]) == 0
    capsys.readouterr()
    assert main(["list"]) == 0
    out = capsys.readouterr().out
    assert "bundled/pendulum-mixed" in out
    assert "my/copy-v0" in out


def test_a_folder_without_data_sets_is_listed_as_empty(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "absent"))
    assert main(["list"]) == 0
    assert not (tmp_path / "absent").exists()


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["inf", "x"], "did you mean 'info'"),
        (["info"], "ID is missing"),
        (["info", "x", "--jsn"], "unknown: --jsn; did you mean --json"),
        (["info", "absent/set-v0"], "--download"),
        (["check", "/absent.hdf5"], "does not exist"),
        (["info", "x.npz", "--form", "csv"], "csv"),
    ],
)
def test_bad_usage_is_one_line(argv, says, tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    with pytest.raises(UserError, match=says) as caught:
        main(argv)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("argv", [[], ["--help"]])
def test_overview_names_the_commands(argv, capsys):
    assert main(argv) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in COMMANDS)


def test_whole_numbers_may_have_an_exponent(tmp_path):
    """Parsed as in every other command: 1e1 is 10."""
    target = tmp_path / "log.npz"
    assert main(["collect", str(target), "--env", "Pendulum-v1", "--by", "random", "--steps", "1e1"]) == 0
    assert load_dataset(target).n_steps == 10


def test_describe_by_hand():
    data = load_dataset("bundled/pendulum-mixed").select([0, 1])
    facts = describe(data)
    assert facts["returns"]["mean"] == pytest.approx(data.rewards.sum() / 2)
    assert facts["ends"] == {"terminated": 0, "truncated": 2, "neither": 0, "both": 0}
    both = dataclasses.replace(data, terminations=data.truncations)
    assert describe(both)["ends"] == {"terminated": 2, "truncated": 0, "neither": 0, "both": 2}
    assert facts["actions"][0]["min"] == data.actions.min()
    assert json.loads(json.dumps(facts)) == facts


def test_histogram():
    rows = histogram(np.array([0.0, 0.1, 0.9, 1.0, 1.0, np.nan]), bins=2, width=6)
    assert [(n, bar) for _, n, bar in rows] == [(2, "████"), (3, "██████")]
    assert histogram(np.array([2.0, 2.0])) == [("2", 2, "█" * 30)]
    assert histogram(np.zeros(0)) == []


def test_names_from_files_reach_the_terminal_escaped(tmp_path, capsys):
    assert holdfast(["data", "info", str(tmp_path / "a\x1b[31m\nb.npz")]) == 2
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1
    assert "\x1b" not in printed
