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
from holdfast.selection.race import schedule
from support import policies
from support.valued import follower, gaussian_log

VALUES = {"a": 1.0, "b": 0.0, "c": 3.0, "d": 2.0, "e": -1.0}


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Five policies, and an environment in which their returns are known up to noise that is the same for all."""
    monkeypatch.setattr(registry, "_registered", {"fake": policies.FAKE})
    for i, name in enumerate(VALUES):
        policy = follower(gaussian_log(5))
        policy.info["seed"] = i
        policy.save(tmp_path / name)
    played = []

    def evaluate(policy, env, episodes, seed, mode, **settings):
        some = [policy] if isinstance(policy, Policy) else policy
        noise = np.random.default_rng(seed).normal(size=episodes)
        returns = np.stack([list(VALUES.values())[one.info["seed"]] + noise for one in some])
        played.append((len(some), episodes, seed))
        return Evaluation("made-up", mode, returns, np.ones((len(some), episodes), int), np.zeros_like(returns), None)

    monkeypatch.setattr(races, "evaluate", evaluate)
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


def test_bad_input(place, capsys):
    folder, _ = place
    names = [str(folder / "a"), str(folder / "b")]
    for arguments, text in (
        ([], "name what to choose by: a log (--data LOG), or a number of episodes"),
        (["--data", "bundled/pendulum-mixed", "--env-budget", "9"], "name what to choose by"),
        (["--data", "bundled/pendulum-mixed", "--env", "Pendulum-v1"], "belong to --env-budget"),
        (["--env-budget", "1"], "too small for 2 policies"),
    ):
        assert main(["select", *names, *arguments]) == 2
        assert text in capsys.readouterr().err
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
