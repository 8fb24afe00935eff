"""`resume(run, steps=...)`: more steps after the last one of a run."""

import json

import pytest

from holdfast.cli import main
from holdfast.core.errors import UserError
from holdfast.runs.settings import Settings
from holdfast.training.hooks import Hook
from holdfast.training.prolong import changed_schedules
from holdfast.training.run import resume, train
from support.marks import quick
from support.small_runs import DATA, TINY, Stops, require_same, rows, tiny


class Warnings(Hook):
    def __init__(self):
        self.texts = []

    def warn(self, text):
        self.texts.append(text)


CLOCKS = {"block": 4, "eval_every": 4, "eval_episodes": 1, "seeds": 2}
COLLECTS = {"env": "holdfast/trap-v0", "config": {**TINY, "warmup": 4}}
COMPILED = {"env": "jax/Pendulum-v1", "config": {**TINY, "warmup": 4}, "replay": 10}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("algorithm", "data", "settings"),
    quick([("bc", DATA, {}), ("sac", None, COLLECTS), ("ddpg", None, COMPILED)], "bc", "ddpg"),
)
def test_prolonged_run_has_the_bits_of_a_longer_run(tmp_path, algorithm, data, settings):
    values = {"config": TINY, **CLOCKS, **settings}
    whole = train(algorithm, data, steps=16, out=tmp_path / "whole" / "run", **values).path
    short = train(algorithm, data, steps=8, out=tmp_path / "short" / "run", **values).path
    seen = Warnings()
    assert resume(short, steps=16, hooks=[seen]).result["steps"] == 16
    assert not any("length of the run" in text for text in seen.texts)
    require_same(short, whole)
    assert resume(short, steps=16).result["steps"] == 16  # finished: nothing to do


def test_interrupted_run_is_prolonged_and_keeps_its_clocks(tmp_path):
    out = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        tiny(out, steps=20, block=2, hooks=[Stops(3)])
    resume(out, steps=24)
    assert [int(row["step"]) for row in rows(out / "metrics.csv")] == list(range(2, 25, 2))
    assert {int(row["step"]) for row in rows(out / "evaluations.csv")} == set(range(2, 25, 2))  # a tenth of 20
    config = json.loads((out / "config.json").read_text())
    assert (config["steps"], config["eval_every"]) == (24, 2)


def test_fewer_steps_are_refused_and_change_nothing(tmp_path, capsys):
    run = tiny(tmp_path / "run", evaluate=False).path
    before = {p: p.read_bytes() for p in run.rglob("*") if p.is_file()}
    with pytest.raises(UserError, match=r"--steps 7.*has 8 steps.*more than 8"):
        resume(run, steps=7)
    assert main(["train", "--resume", str(run), "--steps", "x"]) == 2
    assert main(["train", "--resume", str(run), "--steps", "4"]) == 2
    assert main(["train", "--resume", str(run), "--steps", "16", "--seeds", "2"]) == 2
    assert all(line.startswith("holdfast: ") for line in capsys.readouterr().err.splitlines())
    assert {p: p.read_bytes() for p in run.rglob("*") if p.is_file()} == before


def test_command_prolongs_a_finished_run(tmp_path, capsys):
    run = tiny(tmp_path / "run", evaluate=False).path
    assert main(["train", "--resume", str(run), "--steps", "1.2e1"]) == 0
    assert json.loads((run / "result.json").read_text())["steps"] == 12


def test_schedules_over_the_run_are_reported():
    made = Settings.of("iql", data=DATA, steps=100, config={"actor_decay_steps": "run"})
    longer = Settings.of("iql", data=DATA, steps=200, config={"actor_decay_steps": "run"})
    text = changed_schedules(made, longer)
    assert "actor_decay_steps" in text
    assert "200" in text
    assert changed_schedules(made, made) is None
    constant = Settings.of("iql", data=DATA, steps=100, config={"actor_decay_steps": "constant"})
    assert changed_schedules(constant, longer) is None
