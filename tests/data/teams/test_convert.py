"""`holdfast data convert`, `info` and `check` on logs of teams. Vaults: test_vault.py."""

import dataclasses
import json

import numpy as np
import pytest

from holdfast import TeamDataset, UserError
from holdfast.cli.data import main
from holdfast.data.teams import fixes
from holdfast.data.teams.files import load_team, save_team

STEPS = 6  # of an episode


def log(agents=("left", "right"), episodes=3, bounds=None, **changes):
    """A joint log with three columns of observations; `changes` are `agent: (column, row, value)`."""
    rng = np.random.default_rng(0)
    n = STEPS * episodes
    ends = np.arange(n) % STEPS == STEPS - 1
    walks = {name: rng.normal(size=(episodes, STEPS + 1, 3)).astype(np.float32) for name in agents}
    obs = {name: walk[:, :-1].reshape(n, 3) for name, walk in walks.items()}
    after = {name: walk[:, 1:].reshape(n, 3) for name, walk in walks.items()}
    act = {name: rng.uniform(-1, 1, (n, 2)).astype(np.float32) for name in agents}
    paid = {name: rng.normal(size=n) for name in agents}
    for name, (column, row, value) in changes.items():
        {"observations": obs, "actions": act, "rewards": paid}[column][name][row] = value
    return TeamDataset.from_arrays(
        obs, act, paid, ends, np.zeros(n, bool), after, id="pair", action_bounds=bounds, env_spec="jax/Spread-v0",
        reference=(-60.0, -10.0),
    )  # fmt: skip


def test_round_trip(tmp_path, capsys):
    """Flat columns, HDF5, NPZ: the same rows, facts and faults."""
    made = log()
    flat = {f"{name}/{key}": getattr(own, key) for name, own in made.agents.items() for key in ("actions", "rewards")}
    for name, own in made.agents.items():
        flat[f"{name}/observations"] = own.observations[own.observation_rows]
        flat[f"{name}/next_observations"] = own.observations[own.observation_rows + 1]
    shared = {"terminals": made["left"].terminations, "timeouts": made["left"].truncations}
    facts = {"id": "pair", "env_spec": made.env_spec, "reference": list(made.reference)}
    np.savez(tmp_path / "flat.npz", metadata=json.dumps(facts), **flat, **shared)
    first, second = str(tmp_path / "team.hdf5"), str(tmp_path / "again.npz")
    assert main(["convert", str(tmp_path / "flat.npz"), first]) == 0
    assert "18 steps in 3 episodes of 2 agents (left, right)" in capsys.readouterr().out
    assert main(["convert", first, second, "--name", "renamed"]) == 0
    for path, id in ((first, "pair"), (second, "renamed")):
        found = load_team(path)
        assert found.fingerprint == made.fingerprint
        assert (found.id, found.env_id, found.reference, found.joint) == (id, "jax/Spread-v0", (-60.0, -10.0), True)
    assert found["right"].id == "renamed/right"
    assert "path" not in json.loads(str(np.load(second)["metadata"]))["provenance"]
    capsys.readouterr()
    for path in (str(tmp_path / "flat.npz"), second):
        assert main(["check", path, "--json"]) == 0
        kinds = {fault["kind"] for faults in json.loads(capsys.readouterr().out).values() for fault in faults}
        assert "assumed_bounds" in kinds  # also of the copy


def test_decentralised_and_discrete_logs(tmp_path):
    made = log(bounds=(-1.0, 1.0)).agents
    apart = TeamDataset.from_agents({"left": made["left"], "right": made["right"].select([2, 0])})
    given = {name: {"left": getattr(made["left"], name)} for name in ("rewards", "terminations", "truncations")}
    obs = made["left"].observations[made["left"].observation_rows]
    legal = np.arange(18)[:, None] % 3 >= np.arange(3)
    discrete = TeamDataset.from_arrays(
        {"left": obs}, {"left": np.zeros(18, int)}, **given, columns={"left": {"action_mask": legal}}
    )
    for team in (apart, discrete):
        source = save_team(team, tmp_path / f"{team.form}.npz")
        target = tmp_path / f"{team.form}.h5"
        assert main(["convert", str(source), str(target)]) == 0
        assert load_team(target).fingerprint == team.fingerprint
        assert load_team(target).form == team.form


@pytest.mark.parametrize("target", ["copy-v0", "./folder-v0", "log.columns", "log.csv"])
def test_targets_that_cannot_hold_a_team(tmp_path, target):
    source = str(save_team(log(), tmp_path / "team.npz"))
    with pytest.raises(
        UserError, match=r"^[^\n]*: a log of a team is written as \.npz or \.hdf5 or \.h5: name such a file$"
    ):
        main(["convert", source, target if target.startswith((".", "copy")) else str(tmp_path / target)])
    with pytest.raises(UserError, match="exists already"):
        main(["convert", source, source])
    for command in (["convert", source, str(tmp_path / "b.npz")], ["info", source], ["check", source]):
        with pytest.raises(UserError, match=r"--action-start: .*team\.npz is the log of a team.* leave it out"):
            main([*command, "--action-start", "1"])


def test_fixes(tmp_path):
    """Agents of a joint log lose the same episodes; those of a decentralised log their own."""
    faulty = log(left=("rewards", 8, np.nan), right=("actions", 1, 1.5), bounds=(-1.0, 1.0))
    source = str(save_team(faulty, tmp_path / "faulty.npz"))
    assert main(["check", source]) == 1
    assert main(["convert", source, str(tmp_path / "fixed.npz"), "--drop-nonfinite", "--clip-actions"]) == 0
    assert main(["check", str(tmp_path / "fixed.npz")]) == 0
    found = load_team(tmp_path / "fixed.npz")
    assert found.joint
    for name, own in found.agents.items():
        np.testing.assert_array_equal(own.actions, np.clip(faulty[name].select([0, 2]).actions, -1, 1))
    assert found["right"].provenance["mended"] == {"drop_nonfinite": 1, "clip_actions": 1}
    apart = fixes.drop_nonfinite(faulty.apart())
    assert (apart["left"].n_episodes, apart["right"].n_episodes) == (2, 3)


def test_cut_at_flags_and_stray_starts():
    made = log(episodes=12)
    ends = np.array(made["left"].truncations)
    ends[2] = True  # inside the first episode
    flagged = TeamDataset.from_agents(
        {name: dataclasses.replace(own, truncations=ends) for name, own in made.agents.items()}
    )
    cut = fixes.cut_at_flags(flagged)
    assert (cut.joint, cut.n_episodes, cut.n_steps) == (True, 13, flagged.n_steps)
    stray = {name: np.array(own.observations) for name, own in made.agents.items()}
    stray["right"][7] += 1e4  # the first observation of the second episode
    agents = {name: dataclasses.replace(own, observations=stray[name]) for name, own in made.agents.items()}
    found = fixes.drop_stray_starts(TeamDataset.from_agents(agents))
    assert (found.joint, found.n_steps) == (True, made.n_steps - 1)
    np.testing.assert_array_equal(found["left"].observations, np.delete(stray["left"], 7, 0))
