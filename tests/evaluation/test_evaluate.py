"""`evaluate` and its command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from holdfast.core.errors import UserError
from holdfast.core.spec import Spec
from holdfast.evaluation.evaluate import Evaluator, environment_of, evaluate
from holdfast.policy.policy import Policy
from support.policies import FAKE, continuous, make


def test_evaluate_one_and_several() -> None:
    fitted = continuous(low=(-2,), high=(2,))
    policies = [make(FAKE, Spec((3,), 1), fitted, seed=s, env_id="Pendulum-v1", step=1) for s in range(2)]
    alone, both = evaluate(policies[1], episodes=3), evaluate(policies, episodes=3)
    assert alone.returns.shape == (1, 3)
    np.testing.assert_allclose(both.returns[1], alone.returns[0], rtol=1e-3)
    assert (both.lengths == 200).all()
    assert both.reference is not None
    low, high = both.reference
    np.testing.assert_allclose(both.score, 100 * (both.returns.mean() - low) / (high - low))
    json.dumps(both.to_dict(), allow_nan=False)
    # not alike: one after another, in the same episodes
    policies[0].fitted = continuous(low=(-1,), high=(1,))
    apart = evaluate(policies, episodes=3)
    assert apart.returns.shape == (2, 3)
    assert apart.seeds.tolist() == alone.seeds.tolist() * 2
    np.testing.assert_array_equal(apart.returns[1], alone.returns[0])


def test_the_environment_has_to_be_known() -> None:
    with pytest.raises(UserError, match="give one with --env"):
        evaluate(make())
    assert environment_of({"env_spec": '{"id": "A-v0"}', "env_id": "B-v0"}) == '{"id": "A-v0"}'
    with pytest.raises(UserError, match="0 episodes"):
        Evaluator("Pendulum-v1", 1, 0)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    from holdfast.algorithms import registry
    from holdfast.cli.evaluate import main, show
    from holdfast.policy.folder import policies_in

    monkeypatch.setattr(registry, "get", lambda name: FAKE)
    fitted = continuous(low=(-2,), high=(2,))
    for r in (0, 2, 10):
        make(FAKE, Spec((3,), 1), fitted, seed=r, env_id="Pendulum-v1").save(tmp_path / "policy" / f"seed{r}")
    assert [p.name for p in policies_in(tmp_path)] == ["seed0", "seed2", "seed10"]
    assert policies_in(tmp_path / "policy") == policies_in(tmp_path)
    assert main([str(tmp_path), "--episodes", "2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert np.shape(found["returns"]) == (3, 2)
    monkeypatch.setenv("COLUMNS", "120")
    assert main([str(tmp_path / "policy" / "seed2"), "--episodes", "2"]) == 0
    table = capsys.readouterr().out
    assert f"{np.mean(found['returns'][1]):.1f}" in table
    assert "seed2" in table
    assert main([str(tmp_path), "--episodes", "2"]) == 0
    three = capsys.readouterr().out
    assert " all " in three
    assert "IQM" not in three  # of three policies it would be the mean
    show(["x-1", "x-2"], evaluate([Policy.load(f) for f in policies_in(tmp_path)[:2]], episodes=1), together=False)
    assert " all " not in capsys.readouterr().out
    with pytest.raises(UserError, match="does not exist"):
        main([str(tmp_path / "none")])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no policy in"):
        main([str(tmp_path / "empty")])
    with pytest.raises(UserError, match="does not match the policy"):
        main([str(tmp_path), "--env", "CartPole-v1"])
    with pytest.raises(UserError, match="--mode is 'worst', expected one of best, sample"):
        main([str(tmp_path), "--mode", "worst"])
