"""Estimated values, discounted returns past time limits, and the study that compares them."""

from __future__ import annotations

import csv
import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from holdfast.algorithms import awr, bc, dqn, registry, tabular_bcq, td3, uwac
from holdfast.cli import main
from holdfast.core import config
from holdfast.core.config import as_arrays
from holdfast.core.contract import Collect, Context, Phase, Treatment
from holdfast.core.errors import UserError
from holdfast.core.noise import Noise
from holdfast.core.spec import Spec
from holdfast.data.dataset import Dataset
from holdfast.data.feed import treatment
from holdfast.environments.probes import collect, get
from holdfast.evaluation.discounted import discounted_returns, horizon
from holdfast.parts import layers, nets, spectral
from holdfast.policy.acting import Replicas
from holdfast.policy.q_values import estimated_value, has_value
from holdfast.runs.settings import Settings
from holdfast.studies import overestimation
from holdfast.studies import result as studies
from holdfast.training.in_memory import train_in_memory
from support.learned import Learned

SPEC, NOISE = Spec((2,), 1), Noise(jax.random.PRNGKey(0))
OBS, ACTION = jnp.array([[1.0, 2.0], [3.0, 4.0]]), jnp.array([[0.5], [-0.5]])


def state_of(algorithm, spec=SPEC, **settings):
    """Config and first state with tiny networks."""
    sizes = {f.name: (4,) for f in dataclasses.fields(algorithm.Config) if f.name.endswith("hidden")}
    cfg = dataclasses.replace(algorithm.Config(), **sizes, **settings)
    cfg = as_arrays(config.over_the_run(cfg, 100))
    return cfg, algorithm.init(cfg, Context(spec, None), NOISE)


def constant_mlp(value: float, inputs: int, outputs: int = 1) -> layers.MLP:
    bias = jnp.arange(outputs) + value
    return layers.MLP((layers.Linear(jnp.zeros((inputs, outputs)), bias),), ())


# estimates


@pytest.mark.slow
def test_the_estimate_is_that_of_the_smaller_critic():
    cfg, state = state_of(td3.algorithm)
    pair = jax.tree.map(lambda *x: jnp.stack(x), constant_mlp(3.0, 3), constant_mlp(2.0, 3))
    state = dataclasses.replace(state, critic=state.critic.replace(nets.Critic(pair)))
    assert has_value(td3.algorithm, state)
    assert estimated_value(td3.algorithm, cfg, state, OBS, ACTION).tolist() == [2, 2]


def test_the_estimate_of_one_network_is_the_mean_of_its_outputs():
    spec = Spec((2,), 3, discrete=True)
    cfg, state = state_of(dqn.algorithm, spec)
    values = dataclasses.replace(state.critic.net, net=constant_mlp(0.0, 2, 6), count=2)  # action a: 2 a and 2 a + 1
    state = dataclasses.replace(state, critic=state.critic.replace(values))
    assert estimated_value(dqn.algorithm, cfg, state, OBS, jnp.array([0, 2])).tolist() == [0.5, 4.5]


@pytest.mark.slow
def test_algorithms_may_define_their_own_estimate():
    cfg, state = state_of(awr.algorithm, discount=0.9)
    state = dataclasses.replace(state, critic=state.critic.replace(nets.Value(constant_mlp(0.3, 2))))
    np.testing.assert_allclose(estimated_value(awr.algorithm, cfg, state, OBS, ACTION), 3, rtol=1e-6)  # V / (1 - .9)
    table = tabular_bcq.State(OBS, jnp.ones((2, 2), bool), jnp.zeros((2, 2)), jnp.array([[1.0, 2.0], [3.0, 4.0]]))
    found = estimated_value(tabular_bcq.algorithm, tabular_bcq.TabularBCQ(), table, OBS[::-1], jnp.array([0, 1]))
    assert found.tolist() == [3, 2]
    cfg, state = state_of(uwac.algorithm)
    whole = spectral.smooth(state.critic.net, state.directions)[0](OBS, ACTION).min(0)
    np.testing.assert_allclose(estimated_value(uwac.algorithm, cfg, state, OBS, ACTION), whole)
    assert not np.allclose(state.critic.net(OBS, ACTION).min(0), whole)


def test_cloning_has_no_estimate():
    cfg, state = state_of(bc.algorithm)
    assert not has_value(bc.algorithm, state)
    with pytest.raises(TypeError, match="bc assigns no values to actions"):
        estimated_value(bc.algorithm, cfg, state, OBS, ACTION)


