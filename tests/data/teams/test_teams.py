"""Logs of teams: their forms, files and faults."""

import json

import numpy as np
import pytest

import holdfast
from holdfast import TeamDataset, UserError
from holdfast.collection.teams import collect_fixed, collect_level
from holdfast.core.spec import Spec
from holdfast.core.team import Team, require_team
from holdfast.data.dataset import Dataset
from holdfast.data.teams.files import is_team, load_team, save_team
from holdfast.environments.jax import games, matrix_games, spread


def columns(n=6, width=2):
    """One agent: two episodes of n / 2 steps."""
    rng = np.random.default_rng(n)
    ends = np.tile(np.arange(n // 2) == n // 2 - 1, 2)
    obs = rng.normal(size=(n, width)).astype(np.float32)
    return {
        "observations": obs,
        "actions": rng.uniform(-1, 1, (n, 1)).astype(np.float32),
        "rewards": rng.normal(size=n),
        "terminations": ends,
        "truncations": np.zeros(n, bool),
        "next_observations": obs + 1,
    }


def agent(n=6, width=2):
    return Dataset.from_arrays(**columns(n, width), action_bounds=(-1.0, 1.0))


def test_forms_of_logs():
    joint = TeamDataset.from_agents({"a": agent(), "b": agent()})
    assert joint.joint
    np.testing.assert_allclose(joint.returns(), agent().returns())
    assert joint.select([1]).n_steps == 3
    apart = TeamDataset.from_agents({"a": agent(), "b": agent(8)})
    assert not apart.joint
    assert apart["b"].n_steps == 8
    assert joint.apart().fingerprint != joint.fingerprint
    with pytest.raises(UserError, match=r"decentralised: it has no team returns"):
        apart.returns()
    with pytest.raises(UserError, match="decentralised: select the episodes of one agent"):
        apart.select([0])


@pytest.mark.parametrize(
    ("agents", "joint", "said"),
    [
        ({"a": agent(), "b": agent(8)}, True, r"a has 6 steps and b has 8; .* say that it is decentralised"),
        ({}, None, "no agents"),
        ({"a/b": agent()}, None, r"the agent 'a/b' needs a name of letters"),
        ({"..": agent()}, None, "needs a name of letters"),
        ({"a": 3}, None, "agent 'a' has the type int, expected a Dataset"),
    ],
)
def test_wrong_logs(agents, joint, said):
    with pytest.raises(UserError, match=said):
        TeamDataset.from_agents(agents, joint=joint)


def test_ends_that_differ():
    own = columns()
    other = {**columns(), "terminations": np.zeros(6, bool), "truncations": own["terminations"]}
    sets = {name: Dataset.from_arrays(**one, action_bounds=(-1.0, 1.0)) for name, one in (("a", own), ("b", other))}
    with pytest.raises(UserError, match="the terminations of b differ from those of a"):
        TeamDataset.from_agents(sets, joint=True)


def test_kinds_of_actions_that_differ():
    discrete = {**columns(), "actions": np.tile([0, 1], 3)}
    with pytest.raises(UserError, match="a has continuous actions and b has discrete ones"):
        TeamDataset.from_agents({"a": agent(), "b": Dataset.from_arrays(**discrete)})


def test_arrays_with_shared_columns():
    one = columns()
    each = {name: {"a": one[name], "b": one[name]} for name in ("observations", "actions", "next_observations")}
    made = TeamDataset.from_arrays(
        rewards=one["rewards"], terminations=one["terminations"], truncations=one["truncations"], **each
    )
    assert made.joint
    assert list(made) == ["a", "b"]
    del each["actions"]["b"]
    with pytest.raises(UserError, match="actions has no agent 'b'; it has a"):
        TeamDataset.from_arrays(rewards=one["rewards"], terminations=one["terminations"], **each)


@pytest.mark.parametrize("suffix", [".npz", ".hdf5"])
def test_files(tmp_path, suffix):
    made = TeamDataset.from_agents({"b": agent(), "a": agent(8, 3)}, id="pair", reference=(0.0, 5.0))
    path = save_team(made, tmp_path / f"team{suffix}")
    assert is_team(path)
    found = load_team(path)
    assert found.fingerprint == made.fingerprint
    assert (list(found), found.id, found.reference, found.joint) == (["b", "a"], "pair", (0.0, 5.0), False)
    with pytest.raises(UserError, match="exists already"):
        save_team(made, path)
    with pytest.raises(UserError, match="is the log of a team"):
        holdfast.load_dataset(path)


def test_files_with_flat_columns_of_other_names(tmp_path):
    one = columns()
    flat = {
        f"{name}/{key}": one[key] for name in ("x", "y") for key in ("observations", "actions", "next_observations")
    }
    shared = {"rewards": one["rewards"], "terminals": one["terminations"], "timeouts": one["truncations"]}
    path = tmp_path / "flat.npz"
    np.savez(path, **flat, **shared)
    found = load_team(path)
    assert found.joint
    np.testing.assert_allclose(found["y"].rewards, one["rewards"])
    for broken, said in (
        ({**flat, "z/actions": one["actions"]}, r"has z/actions, but no z/observations"),
        ({key: x for key, x in flat.items() if key != "y/actions"}, r"agent y has no actions"),
        ({**flat, "metadata": np.array(json.dumps({"agents": {"w": {}}}))}, "its metadata names the agent w"),
        ({**flat, "metadata": np.array(json.dumps({"joint": 3}))}, "joint in its metadata is 3"),
        ({**flat, "metadata": np.array("{")}, "metadata"),
    ):
        path = tmp_path / "broken.npz"
        np.savez(path, **broken, **shared)
        with pytest.raises(UserError, match=said):
            load_team(path)
    np.savez(tmp_path / "single.npz", **one)
    assert not is_team(tmp_path / "single.npz")
    with pytest.raises(UserError, match="it has no AGENT/observations"):
        load_team(tmp_path / "single.npz")


def test_parts_of_joint_arrays():
    team = Team(("a", "b", "c"), tuple(Spec((width,), count, True) for width, count in ((2, 3), (1, 2), (4, 2))))
    assert team.joint == Spec((7,), 12, True)
    numbers = np.arange(12)
    each = team.actions(numbers)
    np.testing.assert_array_equal(each[0], numbers // 4)
    np.testing.assert_array_equal(each[2], numbers % 2)
    np.testing.assert_array_equal(team.joint_action(each), numbers)
    assert [x.shape for x in team.observations(np.zeros((5, 7)))] == [(5, 2), (5, 1), (5, 4)]
    legal = np.zeros((1, 12), bool)
    legal[0, 5] = True  # (1, 0, 1)
    assert [x[0].tolist() for x in team.masks(legal)] == [[False, True, False], [True, False], [False, True]]
    with pytest.raises(UserError, match="0 agents, expected 1 to"):
        require_team([], [], "it")


def test_logs_of_games():
    log = collect_fixed("jax/StagHunt-v0", [(0.0, 1.0), (0.0, 1.0)], 5)
    assert log.joint
    assert log.n_steps == 10
    np.testing.assert_allclose(log.returns(), matrix_games.payoff("stag_hunt")[1, 1])
    assert log["agent_0"].spec.action == 2  # also the action that nobody took
    random, expert = (collect_level(spread.ID, level, 30) for level in ("random", "expert"))
    assert expert.returns().mean() > random.returns().mean() + 10
    assert expert["agent_2"].observations.shape[1] == 14
    again = TeamDataset.from_joint(joined(expert), games.get(spread.ID).team)
    np.testing.assert_array_equal(again["agent_1"].actions, expert["agent_1"].actions)
    for call, said in (
        (lambda: collect_level("jax/Climbing-v0", "expert", 3), "has no levels"),
        (lambda: collect_level(spread.ID, "experts", 3), "did you mean 'expert'"),
        (lambda: collect_fixed("jax/StagHunt-v0", [(0.5, 0.6), (1.0, 0.0)], 5), "numbers from 0 that sum to 1"),
        (lambda: collect_fixed("jax/StagHunt-v0", [(1.0,), (1.0, 0.0)], 5), "2, 2"),
        (lambda: collect_fixed("jax/Staghunt-v0", [(1.0,), (1.0, 0.0)], 5), "did you mean 'jax/StagHunt-v0'"),
    ):
        with pytest.raises(UserError, match=said):
            call()


def joined(log):
    """The joint log of a team."""
    each = list(log.agents.values())
    first = each[0]
    spaces = {}
    for name in ("observation_space", "action_space"):
        low, high = (np.concatenate([getattr(getattr(one, name), end) for one in each]) for end in ("low", "high"))
        spaces[name] = type(getattr(first, name))(low, high)
    return Dataset(
        np.concatenate([one.observations for one in each], 1),
        np.concatenate([one.actions for one in each], 1),
        first.rewards, first.terminations, first.truncations, first.offsets, **spaces,
    )  # fmt: skip
