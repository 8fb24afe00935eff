"""`holdfast.ope` from a log to a verdict: bandits, tables, policies, refusals and bad input."""

import dataclasses
import json

import numpy as np
import pytest
from gymnasium.spaces import Discrete

import holdfast
from holdfast.algorithms import registry
from holdfast.cli import main
from holdfast.core.errors import UserError
from holdfast.data.convert import convert
from holdfast.data.dataset import Dataset
from holdfast.evaluation.ope import behaviour, linear
from holdfast.evaluation.ope.linear import features_of, implied_weights, solve, sums_of
from holdfast.evaluation.ope.target import target_of
from holdfast.policy.policy import Policy
from support import policies
from support.valued import follower, gaussian_log

MU = np.array([0.6, 0.3, 0.1])
PAY = np.array([0.1, 0.2, 0.4])


def bandit(n: int = 2000, seed: int = 0, logged: bool = True) -> Dataset:
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, 2, n)
    action = rng.choice(3, n, p=MU)
    reward = (rng.random(n) < PAY[action] + 0.3 * kind).astype(float)
    obs = kind[:, None].astype(np.float32)
    columns = {"behaviour_log_prob": np.log(MU[action])} if logged else {}
    ends = np.ones(n, bool)
    return Dataset.from_arrays(
        obs, action, reward, ends, next_observations=obs, columns=columns, action_space=Discrete(3)
    )


def uniform(obs: np.ndarray) -> np.ndarray:
    return np.full((len(obs), 3), 1 / 3)


TRUE = PAY.mean() + 0.15


def test_a_bandit_with_logged_propensities():
    data = bandit()
    found = holdfast.ope(uniform, data, estimators=("all",), return_range=(0.0, 1.0), below=(0.5,))
    assert not found.refused
    assert found.refusals() == []
    rho = (1 / 3) / MU[data.actions]
    assert found["tis"].value == pytest.approx((rho * data.rewards).mean())  # inverse propensity scoring
    assert found["wis"].value == pytest.approx((rho * data.rewards).sum() / rho.sum())
    for row in found.rows:
        assert row.interval.low < TRUE < row.interval.high, row.name
    assert found.best.name == "dr"
    assert found["dr"].error < found["tis"].error
    assert found.guarantee[0] < TRUE < found.guarantee[1]
    assert found.returns["P(return < 0.5)"].value == pytest.approx(1 - found["wis"].value)
    change = found["dr"].difference
    assert change.low < TRUE - (PAY @ MU + 0.15) < change.high
    assert found.verdict.startswith("better than the log: +")
    assert repr(found).startswith("OpeResult(uniform on arrays: better than the log")
    assert "evaluable horizon" in found._repr_html_()
    json.dumps(found.to_dict(), allow_nan=False)


def test_estimated_propensities_are_calibrated():
    data = bandit(logged=False)
    found = behaviour.estimate(data, updates=200)
    np.testing.assert_allclose(np.exp(found.log_prob), MU[data.actions], atol=0.08)
    assert found.report["ece"] < 0.05
    assert found.report["rare"] == 0


def test_policies_are_compared_on_the_same_resamples():
    data = bandit()

    def last(obs):
        return np.tile([0.1, 0.2, 0.7], (len(obs), 1))

    one = holdfast.ope(last, data, estimators=("dr",))
    better = one.minus(holdfast.ope(uniform, data, estimators=("dr",)))
    assert better.low < 0.7 * 0.4 + 0.05 - PAY.mean() < better.high
    assert better.low > 0
    alone = one["dr"].interval
    assert better.high - better.low < 1.2 * (alone.high - alone.low)


def test_clusters_widen_intervals():
    data = bandit(400)
    ten = Dataset.concat([data] * 5)
    cluster = np.tile(np.arange(400), 5)
    plain = holdfast.ope(uniform, ten, estimators=("wis",))["wis"].interval
    grouped = holdfast.ope(uniform, ten, estimators=("wis",), cluster=cluster)["wis"].interval
    stored = dataclasses.replace(ten, columns={**ten.columns, "cluster": cluster})
    assert holdfast.ope(uniform, stored, estimators=("wis",))["wis"].interval == grouped
    assert 1.7 < (grouped.high - grouped.low) / (plain.high - plain.low) < 2.8  # sqrt(5) = 2.2
    logged = dataclasses.replace(ten, columns={**ten.columns, "cluster": cluster})
    assert holdfast.ope(uniform, logged, estimators=("wis",))["wis"].interval == grouped


