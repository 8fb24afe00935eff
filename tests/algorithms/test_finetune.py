"""Whole runs of ACA's stages, Cal-QL online and RLPD, at the size of seconds."""

import pytest

from holdfast import finetune
from holdfast.core.errors import UserError
from holdfast.report.curves import axis_of
from holdfast.runs.read import read_run
from holdfast.training.run import resume, train
from support.small_runs import require_same, rows, tiny

SMALL = {"hidden": (8,), "batch_size": 8}


def metric(run, name):
    """A metric by step, where it was reported."""
    return {int(row["step"]): float(row[name]) for row in rows(run.path / "metrics.csv") if row[name]}


@pytest.mark.slow
def test_the_stages_of_aca_one_by_one(tmp_path):
    """Stage 1 alone, stage 2 from the saved stage 1, stage 3 after it; pi0 and Z carry over."""
    first = tiny(tmp_path / "first", "aca", config={**SMALL, "z_schedule": "separate", "align_steps": 0})
    assert {row["phase"] for row in rows(first.path / "metrics.csv")} == {"offline"}
    with pytest.raises(UserError, match="Z was never fitted"):
        finetune(first, steps=12, out=tmp_path / "refused")
    assert not (tmp_path / "refused").exists()
    config = {"realign_steps": 6, "best_episodes": 1, "online_decay_steps": 10}
    run = finetune(first, steps=12, config=config, out=tmp_path / "second", block=3, eval_every=6, eval_episodes=1)
    assert [row["phase"] for row in rows(run.path / "metrics.csv")] == ["align"] * 2 + ["online"] * 4
    assert all(value > 0 for value in metric(run, "z/loss").values())
    # a batch of rows is collected first; then w falls by a tenth an update, and a block reports its mean
    assert metric(run, "prior/weight") == pytest.approx({15: 1.0, 18: (0.9 + 0.8 + 0.7) / 3})
    assert run.result["finetune"]["return_before"] < 0


@pytest.mark.slow
def test_rlpd_learns_from_a_log_and_an_environment(tmp_path):
    with pytest.raises(UserError, match="a log and an environment at once: name the log"):
        train("rlpd", env="Pendulum-v1", steps=10, out=tmp_path / "none")
    config = {**SMALL, "update_ratio": 2, "critics": 2, "warmup": 10}
    clocks = {"steps": 20, "block": 5, "save_every": 5, "eval_every": 20}
    run = tiny(tmp_path / "run", "rlpd", config=config, **clocks)
    assert list(metric(run, "critic/loss")) == [15, 20]
    assert list(metric(run, "collect/episodes")) == [5, 10, 15, 20]
    assert axis_of(read_run(run.path)) == "environment steps"
    # killed between checkpoints: the ring, the environments and the data are where they were
    other = tiny(tmp_path / "other", "rlpd", config=config, **clocks)
    (other.path / "result.json").unlink()
    newest = max((other.path / "checkpoints").glob("step-*.json"))
    newest.unlink()
    require_same(resume(other.path).path, run.path)


@pytest.mark.slow
def test_cal_ql_waits_for_its_first_episode(tmp_path):
    """Rows come with their episode's return, so that the first update is that of Pendulum's 200th step, its last."""
    offline = tiny(tmp_path / "offline", "cal_ql", config={**SMALL, "critic_hidden": (8,)})
    run = finetune(offline, steps=240, out=tmp_path / "online", block=20, eval_every=240, eval_episodes=1)
    assert min(metric(run, "critic/bound_rate")) == 200
    assert all(0 <= rate <= 1 for rate in metric(run, "critic/bound_rate").values())
