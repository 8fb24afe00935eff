"""Early stopping: the rules, what they read, and that a resumed run decides as an uninterrupted one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from holdfast.core.errors import UserError
from holdfast.evaluation.ope import linear
from holdfast.runs.read import read_run
from holdfast.runs.settings import Settings
from holdfast.training import early
from holdfast.training.plan.plan import plan
from holdfast.training.run import resume, train
from support.small_runs import DATA, TINY, Stops, require_same, rows, tiny
from support.valued import gaussian_log

STILL = {**TINY, "actor_lr": 1e-30}  # nothing improves
CLOCKS: dict[str, Any] = {"steps": 40, "block": 4, "eval_every": 4, "config": STILL}


def written(path: Path, values: list[list[float]], sweep: bool = False) -> early.EarlyStop:
    """The rule return:2 on a table with the mean returns of each replica at steps 10, 20, ..."""
    settings = Settings.of("bc", data=DATA, steps=100, stop_when="return:2", seeds=2,
                           sweep={"actor_lr": [1e-3, 1e-4]} if sweep else None)  # fmt: skip
    made = plan(settings)
    lines = ["step,phase,replica,seed,actor_lr,episode,episode_seed,return,length"]
    for t, at in enumerate(values):
        for replica, value in zip(made.replicas, at, strict=True):
            lines += [
                f"{10 * t + 10},offline,{replica.name},{replica.seed},0,{e},0,{value + e - 0.5},5" for e in (0, 1)
            ]
    path.mkdir()
    (path / "evaluations.csv").write_text("\n".join(lines) + "\n")
    return early.EarlyStop(made, early.RunFolder(path))


def test_the_rule_looks_at_the_mean_over_seeds_of_the_best_setting(tmp_path: Path) -> None:
    rising = written(tmp_path / "rising", [[0, 0], [1, 1], [4, -1], [0, 3.5]])
    assert rising.reached() is None
    assert rising.result() == {}
    still = written(tmp_path / "still", [[0, 0], [4, 0], [1, 2], [2, 2]])  # 2 is not higher than 2
    assert still.reached() == early.Reached("return:2", 40, 20, 2.0)
    assert still.result()["stopped"]["best_policies"] == "policies/step-20"
    swept = written(tmp_path / "swept", [[0, 0, 9, 9], [0, 0, 8, 8], [0, 0, 8, 9], [50, -50, 1, 1]], sweep=True)
    assert swept.reached() == early.Reached("return:2", 40, 10, 9.0)


def test_a_run_ends_when_returns_do_not_rise_and_resumes_to_the_same(tmp_path: Path) -> None:
    whole = tiny(tmp_path / "whole" / "run", stop_when="return:2", **CLOCKS)
    found = rows(whole.path / "evaluations.csv")
    returns = {int(row["step"]): float(row["return"]) for row in found}
    best = max(returns, key=lambda step: returns[step])
    stopped = whole.result["stopped"]
    assert (stopped["best_step"], stopped["best_value"]) == (best, returns[best])
    assert whole.result["steps"] == stopped["step"] == max(returns) == best + 8 < 40
    assert {path.name for path in (whole.path / "policies").iterdir()} == {f"step-{step}" for step in returns}
    assert (whole.path / whole.result["stopped"]["best_policies"] / "policy.json").is_file()
    with pytest.raises(KeyboardInterrupt):
        tiny(tmp_path / "cut" / "run", stop_when="return:2", hooks=[Stops(2)], **CLOCKS)
    resume(tmp_path / "cut" / "run")
    require_same(tmp_path / "cut" / "run", whole.path)
    assert resume(whole.path).result["steps"] == best + 8  # finished: nothing to do


def test_estimates_on_held_out_episodes_end_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear, "WIDTH", 60)
    data = gaussian_log(500)
    run = train("bc", data, out=tmp_path / "run", stop_when="estimate:1", held_out=0.5, evaluate=False, progress=False,
                seeds=2, **CLOCKS)  # fmt: skip
    end = run.result["steps"]
    assert end == run.result["stopped"]["best_step"] + 4 < 40
    assert run.result["stopped"]["rule"] == "estimate:1"
    found = rows(run.path / "heldout.csv")
    assert [(row["step"], row["replica"], row["estimator"]) for row in found] == [
        (str(step), name, "fqe") for step in range(4, end + 1, 4) for name in ("seed-0", "seed-1")
    ]
    assert all(float(row["low"]) < float(row["estimate"]) < float(row["high"]) for row in found)
    assert float(found[0]["estimate"]) == pytest.approx(data.returns().mean(), abs=0.5)
    assert (run.path / "policies" / "step-4" / "seed-1" / "policy.json").is_file()
    made = plan(Settings.from_dict(json.loads((run.path / "config.json").read_text())
                                   | {"in_memory": False}, "a test"), data)  # fmt: skip
    assert (made.task.episodes, made.task.held_out.n_episodes) == (250, 250)
    assert read_run(run.path).result["stopped"]["step"] == end


def test_refused_estimates_end_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear, "WIDTH", 60)
    run = train("bc", gaussian_log(20), out=tmp_path / "run", stop_when="estimate:1", evaluate=False, progress=False,
                **(CLOCKS | {"steps": 12}))  # fmt: skip
    assert run.result["steps"] == 12
    assert "stopped" not in run.result
    assert {row["estimate"] for row in rows(run.path / "heldout.csv")} == {""}


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"stop_when": "return"}, "expected return:N or estimate:N"),
        ({"stop_when": "return:0"}, "expected return:N or estimate:N"),
        ({"stop_when": "value:3"}, "expected return:N or estimate:N"),
        ({"stop_when": "estimate:3", "held_out": 1.0}, "expected a share of the episodes"),
        ({"held_out": 0.2}, "give both, or leave it out"),
        ({"stop_when": "return:3", "evaluate": False}, "and --no-eval skips these"),
    ],
)
def test_bad_rules_are_refused(settings: dict[str, Any], text: str) -> None:
    with pytest.raises(UserError, match=text):
        plan(Settings.of("bc", data=DATA, **settings))


def test_rules_that_a_run_cannot_follow_are_refused() -> None:
    data = gaussian_log(20)
    with pytest.raises(UserError, match="no environment is known for"):
        plan(Settings.of("bc", data="arrays", stop_when="return:3"), data)
    with pytest.raises(UserError, match="have a memory"):
        plan(Settings.of("decision_transformer", data=DATA, stop_when="estimate:3"))
    with pytest.raises(UserError, match="needs logged data"):
        plan(Settings.of("sac", env="Pendulum-v1", stop_when="estimate:3"))
