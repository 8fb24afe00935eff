"""What the trackers send: to W&B and MLflow, by modules with the signatures of the real ones, and to TensorBoard."""

from __future__ import annotations

import sys
import types
from typing import NamedTuple

import numpy as np
import pytest

from holdfast.core.errors import UserError
from holdfast.runs.replicas import Replica
from holdfast.training.hooks import Block, Start
from holdfast.training.trackers import tracker
from support.small_runs import rows, tiny


@pytest.fixture
def calls(monkeypatch):
    """Both services, recording the calls: {id of the run: [what, ...]}."""
    runs: dict[str, list] = {}

    def begun(id_):
        id_ = id_ or f"id-{len(runs)}"
        return id_, runs.setdefault(id_, [])

    class WandBRun:
        def __init__(self, id_):
            self.id, self.heard = begun(id_)
            self.summary = {}

        def define_metric(self, name, step_metric=None):
            self.heard.append(("define", name, step_metric))

        def log(self, data, step=None):
            assert step is None
            self.heard.append(("log", dict(data)))

        def finish(self, exit_code=None):
            self.heard.append(("finish", exit_code, dict(self.summary)))

    wandb, mlflow = types.ModuleType("wandb"), types.ModuleType("mlflow")
    mode = types.SimpleNamespace(mode="online")

    def init(*, project=None, group=None, dir=None, id=None, name=None, config=None, resume=None, reinit=None):
        assert reinit == "create_new"  # the run before is still active
        run = WandBRun(id)
        run.heard.append(("init", project, group, name, dir, resume))
        run.heard.append(("config", config))
        return run

    wandb.init = init
    wandb.setup = lambda: types.SimpleNamespace(settings=mode)
    wandb.login = lambda verify=True, prompt=True: wandb.logged_in
    wandb.logged_in, wandb.mode = True, mode

    class Client:
        def search_experiments(self, max_results=None):
            if mlflow.fails:
                raise ConnectionError("refused\nagain")

        def create_run(self, experiment_id, run_name=None, tags=None):
            id_, heard = begun(None)
            heard.append(("start", experiment_id, run_name, tags))
            return types.SimpleNamespace(info=types.SimpleNamespace(run_id=id_))

        def update_run(self, run_id, status=None):
            runs[run_id].append(("update", status))

        def log_param(self, run_id, key, value):
            runs[run_id].append(("param", key, value))

        def set_terminated(self, run_id, status=None):
            runs[run_id].append(("end", status))

    def set_experiment(experiment_name=None, experiment_id=None):
        return types.SimpleNamespace(experiment_id=experiment_id or f"of {experiment_name}")

    mlflow.MlflowClient, mlflow.set_experiment, mlflow.fails = Client, set_experiment, False
    mlflow.get_tracking_uri = lambda: "there"
    mlflow.log_metrics = lambda metrics, step=None, run_id=None: runs[run_id].append(("log", {**metrics, "step": step}))
    for name in ("WANDB_PROJECT", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_EXPERIMENT_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    return runs


class Said(NamedTuple):
    """Settings, as far as loggers look."""

    algorithm: str = "bc"
    subject: str = "a log"
    config: dict = {"actor_lr": 0.1}
    treatment: dict = {"normalize_obs": None}

    def to_dict(self):
        return {"algorithm": self.algorithm}


def started(name, path, replicas=1, step=0):
    made = tracker(name)
    path.mkdir(exist_ok=True)
    folder = types.SimpleNamespace(path=path)
    seeds = [Replica(f"seed-{i}", i, {}, None) for i in range(replicas)]
    made.start(Start(folder, Said(), seeds, 100, step))
    return made


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_each_seed_is_a_run_of_the_service(tmp_path, calls, name):
    """Each row of the run's tables once, the settings with the seed, and that it went well."""
    run = tiny(tmp_path / "run", seeds=2, eval_every=8, loggers=[name], sweep={"actor_lr": [0.001, 0.002]})
    metrics = rows(run.path / "metrics.csv")
    replicas = ["actor_lr-0.001-seed-0", "actor_lr-0.001-seed-1", "actor_lr-0.002-seed-0", "actor_lr-0.002-seed-1"]
    assert run.result["replicas"] == replicas
    assert len(calls) == 4
    for i, (replica, heard) in enumerate(zip(replicas, calls.values(), strict=True)):
        logs = [what for kind, what, *_ in heard if kind == "log"]
        found = [what for what in logs if "evaluation/return_mean" not in what]
        own = [row for row in metrics if row["replica"] == replica]
        assert len(found) == len(own) == 2
        for what, row in zip(found, own, strict=True):
            values = {k: float(v) for k, v in row.items() if "/" in k and v}
            assert values
            assert what == pytest.approx(values | {"step": int(row["step"])})
        last = [what for what in logs if "evaluation/return_mean" in what][-1]
        mean = sum(run.result["returns"][i]) / len(run.result["returns"][i])
        assert last["evaluation/return_mean"] == pytest.approx(mean)
        lr = 0.001 if i < 2 else 0.002
        if name == "wandb":
            assert heard[0] == ("init", "holdfast", "run", f"run/{replica}", str(run.path), "allow")
            config = heard[1][1]
            assert (config["algorithm"], config["seed"], config["actor_lr"]) == ("bc", i % 2, lr)
            assert config["config"]["actor_lr"] == lr
            assert heard[2:4] == [("define", "step", None), ("define", "*", "step")]
            scores = run.result["normalized_scores"]
            summary = {"return_mean": mean, "updates_per_second": run.result["updates_per_second"]}
            assert heard[-1][:2] == ("finish", 0)
            assert heard[-1][2] == pytest.approx(summary | {"normalized_score": scores[i]})
        else:
            assert heard[0] == ("start", "of holdfast", f"run/{replica}", {"holdfast.run": "run"})
            parameters = {key: value for kind, key, *value in heard if kind == "param"}
            assert parameters["actor_lr"] == [lr]
            assert parameters["seed"] == [i % 2]
            assert parameters["hidden"] == ["[16]"]
            assert heard[-1] == ("end", "FINISHED")


@pytest.mark.parametrize(("name", "end"), [("wandb", ("finish", 1, {})), ("mlflow", ("end", "FAILED"))])
def test_a_resumed_run_continues_the_same_runs(tmp_path, calls, name, end):
    one = started(name, tmp_path / "run", replicas=2)
    nan = float("nan")
    one.block(Block("offline", 5, {"actor/loss": np.array([1.5, 2.5]), "actor/q": np.array([nan, 1.0])}, 1.0, 5))
    one.end(None)
    assert list(calls) == ["id-0", "id-1"]
    assert calls["id-0"][-2:] == [("log", {"actor/loss": 1.5, "step": 5}), end]  # no NaN
    assert calls["id-1"][-2:] == [("log", {"actor/loss": 2.5, "actor/q": 1.0, "step": 5}), end]
    result = {"returns": [[1.0], [2.0]], "normalized_scores": None, "updates_per_second": 2}
    started(name, tmp_path / "run", replicas=2, step=5).end(result)
    assert list(calls) == ["id-0", "id-1"]
    assert len([x for x in calls["id-0"] if x[:2] == ("param", "seed")]) == (name == "mlflow")
    (tmp_path / "elsewhere").mkdir()
    started(name, tmp_path / "elsewhere" / "run").end(None)
    assert list(calls) == ["id-0", "id-1", "id-2"]  # of the same name, and another run
    (tmp_path / "elsewhere" / "run" / f"{name}.json").write_text('{"id": "id-0"}')  # as version 0.1.0 wrote it
    started(name, tmp_path / "elsewhere" / "run").end(None)
    assert len(calls) == 3


@pytest.mark.parametrize(
    ("name", "variable", "where"),
    [
        ("wandb", "WANDB_PROJECT", ("init", "mine")),
        ("mlflow", "MLFLOW_EXPERIMENT_NAME", ("start", "of mine")),
        ("mlflow", "MLFLOW_EXPERIMENT_ID", ("start", "mine")),
    ],
)
def test_the_project_is_that_of_the_services_own_variable(tmp_path, calls, monkeypatch, name, variable, where):
    monkeypatch.setenv(variable, "mine")
    started(name, tmp_path / "run").end(None)
    assert calls["id-0"][0][:2] == where


def test_without_a_login_no_folder_is_made(tmp_path, calls):
    wandb = sys.modules["wandb"]
    wandb.logged_in = False
    with pytest.raises(UserError, match="not logged in to W&B: run `wandb login`") as caught:
        tiny(tmp_path / "run", loggers=["wandb"])
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
    wandb.mode.mode = "offline"
    tracker("wandb").require_ready()
    sys.modules["mlflow"].fails = True
    with pytest.raises(UserError, match="MLflow at there does not answer: refused again; set MLFLOW_TRACKING_URI"):
        tiny(tmp_path / "run", loggers=["mlflow"])
    assert list(tmp_path.iterdir()) == []
    assert calls == {}


def test_a_service_that_fails_to_start_gets_one_line(tmp_path, calls, monkeypatch):
    monkeypatch.setattr(sys.modules["wandb"], "init", lambda **_: 1 / 0)
    with pytest.raises(UserError, match=r"wandb did not start a run: division by zero; start again with --resume"):
        started("wandb", tmp_path / "run")


def events(folder):
    """The summaries in the event files of a folder: {tag: [(step, value), ...]}, and the hyper-parameters."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    found, parameters = {}, {}
    for path in folder.iterdir():
        data = path.read_bytes()
        while data:  # length, checksum, event, checksum
            size = int.from_bytes(data[:8], "little")
            event = Event.FromString(data[12 : 12 + size])
            data = data[16 + size :]
            for value in event.summary.value:
                if value.metadata.plugin_data.plugin_name == "hparams":
                    info = HParamsPluginData.FromString(value.metadata.plugin_data.content).session_start_info
                    parameters = {k: v.number_value or v.string_value for k, v in info.hparams.items()}
                else:
                    found.setdefault(value.tag, []).append((event.step, value.simple_value))
    return found, parameters


def test_tensorboard_has_the_means_and_the_hyper_parameters(tmp_path):
    pytest.importorskip("tensorboard")
    run = tiny(tmp_path / "run", seeds=2, eval_every=8, loggers=["tensorboard"], sweep={"actor_lr": [0.001, 0.002]})
    folder = run.path / "tensorboard"
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        [*run.result["replicas"], "actor_lr-0.001-mean", "actor_lr-0.002-mean"]
    )
    one, first = events(folder / "actor_lr-0.002-seed-0")
    other, second = events(folder / "actor_lr-0.002-seed-1")
    mean, none = events(folder / "actor_lr-0.002-mean")
    assert first["actor_lr"] == second["actor_lr"] == pytest.approx(0.002)
    assert (first["algorithm"], first["seed"], second["seed"], none) == ("bc", "", 1, {})
    assert set(mean) == set(one)
    for tag, points in mean.items():
        values = [(x + y) / 2 for (_, x), (_, y) in zip(one[tag], other[tag], strict=True)]
        assert [value for _, value in points] == pytest.approx(values)
        assert [step for step, _ in points] == [step for step, _ in one[tag]]


def test_one_seed_has_no_mean(tmp_path):
    pytest.importorskip("tensorboard")
    started("tensorboard", tmp_path / "run").end(None)
    assert [path.name for path in (tmp_path / "run" / "tensorboard").iterdir()] == ["seed-0"]
