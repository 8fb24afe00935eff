"""The presets of papers, and the command that makes them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from holdfast.cli import main as holdfast
from holdfast.collection import play, presets
from holdfast.core.errors import UserError
from holdfast.data import load_dataset
from support.logs import CHAIN, ENV
from support.small_runs import tiny


def test_the_command_writes_a_log_that_can_be_checked_and_trained_on(learned, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    by = ["--by", str(learned.path)]
    for to, *flags in (
        ["swing/random-v0", "--env", ENV, "--steps", "500"],
        [str(tmp_path / "imperfect.hdf5"), *by, "--preset", "imperfect", "--steps", "500"],
        [str(tmp_path / "replay.npz"), *by, "--preset", "final-buffer"],
    ):
        assert holdfast(["data", "collect", to, *flags]) == 0
        assert "normalised score" in capsys.readouterr().out
        assert holdfast(["data", "check", to]) == 0
        assert "0 fatal, 0 warn" in capsys.readouterr().out
    data = load_dataset(str(tmp_path / "imperfect.hdf5"))
    assert (data.n_steps, data.env_id, data.reference) == (500, ENV, (-1224.0, -150.0))
    (told,) = data.provenance["collected"]
    assert (told["random_actions"], told["noise"], told["step"], told["algorithm"]) == (0.3, 0.3, 450, "ddpg")
    assert data.provenance["asked"]["preset"] == "imperfect"
    assert data.provenance["versions"]["holdfast"]
    assert set(data.provenance["measured_returns"]) == {"random", "policy"}
    random = load_dataset("swing/random-v0")
    assert set(random.provenance["measured_returns"]) == {"random"}
    run = tiny(tmp_path / "bc", data="swing/random-v0", growing=50.0)
    assert np.isfinite(run.result["return_mean"])
    assert holdfast(["data", "collect", "swing/random-v0", "--env", ENV]) == 2
    assert "exists already" in capsys.readouterr().err


@pytest.mark.slow
def test_levels_train_an_agent_once(tmp_path, monkeypatch, capsys):
    given = ["--env", CHAIN, "--train-steps", "120", "--steps", "40", "--agent", str(tmp_path / "agent")]
    monkeypatch.setattr(presets, "EVALUATIONS", 2)
    assert holdfast(["data", "collect", str(tmp_path / "expert.npz"), "--preset", "expert", *given]) == 0
    config = json.loads((tmp_path / "agent" / "config.json").read_text())
    assert (config["algorithm"], config["steps"], config["config"]["warmup"]) == ("dqn", 120, 30)
    before = (tmp_path / "agent" / "result.json").read_bytes()
    low = {"random": -1e9, "policy": 1.0}
    monkeypatch.setattr(play, "references", lambda *a, **k: low)
    for preset in ("medium-expert", "medium-replay"):
        assert holdfast(["data", "collect", str(tmp_path / f"{preset}.npz"), "--preset", preset, *given]) == 0
    assert (tmp_path / "agent" / "result.json").read_bytes() == before
    both = load_dataset(tmp_path / "medium-expert.npz")
    assert [one["steps"] for one in both.provenance["collected"]] == [20, 20]
    assert both.reference == (-1e9, 1.0)  # none is known of this environment: as measured
    assert load_dataset(tmp_path / "medium-replay.npz").n_steps == 40
    capsys.readouterr()
    again = ["data", "collect", str(tmp_path / "x.npz"), "--preset", "expert", *given, "--seed", "1"]
    assert holdfast(again) == 2
    assert "seed 0 instead of 1): name another folder with --agent" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"preset": "imperfekt"}, "did you mean 'imperfect'"),
        ({"preset": "imitation", "noise": 0.1}, "says how to act.*; --preset imitation needs an expert"),
        ({"preset": "random", "by": "run"}, "leave --by out"),
        ({"steps": 1, "episodes": 1}, "leave one out"),
        ({"preset": "concurrent", "episodes": 1}, "give --steps, not --episodes"),
        ({}, "name one with --env"),
        ({"preset": "expert"}, "trains an agent first"),
        ({"by": "nowhere", "env": ENV}, "nowhere does not exist"),
    ],
)
def test_contradictory_requests_are_refused(wrong, said):
    with pytest.raises(UserError, match=said):
        presets.make(presets.LogRequest(**wrong), "log")
