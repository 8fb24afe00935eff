"""Runs of teams: what is trained on which log, what the run leaves, and what is refused."""

import dataclasses
import json

import jax
import numpy as np
import pytest

import holdfast
from holdfast import TeamDataset, TeamPolicy, UserError
from holdfast.cli import evaluate as evaluate_command
from holdfast.collection.teams import collect_fixed, collect_level
from holdfast.data.dataset import Dataset
from holdfast.data.teams.files import save_team
from holdfast.environments.jax import spread
from holdfast.runs.read import read_run
from holdfast.runs.settings import Settings
from holdfast.training.carry import Carry
from holdfast.training.plan.plan import plan

SMALL = {"hidden": [8], "batch_size": 16}


@pytest.fixture(scope="module")
def log():
    return collect_level(spread.ID, "expert", 12)


def planned(data, algorithm, agents=None, config=None, **settings):
    made = Settings.of(algorithm, config=SMALL if config is None else config, data=data.id, agents=agents, **settings)
    return plan(made, data)


def test_independent_learners(tmp_path, log):
    path = save_team(dataclasses.replace(log, reference=(-60.0, -10.0)), tmp_path / "team.npz")
    run = holdfast.train(
        "bc", path, agents="independent", steps=20, seeds=2, config=SMALL, eval_episodes=2, eval_every=20,
        block=10, out=tmp_path / "run", progress=False,
    )  # fmt: skip
    assert np.shape(run.result["returns"]) == (2, 2)
    assert any(name.startswith("agent_1/actor/") for name in run.metrics)
    teams = run.teams()
    assert [list(team.members) for team in teams] == [["agent_0", "agent_1", "agent_2"]] * 2
    facts = json.loads((tmp_path / "run" / "policy" / "seed-0" / "team.json").read_text())
    assert facts["info"]["env_id"] == spread.ID
    assert read_run(tmp_path / "run").reference == (-60.0, -10.0)  # of the scores in tables and reports
    obs = {name: own.observations[:3] for name, own in log.agents.items()}
    action = teams[0](obs)
    assert {name: x.shape for name, x in action.items()} == dict.fromkeys(log, (3, 2))
    joint = teams[0].together(np.concatenate(list(obs.values()), 1))
    np.testing.assert_allclose(joint, np.concatenate(list(action.values()), 1), atol=1e-6)
    found = run.evaluate(episodes=2, seed=5, progress=False)
    assert found.agent_returns.shape == (2, 2, 3)
    np.testing.assert_allclose(found.agent_returns.mean(2), found.returns, rtol=1e-5)
    assert evaluate_command.main([str(tmp_path / "run"), "--episodes", "2"]) == 0
    with pytest.raises(UserError, match=r"trains a team: take run\.teams"):
        run.policies()
    with pytest.raises(UserError, match="no observation of the agent agent_2"):
        teams[0]({name: obs[name] for name in ("agent_0", "agent_1")})
    with pytest.raises(UserError, match="did you mean 'agent_2'"):
        teams[0]({**obs, "agent_3": obs["agent_2"]})
    with pytest.raises(UserError, match="no team in"):
        TeamPolicy.load(tmp_path)


