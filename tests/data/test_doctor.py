"""What the doctor finds in logs that are made to have one property each."""

import json

import numpy as np
import polars as pl

from holdfast.algorithms import registry
from holdfast.cli import main
from holdfast.data.dataset import Dataset
from holdfast.data.doctor import leaks as leaks_of
from holdfast.data.doctor.examine import examine
from holdfast.data.doctor.sample import explained
from holdfast.data.sources import load_dataset
from support.html import Outline

RNG = np.random.default_rng(0)


def log(episodes=40, steps=10, actions=None, observations=None, rewards=None, **more):
    """Episodes that walk through two dimensions, with continuous actions."""
    n = episodes * steps
    obs = RNG.normal(size=(n, 2)) if observations is None else observations
    ends = np.arange(n) % steps == steps - 1
    actions = RNG.uniform(-1, 1, (n, 1)) if actions is None else actions
    rewards = RNG.normal(size=n) if rewards is None else rewards
    return Dataset.from_arrays(obs, actions, rewards, ends, **more)


def of(dataset, topic):
    return [finding for finding in examine(dataset).findings if finding.topic == topic]


def test_actions_that_follow_from_the_state_are_narrow():
    obs = RNG.normal(size=(400, 2))
    narrow = examine(log(observations=obs, actions=np.tanh(obs[:, :1])))
    assert narrow.number("coverage", "action_width") < 0.15
    assert any("rebrac" in advice.algorithms for advice in narrow.advice)
    wide = examine(log())
    assert wide.number("coverage", "action_width") > 0.9
    assert any("edac" in advice.algorithms for advice in wide.advice)
    discrete = log(actions=RNG.integers(0, 4, 400))
    assert examine(discrete).number("coverage", "action_width") > 0.9
    assert any("discrete_cql" in advice.algorithms for advice in examine(discrete).advice)


def test_states_without_neighbours():
    apart = 40 * np.eye(40).repeat(10, axis=0)  # each episode has a dimension of its own
    far = log(observations=apart + RNG.normal(size=(400, 40)))
    assert examine(log()).number("coverage", "alone") < 0.05
    assert examine(far).number("coverage", "alone") > 0.9
    one = of(log(episodes=1, steps=50), "coverage")
    assert [f.level for f in one if "one episode" in f.text] == ["bad"]
    assert examine(log(episodes=1, steps=50)).verdict == "not fit"


def test_the_best_returns_rest_on_few_episodes():
    rewards = np.zeros(4000)
    rewards[:10] = 1
    found = [f for f in of(log(400, 10, rewards=rewards), "coverage") if "best_episodes" in f.numbers]
    assert (found[0].level, found[0].numbers["best_episodes"]) == ("warn", 1)


def test_stitching_needs_episodes_that_cross():
    place = np.tile(np.arange(10.0), 40)[:, None]
    luck = np.repeat(RNG.integers(0, 2, 40), 10) * (place[:, 0] >= 5)
    crossing = log(observations=np.hstack([place, place]), rewards=luck + RNG.normal(size=400) * 0.01)
    assert of(crossing, "stitching")[0].level == "good"
    assert of(log(), "stitching")[0].level == "note"  # luck does not last
    apart = np.repeat(np.arange(40.0), 10)[:, None] * 10 + place / 10
    assert of(log(observations=np.hstack([apart, apart])), "stitching")[0].numbers["lasting_gain"] < 0.1


def test_rewards_and_horizon():
    assert of(log(rewards=np.ones(400)), "rewards")[0].level == "bad"
    few = np.zeros(400)
    few[[5, 77]] = 1
    assert "2 steps" in of(log(rewards=few), "rewards")[0].text
    assert of(log(), "horizon")[0].numbers["cut"] == 0
    lengths = np.arange(2, 30)
    ends = np.zeros(lengths.sum(), bool)
    ends[np.cumsum(lengths) - 1] = True
    obs = RNG.normal(size=(len(ends), 2))
    parts = (obs, RNG.uniform(-1, 1, (len(ends), 1)), obs[:, 0], np.zeros(len(ends), bool), ends, np.roll(obs, -1, 0))
    assert of(Dataset.from_arrays(*parts), "horizon")[0].level == "warn"


