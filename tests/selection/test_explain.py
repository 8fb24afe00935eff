"""Explanations of decisions, and departures from a log by groups."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium.spaces import Discrete

import holdfast
from holdfast.algorithms import registry
from holdfast.cli import main
from holdfast.core.config import as_arrays
from holdfast.core.contract import Context
from holdfast.core.errors import UserError
from holdfast.core.noise import Noise
from holdfast.core.spec import Spec
from holdfast.data.convert import convert
from holdfast.data.dataset import Dataset
from holdfast.data.feed.treatment import Fitted
from holdfast.data.tables.roles import schema_of
from holdfast.evaluation.ope import linear
from holdfast.policy.policy import Policy
from holdfast.selection import departures as departing
from holdfast.selection.attribution import integrated_gradients
from support.policies import FAKE, MEMORY, discrete, make
from support.valued import follower, gaussian_log

LOG = gaussian_log(60)
ROLES = {
    "observations": {"age": "number", "ward": {"kind": "one-hot", "categories": ["a", "b"]}},
    "action": {"columns": ["dose"], "kind": "discrete", "labels": [["none", "some"]]},
    "reward": "score",
}


@pytest.fixture(autouse=True)
def small_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear, "WIDTH", 60)


def test_integrated_gradients_add_up_and_are_exact_for_a_square() -> None:
    def compute(x: jax.Array) -> jax.Array:
        return jnp.stack([x[:, 0] ** 2 + 3 * x[:, 1], x[:, 0] * x[:, 1]], 1)

    found, before, after = integrated_gradients(compute, np.array([1.0, 0.0]), np.array([3.0, 2.0]), 64)
    np.testing.assert_allclose(found, [[8, 6], [2, 4]], rtol=1e-5)  # of xy: 2 int (2 s) ds, 2 int (1 + 2 s) ds
    np.testing.assert_allclose(before, [1, 0])
    np.testing.assert_allclose(after, [15, 6])
    np.testing.assert_allclose(found.sum(1), after - before, rtol=1e-5)


def test_a_decision_of_a_continuous_policy() -> None:
    found = holdfast.explain(follower(LOG), LOG, 7, neighbours=3)
    obs = LOG.observations[LOG.observation_rows[7]]
    assert found.where == "step 1 of episode 3"
    assert float(found.action) == pytest.approx(np.tanh(0.5 * obs[0]), rel=1e-3)
    assert float(found.logged) == pytest.approx(LOG.actions[7, 0], rel=1e-3)
    (one,) = found.attributions
    mean = LOG.observation_moments[0]
    assert one.parts[0] == pytest.approx(float(np.tanh(0.5 * obs[0]) - np.tanh(0.5 * mean[0])), abs=1e-4)
    assert len(found.nearest) == 3
    near = found.nearest[0]
    assert near.episode != 3
    gaps = np.abs(LOG.observations[LOG.observation_rows, 0] - obs[0])
    gaps[LOG.episode_of == 3] = np.inf
    row = int(gaps.argmin())
    assert (near.episode, near.step) == (LOG.episode_of[row], LOG.timesteps[row])
    assert near.reward == pytest.approx(LOG.rewards[row])
    assert near.return_to_go == pytest.approx(LOG.rewards[row : LOG.offsets[near.episode + 1]].sum())
    assert [choice.note for choice in found.choices] == ["chosen", "logged", "near", "near", "near"]
    assert found.notes == ("fake assigns no values to actions",)
    assert repr(found).startswith("Explanation(fake does ")
    assert "nearest logged transitions" in found._repr_html_()
    given = holdfast.explain(follower(LOG), LOG, obs=obs)
    assert given.action == found.action
    assert given.logged == ""
    json.dumps(given.to_dict())


def critic(n: int = 80) -> tuple[Policy, Dataset]:
    """A Q network on rows of a table, and a log of it."""
    schema = schema_of(ROLES, "a test")
    rng = np.random.default_rng(0)
    ward = rng.integers(2, size=n)
    obs = np.column_stack([rng.normal(size=n), ward == 0, ward == 1]).astype(np.float32)
    action = rng.integers(2, size=n)
    ends = np.ones(n, bool)
    data = Dataset.from_arrays(
        obs,
        action,
        action * (1.0 - 2 * ward),
        ends,
        next_observations=obs,
        action_space=Discrete(2),
        columns={"behaviour_log_prob": np.full(n, np.log(0.5))},
    )
    algorithm = registry.get("dqn")
    cfg = algorithm.Config(hidden=(8,))
    spec = Spec((3,), 2, discrete=True)
    state = algorithm.init(as_arrays(cfg), Context(spec), Noise(jax.random.PRNGKey(0)))
    fitted: Fitted = discrete(3, 2, 0)
    return Policy(algorithm, cfg, state, spec, fitted, {"table": schema.to_dict()}), data


def test_a_decision_of_a_discrete_policy_on_a_table() -> None:
    policy, data = critic()
    found = holdfast.explain(policy, data, obs={"age": 0.3, "ward": "b"})
    assert found.action in ("none", "some")
    assert [choice.action for choice in found.choices] == ["none", "some"]
    values = [choice.value for choice in found.choices]
    assert found.choices[int(np.argmax(values))].note == "chosen"
    assert {one.column for one in found.attributions} == {"age", "ward"}
    assert {one.value for one in found.attributions} == {"0.3", "b"}
    total = sum(one.parts[0] for one in found.attributions)
    assert total == pytest.approx(found.after[0] - found.before[0], abs=1e-3 + 0.1 * abs(total))


def test_groups_that_gain_and_lose() -> None:
    policy, data = critic(400)

    class Always(Policy):
        """Gives one action, so that the reward is 1 in ward a and -1 in ward b."""

        def act(self, obs: Any, *args: Any, **settings: Any) -> tuple[Any, Any]:
            return np.ones(len(obs), np.int64), ()

    always = Always(policy.algorithm, policy.cfg, policy.state, policy.spec, policy.fitted, policy.info)
    found = departing.departures(always, data)
    by_group = {(group.column, group.label): group for group in found.groups}
    assert by_group["ward", "a"].clear == "gains"
    assert by_group["ward", "b"].clear == "loses"
    assert by_group["ward", "a"].gain.value == pytest.approx(0.5, abs=0.15)
    assert found.whole.departs == pytest.approx((data.actions == 0).mean())
    assert {name: b for name, _, b in found.actions} == {"none": 0.0, "some": 1.0}
    assert len([group for group in found.groups if group.column == "age"]) == 4
    text = " ".join(found.sentences)
    assert "gains clearly in" in text
    assert "loses clearly in" in text
    assert "ward" in found._repr_html_()


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_registered", {"fake": FAKE})
    convert(LOG, tmp_path / "log.npz")
    follower(LOG).save(tmp_path / "policy")
    command = ["explain", str(tmp_path / "policy"), "--data", str(tmp_path / "log.npz")]
    assert main([*command, "--row", "0"]) == 0
    out = capsys.readouterr().out
    for text in ("What the decision rests on", "Nearest logged transitions", "step 0 of episode 0"):
        assert text in out
    assert main([*command, "--model", "none"]) == 0
    out = capsys.readouterr().out
    assert "It departs most where observations[0] is" in out
    assert main([*command, "--row", "120"]) == 2
    assert capsys.readouterr().err.endswith("expected a step from 0 to 119\n")


def test_bad_input() -> None:
    for settings, text in [
        ({}, "name one decision"),
        ({"row": 1, "obs": [0.0]}, "name one decision"),
        ({"row": -1}, "expected a step from 0"),
        ({"obs": np.zeros((2, 1), np.float32)}, "several observations, expected one"),
        ({"row": 0, "neighbours": 0}, "expected at least 1 each"),
    ]:
        with pytest.raises(UserError, match=text):
            holdfast.explain(follower(LOG), LOG, **settings)
    with pytest.raises(UserError, match="name a policy of these data"):
        holdfast.explain(make(), LOG, 0)
    with pytest.raises(UserError, match="expected at least 2"):
        holdfast.departures(follower(LOG), LOG, bins=1)
    memory = make(MEMORY, Spec((3,), 2))
    data = Dataset.from_arrays(np.zeros((9, 3)), np.zeros((9, 2)), np.zeros(9), np.ones(9, bool),
                               next_observations=np.zeros((9, 3)))  # fmt: skip
    with pytest.raises(UserError, match="has a memory"):
        holdfast.explain(memory, data, 0)