def test_each_agent_has_its_own_rows_and_treatment():
    rng = np.random.default_rng(0)
    sets = {}
    for name, width, n in (("a", 2, 30), ("b", 3, 50)):
        steps = [
            {
                "observations": rng.normal(5 * width, 1, (11, width)),
                "actions": rng.uniform(-1, 1, (10, 1)),
                "rewards": np.zeros(10),
                "terminations": np.arange(10) == 9,
                "truncations": np.zeros(10, bool),
            }
            for _ in range(n // 10)
        ]
        sets[name] = Dataset.from_episodes(steps, action_bounds=(-1.0, 1.0))
    made = planned(
        TeamDataset.from_agents(sets), "td3_bc", "independent", evaluate=False, treatment={"normalize_obs": 1e-3}
    )
    (program,) = made.programs
    held = [own.data for own in program.ctx.members]
    assert [len(own.row) for own in held] == [30, 50]
    for own, columns in zip(sets.values(), held, strict=True):
        seen = np.asarray(columns.obs)[np.asarray(columns.row)]
        np.testing.assert_allclose(seen.mean(0), 0, atol=1e-4)
        assert own.n_steps == len(seen)
    assert ", agents a, b" in made.describe()
    made.shapes()


def test_columns_of_whole_episodes_and_filters(log):
    for name in ("awr", "filtered_bc"):
        made = planned(log, name, "independent", config={"batch_size": 16}, evaluate=False)
        made.shapes()


def test_omiga_draws_the_same_rows_of_all_agents(log):
    made = planned(log, "omiga", evaluate=False)
    (program,) = made.programs
    cfg, key = jax.tree.map(lambda x: x[0], (program.cfgs, program.keys))
    carry = Carry((), np.array(False), {}, {})
    batches = jax.jit(lambda cfg, key: program._draw(cfg, key, carry, program.sources, 0))(cfg, key)
    np.testing.assert_array_equal(batches[0].reward, batches[2].reward)
    own = np.asarray(batches[0].obs)[:, 2:4] - np.asarray(batches[1].obs)[:, 2:4]
    np.testing.assert_allclose(own, np.asarray(batches[1].obs)[:, 10:12], atol=1e-5)  # agent 0 as agent 1 sees it


@pytest.mark.parametrize(
    ("algorithm", "agents", "change", "said"),
    [
        ("td3_bc", None, None, "is the log of 3 agents and td3_bc is a method for one: let each agent learn by itself"),
        ("omiga", "independent", None, "omiga trains all agents together: leave --agents independent out"),
        ("omiga", None, "apart", "is decentralised, and omiga needs the agents' rows of the same moments"),
        ("omiga", None, "narrow", r"agent_2 has observations \(13,\) and 2 actions, .* omiga shares its networks"),
        ("td3_bc", "independent", "one", "is the log of one agent, expected the log of a team: leave --agents out"),
        ("omiga", None, "one", "omiga learns from the log of a team, and"),
        ("dqn", "independent", None, "dqn needs discrete actions"),
        ("mopo", "independent", None, "learns a model of the environment"),
    ],
)
def test_refusals(log, algorithm, agents, change, said):
    data = log
    if change == "apart":
        data = log.apart()
    if change == "one":
        data = log["agent_0"]
    if change == "narrow":
        own = log["agent_2"]
        flat = own.observation_rows
        short = Dataset.from_arrays(
            own.observations[flat][:, :13], own.actions, own.rewards, own.terminations, own.truncations,
            own.observations[flat + 1][:, :13], action_bounds=(-1.0, 1.0),
        )  # fmt: skip
        data = TeamDataset.from_agents({**log.agents, "agent_2": short})
    with pytest.raises(UserError, match=said):
        planned(data, algorithm, agents, config={}, evaluate=False)


def test_options_for_one_agent(tmp_path, log):
    for given, said in (({"growing": 1.0}, "--growing"), ({"stop_when": "estimate:2"}, "--stop-when estimate")):
        with pytest.raises(UserError, match=f"{said}: this is for the log of one agent"):
            planned(log, "bc", "independent", evaluate=False, **given)
    path = str(save_team(log, tmp_path / "team.hdf5"))
    with pytest.raises(UserError, match=r"none\.npz does not exist"):  # not that it is the log of one agent
        plan(Settings.of("bc", data="none.npz", agents="independent"))
    with pytest.raises(UserError, match=r"--action-start: .* is the log of a team"):
        plan(Settings.of("bc", data=path, agents="independent", data_options={"action_start": 1}))


def test_a_faulty_agent_is_named():
    good = collect_fixed("jax/StagHunt-v0", [(0.5, 0.5)] * 2, 20)
    rewards = np.array(good["agent_1"].rewards)
    rewards[3] = np.nan
    data = TeamDataset.from_agents({**good.agents, "agent_1": dataclasses.replace(good["agent_1"], rewards=rewards)})
    with pytest.raises(UserError, match=r"staghunt-v0/agent_1: .*rewards"):
        planned(data, "tabular_bcq", "independent", config={}, evaluate=False)


@pytest.mark.slow
def test_independent_learners_in_an_environment(tmp_path):
    """Each agent collects for itself, compiled with the environment, and has its part of every row."""
    run = holdfast.train(
        "td3", env=spread.ID, agents="independent", steps=60, config={**SMALL, "warmup": 30}, eval_episodes=1,
        eval_every=60, block=30, out=tmp_path / "run", progress=False,
    )  # fmt: skip
    (team,) = run.teams()
    assert list(team.members) == ["agent_0", "agent_1", "agent_2"]
    assert np.isfinite(run.metrics["agent_2/critic/loss"][-1])
    made = plan(Settings.of("dqn", env="jax/Climbing-v0", agents="independent", config={"hidden": [8]}, evaluate=False))
    assert made.task.team.counts == [3, 3]
    made.shapes()
    with pytest.raises(UserError, match="jax/Pendulum-v1 is the environment of one agent"):
        plan(Settings.of("td3", env="jax/Pendulum-v1", agents="independent"))
