"""Vaults of OG-MARL: a small one is written in tensorstore's form and read back."""

import json

import numpy as np
import pytest

from holdfast import UserError
from holdfast.cli.data import main
from holdfast.data.teams.files import is_team, load_team
from holdfast.data.teams.vault import load_vault

STEPS, AGENTS = 12, 2


def arrays():
    rng = np.random.default_rng(0)
    ends = np.tile(np.arange(STEPS) % 6 == 5, (AGENTS, 1)).T
    found = {
        "observations": rng.normal(size=(STEPS, AGENTS, 3)).astype(np.float32),
        "actions": rng.integers(0, 4, (STEPS, AGENTS)),
        "rewards": rng.normal(size=(STEPS, AGENTS)).astype(np.float32),
        "terminals": ends,
        "truncations": np.zeros((STEPS, AGENTS), bool),
        "infos.legals": np.ones((STEPS, AGENTS, 4), bool),
    }
    return {name: array[None] for name, array in found.items()}


def write(folder, left_out=()):
    ts = pytest.importorskip("tensorstore")
    folder.mkdir(parents=True)

    def store(name, array):
        spec = {"driver": "zarr", "kvstore": {"driver": "ocdbt", "base": f"file://{folder}", "path": name}}
        made = ts.open(spec, create=True, dtype=array.dtype, shape=array.shape).result()
        made.write(array).result()

    shapes = {}
    for name, array in arrays().items():
        if name not in left_out:
            first, _, inside = name.partition(".")
            if inside:
                shapes.setdefault(first, {})[inside] = str(array.shape)
            else:
                shapes[first] = str(array.shape)
            store(f"{name}.", np.concatenate([array, array], 1))  # more room than steps, as in a vault
    store("vault_index", np.array([STEPS], np.int32))
    (folder / "metadata.json").write_text(json.dumps({"version": 1.2, "structure_shape": shapes}))


def test_a_vault(tmp_path):
    write(tmp_path / "game.vlt" / "Good")
    assert is_team(tmp_path / "game.vlt")
    log = load_team(tmp_path / "game.vlt")
    assert (log.id, list(log), log.joint, log.n_episodes) == ("game", ["agent_0", "agent_1"], True, 2)
    np.testing.assert_array_equal(log["agent_1"].actions, arrays()["actions"][0, :, 1])
    assert log["agent_0"].columns["action_mask"].shape == (STEPS + 2, 4)
    write(tmp_path / "game.vlt" / "Poor", ("rewards",))
    with pytest.raises(UserError, match="with one part, it has Good, Poor"):
        load_team(tmp_path / "game.vlt")
    with pytest.raises(UserError, match="the vault has no rewards"):
        load_team(tmp_path / "game.vlt" / "Poor")


def test_a_vault_is_converted(tmp_path, capsys):
    write(tmp_path / "game.vlt" / "Good")
    target = tmp_path / "game.npz"
    assert main(["convert", str(tmp_path / "game.vlt"), str(target), "--name", "Good"]) == 0
    assert "12 steps in 2 episodes of 2 agents (agent_0, agent_1)" in capsys.readouterr().out
    log, found = load_vault(tmp_path / "game.vlt"), load_team(target)
    assert found.fingerprint == log.fingerprint
    assert (found.id, found["agent_1"].id, found.provenance["converted_from"]) == ("Good", "Good/agent_1", "Good")
    assert main(["check", str(tmp_path / "game.vlt")]) == 0
    assert main(["info", str(tmp_path / "game.vlt"), "--json"]) == 0


def test_what_is_not_a_vault(tmp_path):
    with pytest.raises(UserError, match="with one part, it has none"):
        load_vault(tmp_path)
    (tmp_path / "metadata.json").write_text(json.dumps({"version": 7, "structure_shape": {}}))
    with pytest.raises(UserError, match="has version 7, expected 1"):
        load_vault(tmp_path)