@pytest.mark.parametrize("name", registry.names())
def test_every_method_that_learns_values_has_an_estimate(name):
    algorithm = registry.get(name)
    cloners = ("bc", "filtered_bc", "flow_bc", "decision_transformer", "odt")
    others = ("qc", "qc_fql", "morel", "algae_dice", "opti_dice", "omiga")  # of chunks, multipliers, of a team, or none
    if name in (*cloners, *others) or algorithm.inputs:  # an input would be a policy of another run
        return
    discrete = "continuous" not in algorithm.actions
    spec = Spec((2,), 3, discrete=True) if discrete else SPEC
    sizes = {f.name: (4,) for f in dataclasses.fields(algorithm.Config) if f.name.endswith("hidden")}
    cfg = dataclasses.replace(next(iter(algorithm.presets.values())).config, **sizes)
    cfg = as_arrays(config.over_the_run(cfg, 100))
    state = jax.eval_shape(lambda: algorithm.init(cfg, Context(spec, None), NOISE))
    action = jnp.array([0, 2]) if discrete else ACTION
    found = jax.eval_shape(lambda s: estimated_value(algorithm, cfg, s, OBS, action), state)
    assert found.shape == (2,)


# returns


def policies_on(probe: str, reward_scale: float = 1.0, replicas: int = 2) -> Replicas:
    """Untrained cloners for a probe."""
    data = Dataset.from_arrays(**collect(get(probe), 20), action_bounds=(-1.0, 1.0))
    fitted = treatment.fit(Treatment(reward_scale=reward_scale), data)
    cfg, state = state_of(bc.algorithm, data.spec)
    stack = jax.tree.map(lambda x: jnp.stack([x] * replicas), (cfg, state))
    return Replicas(bc.algorithm, *stack, data.spec, fitted)


def test_horizon():
    assert horizon(0.0) == 1
    assert horizon(0.9) == 44  # .9^44 = .0097
    with pytest.raises(UserError, match=r"discount is 1\.0"):
        horizon(1.0)


def test_discounted_returns_go_past_time_limits_and_stop_at_ends():
    """Whatever the action: limit pays 1 a step, ends where it shows 1, and is cut after one step where it shows -1."""
    found = discounted_returns(get("limit").env_id, policies_on("limit"), 12, 0.8)
    assert found.returns.shape == (2, 12)
    ended = found.obs[:, 0] > 0
    assert 0 < ended.sum() < 12
    np.testing.assert_allclose(found.returns[:, ended], 1)
    np.testing.assert_allclose(found.returns[:, ~ended], (1 - 0.8 ** horizon(0.8)) / 0.2)  # of 5, .01 is left
    assert found.mask is None


def test_discounted_returns_use_scaled_rewards():
    found = discounted_returns(get("delayed").env_id, policies_on("delayed", reward_scale=10.0), 3, 0.5)
    np.testing.assert_allclose(found.returns, 5)  # 10 after one step, discounted once


# the study


@pytest.mark.slow
def test_the_study(tmp_path, capsys):
    """Rewards of 1 whatever is done: every estimate ends near the return of every policy."""
    flags = ["--algorithms", "td3", "bc", "dqn", "--probes", "constant", "--data", "--steps", "2000", "--points", "2"]
    flags += ["--hidden", "16", "--discount", "0.5", "--out", str(tmp_path)]
    assert main(["studies", "overestimation", *flags]) == 0
    out = capsys.readouterr().out
    assert "unconstrained: td3" in out
    with (tmp_path / "overestimation.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {(r["problem"], r["method"]) for r in rows} == {("constant", "td3")}  # bc has no values, dqn other actions
    assert [int(r["step"]) for r in rows] == [0, 1000, 2000]
    for row in rows:
        assert float(row["true return"]) == pytest.approx(2, abs=0.02)  # 1 / (1 - .5), but for what is cut off
        over = float(row["estimate"]) - float(row["true return"])
        assert float(row["overestimate"]) == pytest.approx(over, abs=1e-9)
        assert float(row["low"]) <= over <= float(row["high"])
    assert abs(float(rows[0]["overestimate"])) > 1 > 4 * abs(float(rows[-1]["overestimate"]))
    pytest.importorskip("matplotlib")
    assert (tmp_path / "overestimation.png").stat().st_size > 5000


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"probes": ("trapp",)}, "did you mean 'trap'"),
        ({"algorithms": ("td4",)}, "did you mean 'td3'"),
        (
            {"algorithms": ("bc",), "probes": ("constant",), "data": (), "steps": 4, "points": 2},
            "none of bc learns action values",
        ),
        ({"probes": (), "data": ()}, "probes and data are empty"),
        ({"seeds": 0, "points": 0}, "seeds is 0, expected at least 1; points is 0"),
        ({"steps": 3}, "steps is 3, expected at least 8"),
        ({"discount": 1.0}, "discount is 1.0"),
    ],
)
def test_mistakes_are_reported(wrong, message):
    with pytest.raises(UserError, match=message):
        overestimation.overestimation(overestimation.Args(**wrong))