def chain(n: int = 300, seed: int = 0) -> Dataset:
    """Three states in a row; action 1 moves on, the last state ends with reward 1; two steps in all cost 0.1 each."""
    rng = np.random.default_rng(seed)
    episodes = []
    for _ in range(n):
        s, obs, actions, rewards, ended = 0, [0], [], [], False
        while not ended and len(actions) < 6:
            a = int(rng.random() < 0.6)
            actions.append(a)
            ended = s == 2 and a == 1
            rewards.append(1.0 if ended else -0.1)
            s = min(s + a, 2)
            obs.append(s)
        steps = len(actions)
        last = np.arange(steps) == steps - 1
        episodes.append(
            {
                "observations": np.eye(3, dtype=np.float32)[obs],
                "actions": np.array(actions),
                "rewards": np.array(rewards),
                "terminations": last & ended,
                "truncations": last & (not ended),
                "behaviour_log_prob": np.log(np.where(actions, 0.6, 0.4)),
            }
        )
    return Dataset.from_episodes(episodes)


def onward(obs: np.ndarray) -> np.ndarray:
    return np.tile([0.2, 0.8], (len(obs), 1))


def chain_value(p: float, steps: int = 6) -> float:
    v = np.zeros(4)
    for _ in range(steps):
        v = np.array([p * (-0.1 + v[1]) + (1 - p) * (-0.1 + v[0]), p * (-0.1 + v[2]) + (1 - p) * (-0.1 + v[1]),
                      p * 1.0 + (1 - p) * (-0.1 + v[2]), 0.0])  # fmt: skip
    return float(v[0])


def test_a_table_of_states_with_a_horizon():
    data = chain(1000)
    found = holdfast.ope(onward, data, estimators=("all",))
    value = chain_value(0.8)
    for row in found.rows:
        assert row.value is not None, row.refused
        assert row.value == pytest.approx(value, abs=5 * row.error + 0.002), row.name
        assert row.error < 0.06, row.name
    assert found["mdr"].error <= found["pdis"].error
    assert found.model["kind"] == "linear"
    assert found.model["features"] == 6


def test_without_a_horizon_cut_episodes_get_the_value_of_the_model():
    data = chain(1000)
    found = holdfast.ope(onward, data, discount=0.9, endless=True)
    p, g = 0.8, 0.9
    last = (p - 0.1 * (1 - p)) / (1 - g * (1 - p))
    middle = (-0.1 + g * p * last) / (1 - g * (1 - p))
    first = (-0.1 + g * p * middle) / (1 - g * (1 - p))
    assert found["fqe"].value == pytest.approx(first, abs=0.02)
    assert found["dr"].value == pytest.approx(first, abs=0.03)
    assert found["sn_pdis"].warnings[-1] == "counts logged steps only"
    assert "stop before the horizon" in found.warnings[0]
    assert found["dr"].difference is None


def test_lstdq_is_linear_minimax_weight_learning():
    data = chain(100)
    target = target_of(onward, data)
    features = features_of(data, target)
    sums = sums_of(features, np.zeros(data.n_episodes, int), data.returns()).weighted(np.ones(1))
    solution = solve(sums, 0.9, None)
    value = float(sums.first @ solution.theta[0] / sums.episodes)
    weights = implied_weights(features, sums, 0.9)
    assert value == pytest.approx((weights * data.rewards).mean(), abs=1e-9)


def test_a_table_gives_the_exact_values():
    """Every state and action logged once with its expected rewards: the regressions are exact dynamic programming."""
    data = chain(1000)
    target = target_of(onward, data)
    features = features_of(data, target)
    sums = sums_of(features, np.zeros(data.n_episodes, int), data.returns(), 6).weighted(np.ones(1))
    theta = solve(sums, 1.0, 6).theta[0].reshape(3, 2)
    order = np.unique(data.observations, axis=0).argmax(1)  # numbers of states in the table
    assert (onward(np.zeros((1, 3)))[0] * theta[list(order).index(0)]).sum() == pytest.approx(
        chain_value(0.8), abs=1e-3
    )


