"""A student of robotics trains, compares and looks: the commands of a first hour, with what they must do."""

from __future__ import annotations

import json
from pathlib import Path

import gymnasium
import pytest

import holdfast
from support.commands import examples, play, refused
from support.small_runs import DATA, TINY, tiny

Captured = pytest.CaptureFixture[str]
MODULE = """
import gymnasium
gymnasium.register("Mine-v0", "gymnasium.envs.classic_control.pendulum:PendulumEnv", max_episode_steps=5)
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two runs."""
    folder = tmp_path_factory.mktemp("student")
    tiny(folder / "runs" / "bc", seeds=3, eval_episodes=2)
    tiny(folder / "runs" / "bc-slow", seeds=3, eval_episodes=2, config={**TINY, "actor_lr": 1e-5})
    return folder


@pytest.fixture(autouse=True)
def inside(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)


def test_runs_are_listed_and_compared(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert "holdfast compare runs/bc runs/bc-slow" in refused("holdfast report runs/bc runs/bc-slow", capsys)
    assert "it contains 2: name one, for example runs/bc, or compare" in refused("holdfast report runs", capsys)
    listed = play("holdfast runs", capsys)
    assert listed.status == 0
    assert listed.out.count("finished") == 2
    compared = play("holdfast compare 'runs/*' --out compared", capsys)
    assert compared.status == 0, compared
    words = compared.out.split()
    assert {"difference", "average", "P(better)"} <= set(words)  # no header and no number is broken at 80 columns
    assert max(map(len, compared.out.splitlines()[:12])) <= 80
    assert {path.suffix for path in Path("compared").iterdir()} >= {".png", ".csv", ".html"}


def test_three_seeds_have_a_mean_and_no_iqm(capsys: Captured) -> None:
    found = play("holdfast report runs/bc", capsys)
    assert found.status == 0
    assert "mean over 3 seeds" in found.out
    assert "IQM" not in found.out
    assert {"report.html", "curve.png"} <= {path.name for path in Path("runs/bc").iterdir()}


def test_python_shows_progress_and_short_texts(capsys: Captured) -> None:
    data = holdfast.load_dataset(DATA)
    run = tiny("runs/python", data=data, steps=4, evaluate=False, progress=True)
    assert "updates/s" in capsys.readouterr().err
    assert len(data) == data.n_steps
    assert max(len(repr(x)) for x in (data, run, run.policy())) < 250
    assert set(dir(holdfast)) <= {*holdfast.__all__} | {name for name in dir(holdfast) if name.startswith("__")}


def test_the_folder_of_several_policies_loads(capsys: Captured) -> None:
    with pytest.warns(UserWarning, match="seed-0"):
        policy = holdfast.Policy.load("runs/bc/policy")
    assert policy([1.0, 0.0, 0.5]).shape == (1,)
    assert play("holdfast evaluate runs/bc/policy --episodes 1", capsys).status == 0


def test_own_environments(capsys: Captured) -> None:
    run = holdfast.Run.load("runs/bc")
    short = gymnasium.make("Pendulum-v1", max_episode_steps=5)
    assert holdfast.evaluate(run.policies(), short, episodes=1, progress=False).lengths.tolist() == [[5]] * 3
    Path("my_student_envs.py").write_text(MODULE)
    found = play("holdfast evaluate runs/bc --env my_student_envs:Mine-v0 --episodes 1 --json", capsys)
    assert found.status == 0, found.err
    assert json.loads(found.out)["lengths"] == [[5]] * 3


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (f"holdfast train iql --data {DATA} --hidden x,y", ["--hidden is 'x,y', expected whole numbers"]),
        (f"holdfast train IQL --data {DATA}", ["did you mean 'iql'?"]),
        (f"holdfast train iql --data {DATA} --gamma 0.9", ["did you mean --discount?"]),
        ("holdfast train td3 --env no_such_module:Mine-v0 --steps 3", ["no_such_module"]),
    ],
)
def test_mistakes_are_one_whole_line(command: str, words: list[str], capsys: Captured) -> None:
    line = refused(command, capsys)
    assert all(word in line for word in words), line


def test_widths_with_commas(capsys: Captured) -> None:
    found = play(f"holdfast train bc --data {DATA} --hidden 16,8 --dry-run", capsys)
    assert found.status == 0
    assert "hidden [16, 8]" in found.out


@pytest.mark.slow
def test_the_examples_of_the_first_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    """Every command and the code of the page, in order, with fewer steps."""
    monkeypatch.chdir(tmp_path)
    less = {"--steps 20000": "--steps 40", "--steps 10000": "--steps 20", " ID": f" {DATA}"}
    lines = "".join(examples("first-run.md", "sh", less)).splitlines()
    commands = [line for line in lines if line.startswith("holdfast ")]
    assert len(commands) > 15
    for command in commands:
        if "--record" in command:
            pytest.importorskip("imageio")
        found = play(command.partition(" > ")[0], capsys)
        assert found.status == 0, (command, found)
    (code,) = examples("first-run.md", "python", {})
    names: dict = {}
    exec(code, names)  # noqa: S102
    assert names["action"].shape == (1,)
    assert {"report.html", "curve.png", "result.json"} <= {path.name for path in Path("runs/first").iterdir()}
