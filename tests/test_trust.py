"""Files of a stranger: they name no module and no other file, and opening them runs nothing."""

import dataclasses
import json
import sys

import numpy as np
import pytest

from holdfast import Dataset, UserError
from holdfast.cli import main
from holdfast.core.trust import environment_in
from holdfast.environments.gym.adapter import make_env
from holdfast.environments.gym.env_pool import Shape
from holdfast.environments.gym.workers import Workers
from holdfast.environments.jax.env import find
from holdfast.evaluation.evaluate import environment_of
from holdfast.runs.folder import RunFolder
from holdfast.runs.settings import Settings
from holdfast.training.hooks import Hook
from holdfast.training.plan.plan import plan
from holdfast.training.run import finetune, resume

NAMED = [
    "planted:Thing-v0",
    "planted:jax/Thing",
    json.dumps({"id": "planted:Thing-v0"}),
    json.dumps({"id": "planted:jax/Thing", "kwargs": {}}),
]


@pytest.fixture
def planted(tmp_path, monkeypatch):
    """The working folder has a module that notes when it is imported; a function that says whether it was."""
    (tmp_path / "planted.py").write_text("import pathlib; pathlib.Path(__file__).with_name('ran').touch()\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "planted", raising=False)
    monkeypatch.chdir(tmp_path)
    yield lambda: (tmp_path / "ran").exists()
    sys.modules.pop("planted", None)


def log(env_spec, n=12) -> Dataset:
    rng = np.random.default_rng(0)
    ends = np.arange(n) % 4 == 3
    return Dataset.from_arrays(
        rng.normal(size=(n, 3)), rng.uniform(-1, 1, (n, 2)), rng.normal(size=n), ends, env_spec=env_spec, id="log"
    )


def config_of(folder, **settings):
    """The folder of a run that was stopped before its first checkpoint."""
    folder.mkdir()
    RunFolder(folder).write_config(Settings.of("iql", data="bundled/pendulum-mixed", **settings).to_dict())
    return folder


@pytest.mark.parametrize("env", NAMED)
def test_a_data_set_names_no_module(env, planted):
    with pytest.raises(UserError, match=r"the data set log names the environment .*--env"):
        plan(Settings.of("bc", data="log"), log(env))
    assert not planted()


@pytest.mark.parametrize("env", NAMED)
def test_an_environment_of_evaluations_names_no_module(env, planted):
    data = dataclasses.replace(log(None), provenance={"evaluation_spec": env})
    with pytest.raises(UserError, match=r"the data set log names the environment .*--env"):
        plan(Settings.of("bc", data="log"), data)
    assert not planted()


@pytest.mark.parametrize("env", NAMED)
def test_a_policy_names_no_module(env, planted):
    with pytest.raises(UserError, match=r"the policy names the environment .*--env"):
        environment_of({"env_spec": env})
    with pytest.raises(UserError, match="the policy names the environment"):
        environment_of({"env_spec": None, "env_id": env})
    assert not planted()


@pytest.mark.parametrize("env", NAMED[:2])
def test_the_config_of_a_run_names_no_module(env, planted, tmp_path):
    run = config_of(tmp_path / "run", env=env)
    with pytest.raises(UserError, match=r"config.json names the environment .*--trust"):
        resume(run)
    assert main(["train", "--config", str(run / "config.json"), "--dry-run"]) == 2
    with pytest.raises(UserError):
        finetune(run)
    assert not planted()


@pytest.mark.parametrize("env", NAMED)
def test_the_options_of_the_data_of_a_run_name_no_module(env, planted, tmp_path):
    run = config_of(tmp_path / "run", data_options={"env": env})
    with pytest.raises(UserError, match=r"config.json names the environment .*--trust"):
        resume(run)
    assert main(["train", "--config", str(run / "config.json"), "--env", "Pendulum-v1", "--dry-run"]) == 2
    with pytest.raises(UserError):
        finetune(run, env="Pendulum-v1")
    assert not planted()


def test_a_person_may_name_a_module(planted):
    with pytest.raises(UserError, match="unknown environment 'planted:Thing-v0'"):
        make_env("planted:Thing-v0")
    assert planted()


def test_trust_is_asked_for_at_resume(planted, tmp_path, capsys):
    run = config_of(tmp_path / "run", env="planted:Thing-v0")
    assert main(["train", "--resume", str(run)]) == 2
    assert "--trust" in capsys.readouterr().err
    assert not planted()
    with pytest.raises(UserError, match="unknown environment"):
        resume(run, trust=True)
    assert planted()


class Notes(Hook):
    """Keeps the notes of a run."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture
def no_network(monkeypatch):
    """Downloads fail the test."""

    def refuse(id: str) -> None:
        pytest.fail(f"{id} was downloaded")

    monkeypatch.setattr("holdfast.data.sources.minari._download", refuse)


def test_resume_downloads_nothing_and_logs_to_no_service(tmp_path, no_network, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    run = tmp_path / "run"
    run.mkdir()
    settings = Settings.of("iql", data="far/away-v0", loggers=["wandb", "mlflow"], data_options={"download": True})
    RunFolder(run).write_config(settings.to_dict())
    seen = Notes()
    with pytest.raises(UserError, match=r"is not in .*holdfast data info far/away-v0 --download"):
        resume(run, hooks=[seen])
    assert ["wandb, mlflow" in note and "--trust" in note for note in seen.notes] == [True]


def test_a_report_downloads_nothing(tmp_path, no_network, monkeypatch, capsys):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    run = tmp_path / "run"
    run.mkdir()
    settings = Settings.of("iql", data="far/away-v0", data_options={"download": True})
    RunFolder(run).write_config(settings.to_dict())
    (run / "metrics.csv").write_text("step,phase,replica,seed,loss\n10,offline,seed-0,0,0.5\n")
    assert main(["report", str(run)]) == 0
    assert "holdfast data info far/away-v0 --download" in (run / "report.html").read_text()


def test_workers_do_not_import_from_the_working_folder(tmp_path, monkeypatch):
    (tmp_path / "gymnasium.py").write_text("import pathlib; pathlib.Path(__file__).with_name('ran').touch()\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry not in ("", str(tmp_path))])
    workers = Workers("Pendulum-v1", 1, Shape(False, 1), 1, 60.0)
    workers.close()
    assert not (tmp_path / "ran").exists()


def test_an_environment_spec_of_json_is_not_an_environment_of_jax(planted):
    assert find(NAMED[3]) is None
    assert not planted()


@pytest.mark.parametrize("path", ["/etc/passwd", "~/model.xml", "../model.xml", "C:\\model.xml"])
def test_a_data_set_names_no_file_in_the_arguments_of_its_environment(path):
    spec = json.dumps({"id": "Hopper-v5", "kwargs": {"deep": [{"xml_file": path}]}})
    with pytest.raises(UserError, match="names the file"):
        environment_in(spec, "the data set x")
    fine = json.dumps({"id": "Hopper-v5", "kwargs": {"terminate_when_unhealthy": False, "names": ["kettle"]}})
    assert environment_in(fine, "the data set x") == fine
    own = json.dumps({"id": "jax/Spread-v0", "kwargs": {"name": "jax/Spread-v0"}})  # as `data collect` writes it
    assert environment_in(own, "the log x") == own


@pytest.mark.parametrize("spec", ["{", "{}", '{"id": 3}', '{"id": ' + "[" * 100_000, '{"id": "\\ud800:x"}', 7])
def test_a_damaged_environment_spec_is_refused_in_a_line(spec):
    with pytest.raises(UserError) as caught:
        environment_in(spec, "the data set x")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300
