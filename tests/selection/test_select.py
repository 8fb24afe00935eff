"""Ranking policies by estimates from a log."""

import json

import numpy as np
import pytest

import holdfast
from holdfast.algorithms import registry
from holdfast.cli import main
from holdfast.core.errors import UserError
from holdfast.data.convert import convert
from holdfast.evaluation.ope import linear
from support import policies
from support.valued import follower, gaussian_log


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Three policies: one follows the observation, one does nothing, one does the opposite."""
    monkeypatch.setattr(registry, "_registered", {"fake": policies.FAKE})
    for name, gain in (("same", 0.5), ("none", 0.0), ("opposite", -0.5)):
        follower(gaussian_log(5), gain).save(tmp_path / name)
    return tmp_path


def test_the_best_policy_is_chosen(place, capsys, monkeypatch):
    monkeypatch.setattr(linear, "WIDTH", 60)
    data = gaussian_log(200)
    names = [str(place / name) for name in ("opposite", "none", "same")]
    found = holdfast.select(names, data)
    assert [one.name for one in found.candidates] == ["same", "none", "opposite"]
    assert found.chosen.best > 0.9
    assert sum(one.best for one in found.candidates) == pytest.approx(1)
    assert found.estimator == "fqe"
    assert found.checks == {}  # nothing was evaluated in an environment: no regret
    assert repr(found).startswith("Selection(same of 3 policies, P(best) ")
    assert "opposite" in found._repr_html_()
    convert(data, place / "log.npz")
    assert main(["select", *names, "--data", str(place / "log.npz"), "--json"]) == 0
    out = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in out["policies"]] == ["same", "none", "opposite"]


def test_what_cannot_be_ranked_is_refused(place):
    with pytest.raises(UserError, match="1 policies to choose from: name more runs"):
        holdfast.select([place / "same"], gaussian_log(60))
    with pytest.raises(UserError, match="no estimator is given for all 2 policies; wis: the policy is deterministic"):
        holdfast.select([place / "same", place / "none"], gaussian_log(60), estimator="wis")


@pytest.mark.slow
def test_true_returns_of_runs_check_the_ranking(tmp_path, monkeypatch):
    """Kept policies are candidates, each with the return of its own evaluation."""
    data = holdfast.load_dataset("bundled/pendulum-mixed").select(np.arange(25))
    holdfast.train(
        "bc", data, steps=4, eval_every=2, eval_episodes=1, keep_policies=True, out=tmp_path / "run", progress=False,
        config={"hidden": (8,)}, env="Pendulum-v1",
    )  # fmt: skip
    monkeypatch.setattr(linear, "LARGEST_SPREAD", np.inf)  # the values are of no interest here
    found = holdfast.select([tmp_path / "run"], data)
    assert {one.name for one in found.candidates} == {"run/policies/step-2", "run/policies/step-4"}
    true = {one.name: one.true for one in found.candidates}
    table = holdfast.Run.load(tmp_path / "run").evaluations
    for step in (2, 4):
        expected = table["return"][table["step"] == step].mean()
        assert true[f"run/policies/step-{step}"] == pytest.approx(expected)
    if len(set(true.values())) > 1:
        assert set(found.checks) >= {"regret@1"}
