"""Choosing between policies by a budget of episodes."""

import itertools
import json

import numpy as np
import pytest

import holdfast
from holdfast.algorithms import registry
from holdfast.cli import main
from holdfast.core.errors import UserError
from holdfast.evaluation.evaluate import Evaluation
from holdfast.policy.policy import Policy
from holdfast.selection import race as races
from holdfast.selection.bandit import Tally, expected_curve
from holdfast.selection.race import schedule
from support import policies
from support.valued import follower, gaussian_log

VALUES = {"a": 1.0, "b": 0.0, "c": 3.0, "d": 2.0, "e": -1.0}


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Five policies, and an environment in which their returns are known up to noise that is the same for all."""
    monkeypatch.setattr(registry, "_registered", {"fake": policies.FAKE})
    for i, name in enumerate(VALUES):
        policy = follower(gaussian_log(5), gain=float(i))
        policy.info |= {"seed": i, "env_id": "made-up"}
        policy.save(tmp_path / name)
    played = []

    def evaluate(policy, env, episodes, seed, mode, **settings):
        some = [policy] if isinstance(policy, Policy) else policy
        noise = np.random.default_rng(seed).normal(size=episodes)
        returns = np.stack([list(VALUES.values())[one.info["seed"]] + noise for one in some])
        played.append((len(some), episodes, seed))
        return Evaluation("made-up", mode, returns, np.ones((len(some), episodes), int), np.zeros_like(returns), None)

    class Single:
        """Plays one episode of one policy, whose weights say which it is."""

        def __init__(self, env, replicas, episodes, **settings):
            assert (replicas, episodes) == (1, 1)

        def __call__(self, team, seed, mode):
            index = int(sum(np.sum(leaf) for leaf in team.leaves))
            noise = np.random.default_rng(seed).normal(size=1)
            played.append((1, 1, seed))
            returns = np.array([[list(VALUES.values())[index] + noise[0]]])
            return Evaluation("made-up", mode, returns, np.ones((1, 1), int), np.zeros((1, 1)), None)

        def close(self):
            played.append("closed")

    monkeypatch.setattr(races, "evaluate", evaluate)
    monkeypatch.setattr(races, "Evaluator", Single)
    return tmp_path, played


def test_the_schedule_spends_the_budget():
    for count, budget in ((2, 7), (3, 40), (5, 200), (16, 1000)):
        rounds, fresh = schedule(count, budget)
        assert sum(left * each for left, each in rounds) + fresh == budget
        assert fresh >= budget // 5
        assert [left for left, _ in rounds][:1] == [count]
        assert all(-(-a // 2) == b for (a, _), (b, _) in itertools.pairwise(rounds))
        assert -(-rounds[-1][0] // 2) == 1
        assert min(each for _, each in rounds) >= 2
    assert schedule(4, 100) == ([(4, 10), (2, 20)], 20)
    with pytest.raises(UserError, match="a budget of 10 episodes is too small for 4 policies, expected at least 20"):
        schedule(4, 10)


def test_the_best_policy_is_left(place, capsys):
    folder, played = place
    names = [str(folder / name) for name in VALUES]
    found = holdfast.race(names, 120, progress=False)
    assert found.chosen.name == "c"
    assert [one.name for one in found.contenders][:3] == ["c", "d", "a"]
    assert sum(count * each for count, each, _ in played) == 120
    assert len({seed for *_, seed in played}) == len(played)  # each round has other episodes, and so has the check
    assert found.fresh.low < 3 < found.fresh.high
    assert len(found.chosen.returns) == sum(each for _, each, _ in played[:-1])
    assert repr(found).startswith("Race(c: mean return ")
    assert "chosen" in found._repr_html_()
    assert main(["select", *names, "--env-budget", "120", "--json"]) == 0
    out = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in out["policies"]] == [one.name for one in found.contenders]
    assert main(["select", *names, "--env-budget", "120"]) == 0
    assert "fresh episodes of made-up" in capsys.readouterr().out


def test_the_bound_is_that_of_the_formula():
    tally = Tally.empty(2, 3, 1000.0)
    returns = [[1001.0, 1003.0, 1002.0], [1000.0, 1004.0], [1010.0]]
    for i, one in enumerate(returns):
        for value in one:
            tally.add(np.array([i, i]), np.array([value, value + i]))
    # deviations 2 and 8 from the means, of six episodes of three policies
    s = np.sqrt((2 + 8) / (6 - 3))
    bounds = [np.mean(one) + s * np.sqrt(2 * np.log(6) / len(one)) for one in returns]
    np.testing.assert_allclose(tally.bounds[0], bounds, rtol=1e-12)
    np.testing.assert_allclose(tally.bounds[1], np.array(bounds) + np.arange(3), rtol=1e-12)
    assert tally.following.tolist() == [2, 2]
    equal = Tally.empty(1, 2, 0.0)
    for i in (0, 0, 1):
        equal.add(np.array([i]), np.array([5.0]))
    assert equal.bounds.tolist() == [[5.0, 5.0]]
    assert equal.following.tolist() == [1]  # the one with fewer episodes
    assert equal.leader.tolist() == [0]


def test_the_rule_does_not_depend_on_the_unit_of_returns():
    rng = np.random.default_rng(0)
    returns = [rng.normal(mean, 1, 40) for mean in (0.0, 0.5, 1.0)]
    scaled = [1e6 + 1e3 * one for one in returns]
    first = expected_curve(returns, 2, 60, repeats=20)
    np.testing.assert_allclose((expected_curve(scaled, 2, 60, repeats=20) - 1e6) / 1e3, first, atol=1e-6)


def test_simulated_races_find_the_best_policy():
    """Policies of known mean: the curve rises to the best mean, and most episodes are those of the best policy."""
    means = np.array([0.0, 2.0, 1.0, 4.0, -1.0])
    rng = np.random.default_rng(1)
    returns = [mean + rng.permutation(np.linspace(-2, 2, 101)) for mean in means]
    curve = expected_curve(returns, 2, 120, repeats=200)
    assert len(curve) == 120 - 10 + 1
    assert curve[0] < curve[-1]
    assert curve[-1] == pytest.approx(4.0, abs=0.05)
    chance = expected_curve([one - one.mean() for one in returns], 2, 30, repeats=50)
    np.testing.assert_allclose(chance, 0, atol=1e-12)  # equal policies: no choice is better


def test_ucb_spends_its_episodes_on_good_policies(place, capsys):
    folder, played = place
    names = [str(folder / name) for name in VALUES]
    found = holdfast.race(names, 150, rule="ucb", progress=False)
    assert found.chosen.name == "c"
    assert [one.name for one in found.contenders] == ["c", "d", "a", "b", "e"]
    assert found.rule == "ucb"
    assert "closed" in played
    games = [one for one in played if one != "closed"]
    assert sum(count * each for count, each, _ in games) == 150
    assert games[-1][1] == found.fresh_episodes == 30
    assert games[-1][2] not in {seed for *_, seed in games[:-1]}
    pulls = {one.name: len(one.returns) for one in found.contenders}
    assert sum(pulls.values()) == 120
    assert pulls["c"] == max(pulls.values())
    assert pulls["c"] + pulls["d"] > 80
    assert pulls["e"] >= 2
    assert found.fresh.low < 3 < found.fresh.high
    # the e-th episodes of all policies are the same: their noise cancels
    paired = [one.returns[:2] for one in found.contenders]
    np.testing.assert_allclose(paired[0] - paired[1], 1.0)
    # the curve: who leads after every episode, and the mean of all its episodes
    assert [point.episodes for point in found.curve] == list(range(10, 121))
    assert found.curve[-1].policy == "c"
    check = games[-1]
    fresh = 3 + np.random.default_rng(check[2]).normal(size=30)
    assert found.curve[-1].mean == pytest.approx(np.append(found.chosen.returns, fresh).mean())
    assert found.curve[-1].expected == pytest.approx(found.curve[-1].mean, abs=0.3)
    assert main(["select", *names, "--env-budget", "150", "--rule", "ucb", "--json"]) == 0
    out = json.loads(capsys.readouterr().out)
    assert out == json.loads(json.dumps(found.to_dict()))
    assert out["chosen"] == "c"
    assert [one["episodes"] for one in out["policies"]] == [len(one.returns) for one in found.contenders]
    assert main(["select", *names, "--env-budget", "150", "--rule", "ucb"]) == 0
    shown = capsys.readouterr().out
    assert "bound" in shown
    assert "30 fresh episodes of made-up" in shown


def test_the_curve_of_halving_has_a_point_for_each_round(place):
    folder, _ = place
    found = holdfast.race([str(folder / name) for name in VALUES], 120, progress=False)
    assert [point.episodes for point in found.curve] == [30, 60, 92]
    assert found.curve[-1].policy == "c"
    assert found.curve[-1].expected is None
    assert found.contenders[-1].note == "1 of 3 rounds"


def test_bad_input(place, capsys):
    folder, _ = place
    names = [str(folder / "a"), str(folder / "b")]
    for arguments, text in (
        ([], "name what to choose by: a log (--data LOG), or a number of episodes"),
        (["--data", "bundled/pendulum-mixed", "--env-budget", "9"], "name what to choose by"),
        (["--data", "bundled/pendulum-mixed", "--env", "Pendulum-v1"], "belong to --env-budget"),
        (["--data", "bundled/pendulum-mixed", "--rule", "ucb"], "belong to --env-budget"),
        (["--env-budget", "1"], "too small for 2 policies"),
        (
            ["--env-budget", "4", "--rule", "ucb"],
            "4 episodes is too small for 2 policies, expected at least 5",
        ),
    ):
        assert main(["select", *names, *arguments]) == 2
        assert text in capsys.readouterr().err
    with pytest.raises(UserError, match="unknown rule 'ucb1'; did you mean 'ucb'"):
        holdfast.race(names, 100, rule="ucb1")
    with pytest.raises(UserError, match="1 policies to choose from"):
        holdfast.race(names[:1], 100)


@pytest.mark.slow
def test_policies_play_in_an_environment(tmp_path):
    data = holdfast.load_dataset("bundled/pendulum-mixed").select(np.arange(10))
    runs = [
        holdfast.train("bc", data, steps=2, seed=seed, evaluate=False, out=tmp_path / str(seed), progress=False,
                       config={"hidden": (8,)}).path
        for seed in (0, 1)
    ]  # fmt: skip
    found = holdfast.race(runs, 10, env="Pendulum-v1", progress=False)
    again = holdfast.race(runs, 10, env="Pendulum-v1", progress=False)
    assert found.to_dict() == again.to_dict()
    assert found.environment == "Pendulum-v1"
    bounded = holdfast.race(runs, 10, rule="ucb", env="Pendulum-v1", progress=False)
    assert bounded.environment == "Pendulum-v1"
    assert sum(len(one.returns) for one in bounded.contenders) == 8
    assert bounded.to_dict() == holdfast.race(runs, 10, rule="ucb", env="Pendulum-v1", progress=False).to_dict()
