"""What the trackers send to Weights & Biases and MLflow, recorded by modules with the signatures of the real ones."""

from __future__ import annotations

import sys
import types
from typing import NamedTuple

import pytest

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

    wandb, mlflow, active = types.ModuleType("wandb"), types.ModuleType("mlflow"), []

    def init(*, project=None, dir=None, id=None, name=None, config=None, resume=None):
        run = WandBRun(id)
        run.heard.append(("init", project, name, dir, config["algorithm"], resume))
        return run

    def start_run(run_id=None, experiment_id=None, run_name=None):
        assert not active, "a run is active already"
        id_, heard = begun(run_id)
        active.append(heard)
        heard.append(("start", run_name))
        return types.SimpleNamespace(info=types.SimpleNamespace(run_id=id_))

    def end_run(status="FINISHED"):
        active.pop().append(("end", status))

    wandb.init = init
    mlflow.set_experiment = lambda experiment_name=None, experiment_id=None: None
    mlflow.start_run, mlflow.end_run = start_run, end_run
    mlflow.log_params = lambda params: active[-1].append(("params", dict(params)))
    mlflow.log_metrics = lambda metrics, step=None: active[-1].append(("log", {**metrics, "step": step}))
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    return runs


class Named(NamedTuple):
    name: str


class Said(NamedTuple):
    """Settings, as far as loggers look."""

    algorithm: str = "bc"
    subject: str = "a log"
    config: dict = {"actor_lr": 0.1}

    def to_dict(self):
        return {"algorithm": self.algorithm}


def started(name, path, replicas=1, step=0):
    made = tracker(name)
    path.mkdir(exist_ok=True)
    folder = types.SimpleNamespace(path=path)
    made.start(Start(folder, Said(), [Named(f"seed-{i}") for i in range(replicas)], 100, step))
    return made


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_whole_run_is_sent(tmp_path, calls, name):
    """Each row of its tables once, names of replicas before those of metrics, and that it went well."""
    run = tiny(tmp_path / "run", seeds=2, eval_every=8, loggers=[name])
    (heard,) = calls.values()
    logs = [what for kind, what, *_ in heard if kind == "log"]
    metrics = rows(run.path / "metrics.csv")
    assert len(metrics) == 4  # two blocks of two replicas
    found = [what for what in logs if not any("return_mean" in key for key in what)]
    assert len(found) == len(metrics)
    for what, row in zip(found, metrics, strict=True):
        values = {k: float(v) for k, v in row.items() if "/" in k and v}
        assert values
        wanted = {f"{row['replica']}/{k}": v for k, v in values.items()} | {"step": int(row["step"])}
        assert what == pytest.approx(wanted)
    returns = {k: v for what in logs for k, v in what.items() if "return_mean" in k and what["step"] == 8}
    means = zip(run.result["replicas"], run.result["returns"], strict=True)
    mean = {f"{replica}/evaluation/return_mean": sum(x) / len(x) for replica, x in means}
    assert returns == pytest.approx(mean)
    if name == "wandb":
        assert heard[0] == ("init", "holdfast", "run", str(run.path), "bc", "allow")
        assert heard[1:3] == [("define", "step", None), ("define", "*", "step")]
        summary = {k: run.result[k] for k in ("return_mean", "normalized_score", "updates_per_second")}
        assert heard[-1] == ("finish", 0, summary)
    else:
        assert heard[0] == ("start", "run")
        settings = run.result["config"]
        assert heard[1] == ("params", {"algorithm": "bc", "data": settings["data"], **settings["config"]})
        assert heard[-1] == ("end", "FINISHED")


@pytest.mark.parametrize(("name", "end"), [("wandb", ("finish", 1, {})), ("mlflow", ("end", "FAILED"))])
def test_a_resumed_run_continues_the_same_run(tmp_path, calls, name, end):
    one = started(name, tmp_path / "run")
    one.block(Block("offline", 5, {"actor/loss": [1.5], "actor/q": [float("nan")]}, 1.0, 5))
    one.end(None)
    assert list(calls) == ["id-0"]
    assert calls["id-0"][-2:] == [("log", {"actor/loss": 1.5, "step": 5}), end]  # one replica: plain names, no NaN
    started(name, tmp_path / "run", step=5).end({"return_mean": 1.0, "normalized_score": None, "updates_per_second": 2})
    assert list(calls) == ["id-0"]
    assert len([x for x in calls["id-0"] if x[0] == "params"]) == (name == "mlflow")
    (tmp_path / "elsewhere").mkdir()
    started(name, tmp_path / "elsewhere" / "run").end(None)
    assert list(calls) == ["id-0", "id-1"]  # of the same name, and another run