def test_columns_that_give_something_away():
    obs = RNG.normal(size=(400, 6))
    actions = RNG.integers(0, 3, 400)
    rewards = RNG.normal(size=400)
    obs[:, 0] = actions
    obs[:, 1] = rewards
    obs[:, 2] = np.repeat(rewards.reshape(40, 10).sum(1), 10)  # the return, in each row of the episode
    obs[:, 3] = np.arange(400)
    obs[:, 4] = 7
    obs[:, 5] = 2 * obs[:, 1] + 1
    data = log(observations=obs, actions=actions, rewards=rewards)
    texts = " ".join(finding.text for finding in of(data, "leaks"))
    assert "observations[0] alone determines the logged action" in texts
    assert "observations[1] (also observations[5]) alone determines the reward" in texts
    assert "observations[2] never changes within an episode and tells its return" in texts
    assert "observations[3] numbers the rows" in texts
    columns = " ".join(finding.text for finding in of(data, "columns"))
    assert "observations[4] never changes" in columns
    assert "observations[1] and observations[5] are the same" in columns
    assert examine(data).verdict == "fit with care"
    assert [f.level for f in of(log(), "leaks")] == ["good"]


def test_chance_explains_nothing():
    assert np.mean([explained(RNG.normal(size=300), RNG.normal(size=300)) for _ in range(50)]) < 0.03
    x = RNG.normal(size=300)
    assert explained(x, (x > 0).astype(float)) > 0.9
    wrong = [leaks_of._of_actions(RNG.normal(size=300), RNG.integers(0, 10, 300), True) for _ in range(20)]
    assert np.mean(wrong) < 0.03


def bandit(p_logged, p_true):
    n = 3000
    actions = (RNG.random((n, 1)) > np.cumsum(p_true)).sum(1)
    frame = pl.DataFrame(
        {"x": RNG.normal(size=n), "a": actions, "r": RNG.normal(size=n), "p": np.asarray(p_logged)[actions]}
    )
    return load_dataset(frame, columns={"observations": ["x"], "action": "a", "reward": "r", "propensity": "p"})


def test_propensities_are_compared_with_actions():
    p = [0.5, 0.3, 0.2]
    right = of(bandit(p, p), "propensities")[0]
    assert (right.level, right.numbers["legal"]) == ("good", 3)
    wrong = of(bandit([0.3, 0.3, 0.4], p), "propensities")[0]
    assert wrong.level == "bad"
    assert "action 0 has a weighted frequency of 1.6" in wrong.text
    assert examine(bandit([0.3, 0.3, 0.4], p)).verdict == "not fit"
    assert of(log(), "propensities")[0].level == "note"


def test_advice_names_methods_that_take_the_actions():
    for data in (log(), log(actions=RNG.integers(0, 4, 400)), bandit([0.5, 0.5], [0.5, 0.5])):
        named = {name for advice in examine(data).advice for name in advice.algorithms}
        assert named
        for name in named:
            assert ("discrete" if data.discrete else "continuous") in registry.get(name).actions


def test_the_command(tmp_path, capsys):
    page = tmp_path / "doctor.html"
    assert main(["data", "doctor", "bundled/pendulum-mixed", "--html", str(page)]) == 0
    out = capsys.readouterr().out
    assert "which methods suit it" in out
    assert "bundled/pendulum-mixed: 33,576 steps in 168 episodes: fit for offline learning" in out
    text = page.read_text()
    assert "Fit for offline learning." in text
    assert "Stitching" in text
    assert Outline.of(text).fetched == []
    assert main(["data", "doctor", "bundled/pendulum-mixed", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == json.loads(json.dumps(examine(load_dataset("bundled/pendulum-mixed")).to_dict()))


def test_fatal_faults_come_first():
    data = log()
    obs = data.observations.copy()
    obs[3, 0] = np.nan
    found = examine(log(observations=obs[:400]))
    assert found.verdict == "not fit"
    assert {f.topic for f in found.findings} == {"faults"}
    assert found.advice == ()
