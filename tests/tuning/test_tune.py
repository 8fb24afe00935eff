"""A search: its rounds, its files, its resume, and the one line that every mistake gets."""

import csv
import dataclasses
import json

import numpy as np
import polars
import pytest

import holdfast
from holdfast.algorithms import registry
from holdfast.cli import main
from holdfast.core.errors import Diverged, UserError
from holdfast.runs import trials as tables
from holdfast.runs.settings import Settings
from holdfast.runs.trials import Trial
from holdfast.training.runner import Runner
from holdfast.tuning import work as working
from holdfast.tuning.search import Asked, Cell, How, jobs, rounds
from holdfast.tuning.space import domains
from support.small_runs import DATA, require_same

# two rounds of two trials, with one program
HOW = {
    "trials": 4, "at_once": 2, "seeds": 2, "steps": 4, "block": 4, "eval_episodes": 1, "progress": False,
    "config": {"hidden": [8], "batch_size": 8},
}  # fmt: skip
SPACE = {"actor_lr": "log(1e-4..1e-2)"}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return holdfast.tune("bc", DATA, space=SPACE, out=tmp_path_factory.mktemp("tune") / "one", **HOW)


def test_the_table_has_every_trial(found):
    with (found.path / "trials.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["trial"]) for row in rows] == [0, 1, 2, 3]
    assert rows[0]["origin"] == "preset"
    assert {row["state"] for row in rows} == {"finished"}
    assert [row["round"] for row in rows] == ["0", "0", "1", "1"]
    frame = polars.read_parquet(found.path / "trials.parquet")
    assert frame["value"].to_list() == [float(row["value"]) for row in rows]
    assert frame["config.actor_lr"].to_list() == [float(row["config.actor_lr"]) for row in rows]
    page = (found.path / "tune.html").read_text()
    assert "4 trials of bc" in page
    assert page.count("<svg") == 4  # progress, and one for the setting; each in two widths
    assert found.best.value == max(trial.value for trial in found.trials)
    assert holdfast.Tuning.load(found.path).trials == found.trials


def test_a_trial_has_the_returns_of_its_run(found):
    """The rows of a run belong to the right trials: by the swept values that the run itself recorded."""
    for trial in found.trials:
        result = json.loads((found.path / trial.run / "result.json").read_text())
        rows = [i for i, name in enumerate(result["replicas"]) if name in trial.replicas]
        assert len(rows) == 2
        assert all(result["sweep"][i] == {"actor_lr": trial.values["actor_lr"]} for i in rows)
        assert trial.each == pytest.approx([np.mean(result["returns"][i]) for i in rows])
        assert trial.value == pytest.approx(np.mean(trial.each))


def test_the_best_settings_are_a_file_for_train(found, tmp_path, capsys):
    file = found.preset()
    again = Settings.read(file)
    assert {name: again.config[name] for name in SPACE} == found.best.values
    assert main(["train", "--config", str(file), "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert f"actor_lr {found.best.values['actor_lr']}" in out
    assert main(["train", "--config", str(file), "--out", str(tmp_path / "run"), "--seeds", "1", "--no-eval"]) == 0
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["steps"] == HOW["steps"]
    assert result["config"]["config"]["actor_lr"] == found.best.values["actor_lr"]


class Killed(KeyboardInterrupt):
    """The process ends."""


def test_an_interrupted_search_resumes_to_the_same_trials(found, tmp_path, monkeypatch):
    out = tmp_path / "two"
    left = [2]
    real = Runner.run

    def run(self, resume=False):
        left[0] -= 1
        if not left[0]:
            raise Killed
        return real(self, resume)

    monkeypatch.setattr(Runner, "run", run)
    with pytest.raises(Killed):
        holdfast.tune("bc", DATA, space=SPACE, out=out, **HOW)
    monkeypatch.setattr(Runner, "run", real)
    with pytest.raises(UserError, match=r"is not a finished search: resume it with holdfast tune --resume"):
        holdfast.Tuning.load(out)
    with pytest.raises(UserError, match="contains a search: resume it with --resume"):
        holdfast.tune("bc", DATA, space=SPACE, out=out, **HOW)
    again = holdfast.resume_tune(out, progress=False)
    assert again.trials == found.trials
    for run_folder in {trial.run for trial in found.trials}:
        require_same(out / run_folder, found.path / run_folder)
    files = {path.name: path.stat().st_mtime_ns for path in out.rglob("result.json")}
    holdfast.resume_tune(out, progress=False)  # a finished search trains nothing
    assert {path.name: path.stat().st_mtime_ns for path in out.rglob("result.json")} == files


def scored(trials, value):
    """Trials with a value, instead of training them."""
    return [one._replace(state="finished", value=value(one), each=[value(one)]) for one in trials]


def played(cell, how, folder, value):
    """The rounds of a search whose trials have the value that a function gives: `[[(number, steps), ...], ...]`."""
    stream = rounds(cell, how, folder)
    asked = next(stream)
    found = []
    while True:
        found.append([(one.number, one.steps) for one in asked])
        done = [Trial("bc", "d", one.number, 0, one.origin, one.values, one.steps, [0], "", []) for one in asked]
        try:
            asked = stream.send(scored(done, value))
        except StopIteration:
            return found


@pytest.fixture
def cell():
    base = Settings.of("bc", data=DATA, steps=8, config={"hidden": [8]})
    bc = registry.get("bc")
    cfg = bc.presets[base.preset].config
    space = domains({"actor_lr": "log(1e-4..1e-2)", "batch_size": "[8,16]"}, bc, cfg)
    return Cell("bc-d", base, base, space, None)


def test_halving_trains_the_best_for_longer(cell, tmp_path):
    how = How("halving", 4, 2, 4, 16, 0)
    found = played(cell, how, tmp_path, lambda trial: 10.0 * (trial.number in (1, 3)) + trial.number)
    assert [(number, 2) for number in range(4)] == found[0]
    assert sorted(found[1]) == [(0, 4), (1, 4), (3, 4)]  # the best two; the preset, to compare with
    assert sorted(found[2]) == [(0, 8), (3, 8)]
    assert played(cell, how, tmp_path, lambda trial: -1.0)[0] == found[0]  # a resumed search reads its rounds


def test_a_round_follows_from_the_one_before(cell, tmp_path):
    how = How("tpe", 7, 3, 3, 16, 0)
    found = played(cell, how, tmp_path / "a", lambda trial: float(trial.number))
    assert [[number for number, _ in some] for some in found] == [[0, 1, 2], [3, 4, 5], [6]]
    files = [(tmp_path / "a" / f"round-{i}.json").read_text() for i in range(3)]
    played(cell, how, tmp_path / "b", lambda trial: float(trial.number))
    assert [(tmp_path / "b" / f"round-{i}.json").read_text() for i in range(3)] == files
    grid = How("grid", 9, 3, 9, 16, 0)
    cell = dataclasses.replace(cell, space=cell.space[1:])
    assert played(cell, grid, tmp_path / "c", lambda trial: 0.0) == [[(0, 8), (1, 8), (2, 8)]]  # no more values


def test_trials_that_differ_in_floats_share_a_task(cell, tmp_path):
    values = [(1e-3, 8), (2e-3, 16), (3e-3, 8), (4e-3, 8)]
    asked = [Asked(i, "random", {"actor_lr": rate, "batch_size": rows}, 8) for i, (rate, rows) in enumerate(values)]
    found = list(jobs(cell, 2, 0, asked, tmp_path, True))
    assert [[one.number for one in job.asked] for job in found] == [[0, 2], [3], [1]]
    settings = [Settings.from_dict(job.task.settings, "a task") for job in found]
    assert [one.sweep for one in settings] == [{"actor_lr": [1e-3, 3e-3]}, {"actor_lr": [4e-3]}, {"actor_lr": [2e-3]}]
    assert [one.config["batch_size"] for one in settings] == [8, 8, 16]
    assert all(one.paired and one.eval_every == 8 for one in settings)
    assert len({job.task.folder for job in found}) == 3


def test_trials_that_diverge_are_found_and_the_others_are_trained(tmp_path, monkeypatch):
    def work(task, hooks=()):
        rates = task.settings["sweep"]["actor_lr"]
        if any(rate > 5e-4 for rate in rates):
            return working.Outcome("diverged", [], [], "actor/loss of replica 0 is NaN")
        return working.Outcome("finished", [working.Scored("finished", [x], x) for x in rates], ["seed-0"] * len(rates))

    monkeypatch.setattr("holdfast.tuning.engines.work", work)
    how = HOW | {"trials": 8, "at_once": 8, "sampler": "random", "seeds": 1}
    found = holdfast.tune("bc", DATA, space=SPACE, out=tmp_path / "tune", **how)
    high = [trial.values["actor_lr"] > 5e-4 for trial in found.trials]
    assert 0 < sum(high) < 8
    assert [trial.state == "diverged" for trial in found.trials] == high
    assert [trial.value for trial in found.trials] == [
        None if h else t.each[0] for h, t in zip(high, found.trials, strict=True)
    ]
    assert len({trial.run for trial in found.trials}) == 8  # each alone


def test_a_run_that_diverges_is_an_outcome(tmp_path, monkeypatch):
    task = working.Task(str(tmp_path / "run"), Settings.of("bc", data=DATA).to_dict(), 1, None, False)

    def diverged(*given, **named):
        (tmp_path / "run").mkdir(exist_ok=True)
        raise Diverged("a metric is NaN")

    monkeypatch.setattr(working, "ensure_finished", diverged)
    assert working.work(task) == working.Outcome("diverged", [], [], "a metric is NaN")
    monkeypatch.setattr(working, "ensure_finished", lambda *given: pytest.fail("it has been done"))
    assert working.work(task).note == "a metric is NaN"
    assert working.unpacked(working.packed(task)) == task


@pytest.mark.slow
def test_estimates_from_a_part_of_the_log(tmp_path):
    data = holdfast.load_dataset(DATA).select(np.arange(40))
    how = HOW | {"trials": 3, "seeds": 1}
    found = holdfast.tune("bc", data, space={"actor_lr": [1e-4, 1e-2]}, by="estimate", out=tmp_path / "tune", **how)
    parts = {
        part: holdfast.load_dataset(found.path / "data" / f"pendulum-mixed-{part}.npz")
        for part in ("train", "held-out")
    }
    assert {part: some.n_episodes for part, some in parts.items()} == {"train": 32, "held-out": 8}
    for trial in found.trials:
        row = holdfast.ope(
            found.path / trial.run / "policy" / trial.replicas[0], parts["held-out"], estimators=("fqe",)
        )["fqe"]
        assert trial.value == (None if row.value is None else pytest.approx(row.value))


@pytest.mark.parametrize(
    ("argv", "why"),
    [
        (["bc"], "--data has 0 names"),
        (["--data", DATA], "name an algorithm"),
        (["bc", "--data", DATA, "--space", "actor_lr"], "expected NAME=LOW..HIGH"),
        (["bc", "--data", DATA, "--space", "actor_rl=0..1"], "did you mean 'actor_lr'"),
        (["bc", "--data", DATA, "--trials", "0"], "--trials is 0, expected at least 1"),
        (["bc", "--data", DATA, "--sampler", "grid", "--space", "actor_lr=0.1..1"], "grid needs single values"),
        (["bc", "--data", DATA, "--by", "estimate", "--estimator", "fqi"], "estimator 'fqi'; did you mean 'fqe'"),
        (["bc", "--data", DATA, "--estimate-log", DATA], "--estimate-log is for estimates"),
        (["bc", "--data", DATA, "--address", "auto"], "add --engine ray"),
        (["bc", "--data", DATA, "--set", "hidden"], "expected NAME=VALUE"),
        (["bc", "--data", DATA, "--trust"], "--trust belongs to --resume"),
        (["bc", "--data", DATA, "--preset", "nothing"], "unknown preset of bc"),
        (["--resume", "nowhere"], "is not a search: it has no tune.json"),
        (["--resume", "nowhere", "--trials", "3"], "unknown: --trials 3"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line(argv, why, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["tune", *argv]) == 2
    line = capsys.readouterr().err
    assert why in line
    assert line.count("\n") == 1
    assert not list(tmp_path.rglob("*.json"))


def test_a_search_of_somebody_else_imports_nothing(tmp_path):
    run = {"env": "evil_module:Env-v0"}
    facts = {"format": 1, "algorithms": ["bc"], "data": [DATA], "run": run}
    (tmp_path / "tune.json").write_text(json.dumps(facts))
    with pytest.raises(UserError, match="evil_module"):
        holdfast.resume_tune(tmp_path, progress=False)
    (tmp_path / "tune.json").write_text(json.dumps({**facts, "trials": "many"}))
    with pytest.raises(UserError, match=r"trials in .* is 'many'"):
        holdfast.resume_tune(tmp_path, progress=False)


def test_what_a_file_cannot_hold_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"read by other processes: .*name environments and networks by their module"):
        holdfast.tune("bc", DATA, out=tmp_path / "tune", env=object())
    with pytest.raises(UserError, match="sweep is not a setting of the runs of a search"):
        holdfast.tune("bc", DATA, out=tmp_path / "tune", sweep={"actor_lr": [1e-3]})
    with pytest.raises(UserError, match=r"steps in .*tune.json is 'many'"):
        holdfast.tune("bc", DATA, out=tmp_path / "tune", steps="many")
    assert not (tmp_path / "tune").exists()


def test_columns_of_mixed_types_can_be_written(tmp_path):
    base = Trial("bc", "d", 0, 0, "random", {"a": 1, "b": [8]}, 4, [0], "finished", [1.0], 1.0)
    other = base._replace(number=1, values={"a": "x", "b": [8, 8]}, value=None, note="why")
    tables.write([base, other], tmp_path)
    frame = polars.read_parquet(tmp_path / "trials.parquet")
    assert frame["config.a"].to_list() == ["1", "x"]
    assert frame["config.b"].to_list() == ["[8]", "[8, 8]"]
    assert frame["value"].to_list() == [1.0, None]
    assert tables.full([base, other]) == [base]
