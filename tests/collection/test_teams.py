"""`holdfast data collect --per-agent`, and the commands that read its file."""

import json

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
