"""Model cards, and what pages and comparisons say without an environment."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from holdfast.algorithms import registry
from holdfast.cli import main
from holdfast.core.errors import UserError
from holdfast.evaluation.ope.departures import Departures
from holdfast.evaluation.ope.result import OpeResult
from holdfast.policy.policy import Policy
from holdfast.report.card import write_card
from holdfast.report.compare import compare
from holdfast.report.page import page
from holdfast.runs.estimates import read_evidence
from holdfast.runs.read import read_run
from support.evidence import LOG, departed, estimated, run_with
from support.made_runs import make_run
from support.policies import FAKE
from support.valued import follower


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_registered", {"fake": FAKE})


@pytest.fixture(scope="module")
def estimate() -> OpeResult:
    return estimated()


@pytest.fixture(scope="module")
def changes() -> Departures:
    return departed()


def test_estimates_and_departures_are_stored_as_they_are(
    tmp_path: Path, estimate: OpeResult, changes: Departures
) -> None:
    run = run_with(tmp_path / "run", estimate, changes)
    found = read_evidence(run)
    assert [one.p_best for one in found.estimates] == [0.7, 0.3]
    again = found.estimates[0].result
    assert again.verdict == estimate.verdict
    assert again.table() == estimate.table()
    assert again.refusals() == estimate.refusals()
    assert dict(again.facts()) == dict(estimate.facts())
    assert again.to_dict() == estimate.to_dict()
    assert found.departures_of("policy/seed-0") == changes
    assert found.departures_of("policy/seed-1") is None


def test_estimates_of_an_older_policy_do_not_count(tmp_path: Path, estimate: OpeResult) -> None:
    run = run_with(tmp_path / "run", estimate, None)
    follower(LOG).save(run / "policy" / "seed-0")
    found = read_evidence(run)
    assert [one.folder for one in found.estimates] == ["policy/seed-1"]
    assert found.notes == ("estimates.json belongs to step 30 of policy/seed-0, which is not the last policy: run "
                           "holdfast ope again",)  # fmt: skip


@pytest.mark.parametrize(
    ("entry", "value"),
    [("episodes", "many"), ("estimates", []), ("estimates", [{"name": "dr"}]), ("logged", {"value": None}),
     ("guarantee", [1.0])],
)  # fmt: skip
def test_damaged_estimates_get_one_line(tmp_path: Path, estimate: OpeResult, entry: str, value: Any) -> None:
    run = run_with(tmp_path / "run", estimate, None)
    values = json.loads((run / "estimates.json").read_text())
    values["policies"][0]["estimates"][entry] = value
    (run / "estimates.json").write_text(json.dumps(values))
    with pytest.raises(UserError, match=r"estimates\.json") as caught:
        read_evidence(run)
    assert "\n" not in str(caught.value)


def test_the_card_says_what_is_known(tmp_path: Path, estimate: OpeResult, changes: Departures) -> None:
    run = run_with(tmp_path / "run", estimate, changes)
    folder = run / "policy" / "seed-0"
    text = write_card(Policy.load(folder), tmp_path, run, folder).read_text()
    assert text.startswith("# Model card: fake on made/up-v0\n")
    headings = [line[3:] for line in text.splitlines() if line.startswith("## ")]
    assert headings == ["Policy", "Data", "Training", "Evaluation in an environment", "Estimates from logged data",
                        "Support", "Departures from the log", "Limits"]  # fmt: skip
    assert f"**{estimate.verdict[:1].upper()}{estimate.verdict[1:]}.**" in text
    assert "Not evaluated." in text
    assert "held-out decisions of the log are flagged" in text
    assert changes.sentences[0] in text
    assert "no return was measured" in text
    assert str(tmp_path) not in text
    bare = write_card(follower(LOG), tmp_path / "bare.md").read_text()
    for nothing in ("Not estimated", "No score of support", "Not examined", "not estimated from held-out logged data"):
        assert nothing in bare


def test_the_card_next_to_an_exported_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    follower(LOG).with_support(LOG, rows=50).save(tmp_path / "policy")
    assert main(["export", str(tmp_path / "policy"), "--to", "numpy", "--out", str(tmp_path / "small.npz")]) == 0
    text = (tmp_path / "small.npz.md").read_text()
    assert "| file | `small.npz` |" in text
    assert "`support` float32 [n]" in text
    assert main(["card", str(tmp_path / "policy")]) == 0
    assert "MODEL_CARD.md" in capsys.readouterr().out
    assert main(["card", str(tmp_path / "nothing")]) == 2


def test_a_page_without_an_environment(tmp_path: Path, estimate: OpeResult, changes: Departures) -> None:
    pytest.importorskip("jinja2")
    text = page(read_run(run_with(tmp_path / "run", estimate, changes)))
    assert f"By an estimate without an environment: {estimate.verdict}." in text.replace("&#43;", "+")
    assert "The choice by estimates is policy/seed-0, P(best) 0.70." in text
    assert "Departures from the log" in text
    assert "# Model card: fake" in text
    plain = page(read_run(make_run(tmp_path / "plain", evaluated=False)))
    assert "The return of these policies is not known" in plain
    assert "Without an environment" not in plain
    played = page(read_run(run_with(tmp_path / "played", estimate, None, evaluated=True)))
    assert "By an estimate" not in played
    assert "Without an environment" in played


def test_comparisons_take_estimates_of_runs_that_were_not_evaluated(tmp_path: Path, estimate: OpeResult) -> None:
    pytest.importorskip("matplotlib")
    run = run_with(tmp_path / "run", estimate, None)
    alone = compare(run)
    assert [one.label for one in alone.estimated] == ["iql seed-0 (run)", "iql seed-1 (run)"]
    rows = alone.rows()
    assert rows[0]["return"] == estimate.best.value
    assert rows[0]["average"] == f"estimate ({estimate.best.name})"
    assert sorted(path.name for path in alone.write(tmp_path / "out")) == ["comparison.csv", "comparison.html"]
    both = compare(make_run(tmp_path / "played"), run)
    assert list(both.rows()[0]) == list(rows[0])
    assert "Not evaluated: estimates" in (both.write(tmp_path / "two")[-1]).read_text()
    with pytest.raises(UserError, match=r"no evaluation yet, and no estimate \(holdfast ope\)"):
        compare(make_run(tmp_path / "c", evaluated=False), make_run(tmp_path / "d"))


def test_departures(changes: Departures) -> None:
    assert changes.whole.episodes == LOG.n_episodes
    policy = np.tanh(0.5 * LOG.observations[LOG.observation_rows])
    assert changes.whole.departs == pytest.approx(np.abs(policy - LOG.actions).mean(), abs=1e-5)
    (column,) = {group.column for group in changes.groups}
    assert column == "observations[0]"
    assert sum(group.share for group in changes.groups) == pytest.approx(1)
    assert sum(group.episodes for group in changes.groups) == LOG.n_episodes
    outer = (changes.groups[0].departs + changes.groups[-1].departs) / 2
    assert outer > changes.groups[1].departs  # the log ignores the observation
    assert changes.level == pytest.approx(1 - 0.05 / 4)
    assert changes.estimator == "fqe"
    true = 2 - 2 * np.square(policy - LOG.observations[LOG.observation_rows] / 2).mean() - LOG.returns().mean()
    assert changes.whole.gain.low < true < changes.whole.gain.high
    assert changes.whole.flagged == pytest.approx(0.03, abs=0.05)