def test_a_diverged_method_is_written_too(tmp_path):
    start = overestimation.Point(0, 1.0, 2.0, -1.0, -1.0)
    end = overestimation.Point(5, np.inf, np.nan, np.inf, np.inf)
    found = {("trap", "td3"): [start, end], ("trap", "bcq"): [start, start._replace(step=5)]}
    result = overestimation.result_of(overestimation.Args(), found, {"trap": 2.0, "pendulum": None})
    for note in result.notes[-2:]:
        assert "for 1 of 1 unconstrained methods (td3), 0 of 1 others." in note
    for path in studies.write(result, tmp_path):
        assert path.stat().st_size > 0
    last = json.loads((tmp_path / "overestimation.json").read_text())["rows"][1]
    assert (last["method"], last["step"], last["estimate"], last["true return"]) == ("td3", 5, None, None)


def test_all_methods_are_those_that_learn_from_data_alone():
    """Methods that collect, methods for other actions, and tables for too many states are left out."""
    args = overestimation.Args(probes=("runaway_discrete",), paper=True)
    (finite,) = overestimation.tasks(dataclasses.replace(args, data=()))
    assert {"tabular_bcq", "dqn", "iql"} <= set(overestimation.methods(args, finite))
    (pendulum,) = overestimation.tasks(dataclasses.replace(args, probes=()))
    names = overestimation.methods(args, pendulum)
    assert {"aca", "bcq", "iql", "sac"} <= set(names)
    assert not {"tabular_bcq", "dqn", "rlpd"} & set(names)


@pytest.fixture
def staged(monkeypatch):
    """Cloning as a first stage, the run, and a stage after it; and cloning that collects."""
    first, after = Phase("first", steps=3), Phase("after", steps=50)
    after = after._replace(update=lambda *given: pytest.fail("the stage after the run was trained"))
    made = {"staged": (first, Phase(), after), "collecting": (Phase(collect=Collect()),)}
    real = registry.get
    monkeypatch.setattr(registry, "get", lambda name: bc.algorithm._replace(phases=lambda cfg: made[name])
                        if name in made else real(name))  # fmt: skip


def of_run(name: str, steps: int) -> Settings:
    values = config.to_dict(bc.BC(hidden=(8,), batch_size=8))
    return Settings(name, "constant", steps, values, Treatment()._asdict(), evaluate=False, in_memory=True)


@pytest.mark.slow
def test_a_course_shows_the_phase_that_takes_the_steps(staged):
    """After the stage before it, without the one behind, and where it is shown changes nothing."""
    data, shown = Dataset.from_arrays(**collect(get("constant"), 20), action_bounds=(-1.0, 1.0)), {}
    for every in (2, 5):
        for moment in train_in_memory(of_run("staged", 5), data, every):
            shown[every, moment.step] = jax.tree.map(np.asarray, moment.state)
    assert list(shown) == [(2, 0), (2, 2), (2, 4), (2, 5), (5, 0), (5, 5)]
    updates = {key: {int(x[0]) for x in jax.tree.leaves(state) if x.dtype.kind == "i"} for key, state in shown.items()}
    assert [updates[2, step] for step in (0, 2, 4, 5)] == [{3}, {5}, {7}, {8}]  # as Adam counts
    for a, b in zip(*(jax.tree.leaves(shown[every, 5]) for every in (2, 5)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_course_does_not_collect(staged):
    data = Dataset.from_arrays(**collect(get("constant"), 20), action_bounds=(-1.0, 1.0))
    with pytest.raises(UserError, match="collecting collects during training"):
        next(train_in_memory(of_run("collecting", 5), data, 2))


@pytest.mark.slow
def test_a_learner_goes_on_where_it_was():
    """The helper of these tests: two stretches are one."""
    data = Dataset.from_arrays(**collect(get("limit"), 20), action_bounds=(-1.0, 1.0))
    parts, whole = Learned("bc", data, 3), Learned("bc", data, 7)
    parts.more(4)
    for a, b in zip(jax.tree.leaves(parts.state), jax.tree.leaves(whole.state), strict=True):
        np.testing.assert_array_equal(a, b)