def test_a_deterministic_policy_of_continuous_actions(monkeypatch):
    monkeypatch.setattr(linear, "WIDTH", 60)
    data = gaussian_log()
    policy = follower(data)
    found = holdfast.ope(policy, data)
    assert found["fqe"].value == pytest.approx(2, abs=0.02)
    assert {reason for _, reason in found.refusals()} == {
        "the policy is deterministic: its actions have no density; --bandwidth smooths them in short episodes"
    }
    smooth = holdfast.ope(policy, data, bandwidth=0.2)
    assert smooth["dr"].value == pytest.approx(2 - 2 * 0.2**2, abs=0.05)
    assert smooth["sn_pdis"].value == pytest.approx(2 - 2 * 0.2**2, abs=0.1)
    long = holdfast.ope(policy, gaussian_log(30, 5), bandwidth=0.2, estimators=("wis",))
    assert long["wis"].refused == ("a kernel has no use in episodes of 5 steps, at most 3 are expected",)


@pytest.mark.slow
def test_estimated_densities_have_the_unit_of_the_environment():
    data = gaussian_log(300)
    found = behaviour.estimate(data, updates=300)
    assert found.report["pit"] < 0.1
    assert np.abs(found.log_prob - data.columns["behaviour_log_prob"]).mean() < 0.3
    assert found.log_prob.mean() == pytest.approx(data.columns["behaviour_log_prob"].mean(), abs=0.1)


def test_actions_at_their_bounds_have_no_density():
    data = gaussian_log(60)
    actions = data.actions.copy()
    actions[::3] = 1.0
    edges = Dataset(**{**vars(data), "actions": actions, "columns": {}})
    with pytest.raises(UserError, match="33% of the logged actions lie at their bounds"):
        behaviour.estimate(edges)


def test_a_few_episodes_are_refused_and_not_nan():
    for n in (1, 4):
        found = holdfast.ope(uniform, bandit(n), estimators=("all",))
        assert found.refused
        assert found["wis"].refused[0].startswith(f"{n} episode")
        assert found.verdict.startswith("no estimate: ")
        json.dumps(found.to_dict(), allow_nan=False)
        with pytest.raises(UserError, match="at least 20 are needed"):
            _ = found.best
    forced = holdfast.ope(uniform, bandit(10), estimators=("wis",), force=True)["wis"]
    assert forced.value is not None
    assert forced.refused


def test_no_overlap_is_refused():
    data = bandit()
    rows = data.actions == 0
    obs = data.observations[data.observation_rows][rows]
    only = Dataset.from_arrays(
        obs, data.actions[rows], data.rewards[rows], np.ones(rows.sum(), bool),
        next_observations=obs, action_space=data.action_space,
        columns={"behaviour_log_prob": np.zeros(rows.sum())},
    )  # fmt: skip

    def other(obs):
        return np.tile([0.0, 1.0, 0.0], (len(obs), 1))

    found = holdfast.ope(other, only)
    assert found["wis"].value is None
    assert "0.0 effective episodes" in found["wis"].refused[0]


def test_bad_input_is_one_line():
    data = bandit(100)

    def refused(message, policy=uniform, log=data, **settings):
        with pytest.raises(UserError, match=message) as error:
            holdfast.ope(policy, log, **settings)
        assert "\n" not in str(error.value)

    bad = np.full(100, 0.5)
    bad[7] = 1.5
    refused(r"1 propensities, the first one 1.5 in row 7, expected in \(0, 1\]", propensity=bad)
    refused(r"propensity has shape \(3,\), expected one value a step: \(100,\)", propensity=[0.1, 0.2, 0.3])
    refused("unknown estimator 'drr'; did you mean 'dr'", estimators=("drr",))
    refused("the discount is 1.5, expected in", discount=1.5)
    refused("a value without a horizon needs a discount below 1", endless=True)
    refused("arrays has no propensities", log=bandit(100, logged=False), propensities="logged")
    refused("probabilities of shape", lambda obs: np.ones((len(obs), 2)))
    refused("are not all at least 0 with the sum 1", lambda obs: np.ones((len(obs), 3)))
    refused("has a memory, which the estimators do not follow", policies.make(policies.MEMORY), gaussian3())
    refused(r"takes observations \(3,\) and has 2 continuous actions, arrays has", policies.make(), data)
    refused("the range of returns is 0 to 0.5, but the log has", return_range=(0.0, 0.5))
    refused("all episodes are in one cluster", cluster=np.zeros(100))


