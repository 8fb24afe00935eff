"""The score of support: its calibration, what it flags, fallbacks, files, and exported graphs."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium.spaces import Discrete

from holdfast.algorithms import registry
from holdfast.cli import main
from holdfast.core.errors import UserError
from holdfast.core.spec import Spec
from holdfast.data.dataset import Dataset
from holdfast.policy import support as supports
from holdfast.policy.export import reader
from holdfast.policy.policy import Policy
from support.marks import quick
from support.policies import FAKE, MEMORY, PICK, make
from support.valued import follower, gaussian_log

LOG = gaussian_log(1200)


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_registered", {"fake": FAKE})


def switches(n: int = 400) -> Dataset:
    """Actions 0 and 1 of three, by the sign of the observation with a few mistakes."""
    rng = np.random.default_rng(0)
    obs = rng.normal(size=(n, 3)).astype(np.float32)
    action = ((obs[:, 0] > 0) ^ (rng.random(n) < 0.1)).astype(int)
    ends = np.ones(n, bool)
    return Dataset.from_arrays(obs, action, np.zeros(n), ends, next_observations=obs, action_space=Discrete(3))


@pytest.fixture(scope="module")
def guarded() -> Policy:
    return follower(LOG).with_support(LOG, fallback=[0.25])


def test_held_out_decisions_are_flagged_at_the_declared_rate(guarded: Policy) -> None:
    model = supports.required(guarded.support_model)
    assert 0.02 < model.facts["measured_false_alarms"] < 0.09
    assert model.facts["calibration_episodes"] == 240
    fresh = np.random.default_rng(5)
    obs = fresh.uniform(-1, 1, (2000, 1)).astype(np.float32)
    action = np.clip(0.3 * fresh.normal(size=(2000, 1)), -0.999, 0.999)
    assert 0.02 < (guarded.support(obs, action) < 0.05).mean() < 0.09


def test_states_and_actions_far_from_the_log_are_flagged(guarded: Policy) -> None:
    lowest = 1 / (len(guarded.support_model.reference.calibration) + 1)
    far = guarded.support(np.array([[0.1], [3.0], [1e30]], np.float32), np.array([[0.98], [0.0], [0.0]]))
    assert far[0] < 0.03  # another action
    np.testing.assert_allclose(far[1:], lowest, rtol=1e-5)  # another state, and beyond float32
    assert guarded.support(np.array([0.1]), np.array([0.0])) > 0.3


def test_the_score_is_the_share_of_held_out_distances(guarded: Policy) -> None:
    model = supports.required(guarded.support_model)
    ref = model.reference
    obs = np.array([[0.3]], np.float32)
    action = np.array([[0.4]], np.float32)
    states = ((obs - ref.centre) / ref.scale - ref.states)[:, 0]
    actions = (action / ref.action_scale - ref.actions)[:, 0]
    third = np.sort(np.sqrt(states**2 + actions**2))[2]
    assert model.distances(obs, action)[0] == pytest.approx(third, rel=1e-2)
    held_out = (ref.calibration >= third).sum()
    assert guarded.support(obs, action)[0] == pytest.approx((held_out + 1) / (len(ref.calibration) + 1), abs=0.03)


def test_the_fallback_acts_where_support_is_low(guarded: Policy) -> None:
    obs = np.array([[0.1], [3.0]], np.float32)
    found = guarded.guarded(obs)
    np.testing.assert_allclose(found.action, [guarded(obs[0]), [0.25]], rtol=1e-5)
    assert found.low.tolist() == [False, True]
    alone = guarded.guarded(obs[1])
    assert alone.action.tolist() == [0.25]
    assert alone.support == found.support[1]
    cloned = guarded.with_support(LOG, fallback=follower(LOG, -0.5)).guarded(obs)
    np.testing.assert_allclose(cloned.action[1], np.tanh(-1.5), rtol=1e-5)
    near = guarded.with_support(LOG, fallback="nearest").guarded(obs)
    nearest = LOG.observations[LOG.observation_rows][:, 0].argmax()
    assert abs(near.action[1, 0]) < 1
    assert near.action[1] != LOG.actions[nearest] or near.low[1]


def test_actions_that_the_log_lacks_are_flagged() -> None:
    data = switches()
    policy = make(PICK, Spec((3,), 3, discrete=True)).with_support(data, fallback=1)
    obs = np.array([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    scores = policy.support(obs, np.array([1, 2]))
    assert scores[0] > 0.1
    assert scores[1] < 0.02
    assert set(policy.guarded(obs * 40).action.tolist()) == {1}
    states = policy.with_support(data, rows=50).support_model.reference
    assert np.bincount(states.actions).min() >= 15  # rare actions keep their share


def test_repeated_states_are_near(guarded: Policy) -> None:
    data = switches()
    rounded = dataclasses.replace(data, observations=np.sign(data.observations))
    policy = make(PICK, Spec((3,), 3, discrete=True)).with_support(rounded)
    assert policy.support_model.facts["measured_false_alarms"] < 0.05
    assert policy.support(np.sign(data.observations[:8]), data.actions[:8]).min() > 0.05


CASES = [
    ("constant", [0.25], "onnx"),
    ("nearest", "nearest", "numpy"),
    ("none", None, "numpy"),
    ("policy", follower(LOG, -0.5), "stablehlo"),
]


@pytest.mark.parametrize(("name", "fallback", "to"), quick(CASES, "constant", "nearest"))
def test_exported_graphs_give_the_score_and_use_the_fallback(tmp_path: Path, name: str, fallback: Any, to: Any) -> None:
    if to != "numpy":
        pytest.importorskip("onnx")
    policy = follower(LOG).with_support(LOG, fallback=fallback, rows=100)
    made = policy.export(tmp_path, to)
    assert made.parity.others == 0
    assert [each["name"] for each in made.facts["outputs"]] == [
        "action",
        "support",
        *["fallback"] * (fallback is not None),
    ]
    assert made.facts["support"]["false_alarms"] == 0.05
    if to == "numpy":
        obs = np.linspace(-2, 2, 9, dtype=np.float32)[:, None]
        found = reader.load(made.path)({"observation": obs})
        wanted = policy.guarded(obs)
        np.testing.assert_allclose(found["action"], wanted.action, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(found["support"], wanted.support, atol=0.01)


@pytest.mark.slow
def test_exported_discrete_graph(tmp_path: Path) -> None:
    policy = make(PICK, Spec((3,), 3, discrete=True)).with_support(switches(), fallback="nearest")
    assert policy.export(tmp_path, "onnx").parity.others <= 1


def test_bad_input(guarded: Policy, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bare = follower(LOG)
    with pytest.raises(UserError, match="has no score of support"):
        bare.support(np.zeros(1))
    cases: list[tuple[Policy, dict[str, Any], str]] = [
        (bare, {"false_alarms": 0.0}, "expected a number between 0 and 1"),
        (bare, {"false_alarms": 1e-4}, "too few for a rate of false alarms of 0.0001: expected at least 9999"),
        (bare, {"rows": 0}, "expected 1 to"),
        (bare, {"fallback": [2.0]}, "outside the policy's action space"),
        (bare, {"fallback": "closest"}, "expected nearest, an action, or the folder of a policy"),
        (bare, {"fallback": make()}, "name a policy of the same data"),
        (make(), {}, "name a policy of these data"),
        (make(MEMORY), {"fallback": "nearest"}, "has a memory"),
        (make(PICK, Spec((3,), 3, discrete=True, masked=True)), {"fallback": 1}, "may be illegal"),
    ]
    for policy, settings, text in cases:
        with pytest.raises(UserError, match=text):
            policy.with_support(LOG, **settings)
    with pytest.raises(UserError, match="episodes are too few to split"):
        bare.with_support(LOG.select([0, 1]))
    bare.save(tmp_path)
    assert main(["support", str(tmp_path), "--data", "bundled/pendulum-mixed"]) == 2
    assert "name a policy of these data" in capsys.readouterr().err
    assert not (tmp_path / "support.json").exists()


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("polars")
    import polars

    frame = polars.DataFrame({"x": LOG.observations[LOG.observation_rows][:, 0], "a": LOG.actions[:, 0],
                              "r": LOG.rewards, "e": LOG.episode_of})  # fmt: skip
    frame.write_parquet(tmp_path / "log.parquet")
    roles = 'reward = "r"\nepisode = "e"\nlast_row = "terminal"\n[action]\ncolumns = ["a"]\nlow = -1.0\nhigh = 1.0\n'
    (tmp_path / "roles.toml").write_text(f'{roles}[observations]\nx = "number"\n')
    follower(LOG).save(tmp_path / "policy")
    command = ["support", str(tmp_path / "policy"), "--data", str(tmp_path / "log.parquet"), "--columns",
               str(tmp_path / "roles.toml"), "--fallback", "0.5"]  # fmt: skip
    assert main(command) == 0
    text = capsys.readouterr().out
    assert "held-out decisions of the log are flagged" in text
    assert "the fallback is a constant action" in text
    assert Policy.load(tmp_path / "policy").guarded(np.array([9.0])).action.tolist() == [0.5]
    assert main([*command[:-1], "sideways"]) == 2
    assert "--fallback sideways: expected nearest" in capsys.readouterr().err
