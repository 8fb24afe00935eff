"""`holdfast data collect --per-agent`, and the commands that read its file."""

import json

import pytest

from holdfast.cli import main
from holdfast.data.teams.files import load_team


def test_a_log_of_each_agent(tmp_path, capsys):
    path = tmp_path / "hunt.npz"
    given = ["data", "collect", str(path), "--env", "jax/StagHunt-v0", "--episodes", "6", "--per-agent"]
    assert main(given) == 0
    log = load_team(path)
    assert (log.joint, log.n_episodes, log.env_id) == (True, 6, "jax/StagHunt-v0")
    assert log["agent_1"].spec.action == 2
    capsys.readouterr()
    assert main(["data", "check", str(path), "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)) == {log["agent_0"].id, log["agent_1"].id}
    assert main(["data", "info", str(path)]) == 0
    assert "joint" in capsys.readouterr().out


def test_mistakes(tmp_path, capsys):
    place = ["data", "collect", str(tmp_path / "x.npz"), "--episodes", "2", "--per-agent"]
    assert main([*place, "--env", "jax/Pendulum-v1"]) == 2
    assert "jax/Pendulum-v1 is the environment of one agent" in capsys.readouterr().err
    assert main(["data", "collect", "spread/x-v0", "--env", "jax/Spread-v0", "--per-agent"]) == 2
    assert "is written as .npz" in capsys.readouterr().err
    assert main([*place[:-1], "--env", "jax/Pendulum-v1", "--by", "script"]) == 2
    assert "has no script" in capsys.readouterr().err


@pytest.mark.slow
def test_levels_and_replay_buffers_of_independent_learners(tmp_path, capsys):
    """A preset with --per-agent trains a team first, and uses its run again."""
    agent = str(tmp_path / "agent")
    given = ["data", "collect", str(tmp_path / "expert.npz"), "--env", "jax/Climbing-v0", "--preset", "expert"]
    assert main([*given, "--per-agent", "--train-steps", "40", "--agent", agent, "--episodes", "4"]) == 0
    log = load_team(tmp_path / "expert.npz")
    assert (log.joint, log.n_episodes, log.provenance["asked"]["agents"]) == (True, 4, "independent")
    assert json.loads((tmp_path / "agent" / "config.json").read_text())["agents"] == "independent"
    replay = ["data", "collect", str(tmp_path / "replay.npz"), "--preset", "final-buffer", "--by", agent]
    assert main([*replay, "--steps", "30", "--per-agent"]) == 0
    log = load_team(tmp_path / "replay.npz")
    assert (log.n_steps, log["agent_1"].spec.action) == (30, 3)
    assert {int(action) for action in log["agent_0"].actions} <= {0, 1, 2}