def gaussian3() -> Dataset:
    rng = np.random.default_rng(0)
    return Dataset.from_arrays(
        rng.normal(size=(40, 3)).astype(np.float32), rng.uniform(-1, 1, (40, 2)).astype(np.float32), np.zeros(40),
        np.ones(40, bool), next_observations=rng.normal(size=(40, 3)).astype(np.float32), action_bounds=(-1.0, 1.0),
    )  # fmt: skip


@pytest.mark.slow
def test_the_command(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(registry, "_registered", {"fake": policies.FAKE})
    data = gaussian_log(60)
    convert(data, tmp_path / "log.npz")
    follower(data).save(tmp_path / "policy")
    argv = ["ope", str(tmp_path / "policy"), "--data", str(tmp_path / "log.npz")]
    assert main(argv) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "fqe" in out
    assert "refused: pdis, wis, sn_pdis, dr, wdr, magic: the policy is deterministic" in out
    assert main([*argv, "--estimators", "fqe", "dr", "--json"]) == 4
    found = json.loads(capsys.readouterr().out)["policies"][0]
    assert [row["name"] for row in found["estimates"]] == ["fqe", "dr"]
    assert main([*argv, "--estimators", "fq"]) == 2
    assert "did you mean 'fqe'" in capsys.readouterr().err


def trained_bandit_policy(data: Dataset, out) -> Policy:
    run = holdfast.train(
        "bc", data, steps=50, evaluate=False, out=out, progress=False, config={"hidden": (8,)}, save_every=0
    )
    return run.policy()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["neural", "quantile"])
def test_networks_in_place_of_features(kind, tmp_path):
    """Two steps with a reward of 0 or 1 each, whatever the action: the value is 0.8, the return is 0, 1 or 2."""
    rng = np.random.default_rng(0)
    episodes = []
    for _ in range(400):
        episodes.append(
            {
                "observations": rng.integers(0, 2, (3, 1)).astype(np.float32),
                "actions": rng.integers(0, 2, 2),
                "rewards": (rng.random(2) < 0.4).astype(float),
                "terminations": np.array([False, True]),
                "truncations": np.zeros(2, bool),
            }
        )
    data = Dataset.from_episodes(episodes)
    policy = trained_bandit_policy(data, tmp_path / "run")
    found = holdfast.ope(policy, data, mode="sample", model=kind, updates=2000, below=(0.5,))
    assert found["fqe"].value == pytest.approx(0.8, abs=0.1)
    assert found["dr"].value == pytest.approx(0.8, abs=0.1)
    assert found.model["kind"] == kind
    alone = holdfast.ope(policy, data, mode="sample", model=kind, updates=2000, propensities="none", below=(0.5,))
    assert bool(alone.returns) == (kind == "quantile")
    if kind == "quantile":
        assert alone.returns["P(return < 0.5)"].value == pytest.approx(0.36, abs=0.12)


@pytest.mark.slow
def test_ratios_of_visits(monkeypatch):
    """A few updates of `dice`: the estimate has its interval, and what it lacks is said."""
    monkeypatch.setattr(registry, "_registered", {"fake": policies.FAKE})
    data = gaussian_log(60)
    given = {"estimators": ("dice",), "discount": 0.5, "endless": True, "updates": 10}
    row = holdfast.ope(follower(data), data, **given, force=True)["dice"]
    assert data.rewards.min() < row.value / 2 < data.rewards.max()
    assert row.interval.low <= row.value <= row.interval.high
    assert row.method.endswith("conditional on the ratios")
    with pytest.raises(UserError, match="9 updates of the ratios: expected at least 10"):
        holdfast.ope(follower(data), data, **{**given, "updates": 9})
