"""A data scientist brings a shop's log: the commands of a first hour, with what they must do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import holdfast
from holdfast.training.run import Run
from support.commands import play
from support.small_runs import TINY, tiny

Captured = pytest.CaptureFixture[str]


def shop(rows: int = 400) -> holdfast.Dataset:
    """A bandit log: one row an episode, four items, and observations that occur several times."""
    rng = np.random.default_rng(0)
    context = rng.integers(0, 3, rows)
    item = rng.integers(0, 4, rows)
    click = (rng.random(rows) < np.where(item == context, 0.5, 0.05)).astype(float)
    ends = np.ones(rows, bool)
    return holdfast.Dataset.from_arrays(np.eye(3)[context], item, click, ends, ~ends, id="shop")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A clone of the shop's policy."""
    out = tmp_path_factory.mktemp("shop") / "run"
    return tiny(out, data=shop(), allow=["one_step"], evaluate=False, config=TINY)


def test_a_table_of_texts_is_refused_by_its_column() -> None:
    texts = np.array([["a", "b"]], dtype=object)
    with pytest.raises(holdfast.UserError, match="observations") as caught:
        holdfast.Dataset.from_arrays(texts, [0], [0.0], [True])
    assert "\n" not in str(caught.value)
    with pytest.raises(holdfast.UserError, match="from_arrays"):
        holdfast.load_dataset(texts)  # type: ignore[arg-type]


def test_single_decisions_have_no_stray_starts() -> None:
    faults = holdfast.check(shop())
    assert [fault.kind for fault in faults if fault.level == "fatal"] in ([], ["one_step"])
    assert "stray" not in " ".join(map(str, faults))
    with pytest.raises(holdfast.UserError, match="one_step") as caught:
        holdfast.train("bc", shop(), steps=2, progress=False)
    assert "\n" not in str(caught.value)


def test_a_session_keeps_the_reward_of_its_last_row() -> None:
    last = np.arange(60) % 6 == 5
    log = holdfast.Dataset.from_arrays(
        np.random.default_rng(0).normal(size=(60, 3)), np.arange(60) % 4, last * 1.0, np.zeros(60, bool), last
    )
    assert log.rewards.sum() == 10
    assert any("--terminal-sessions" in str(fault) for fault in holdfast.check(log))


def test_the_policy_gives_probabilities(run: Run) -> None:
    policy = run.policy()
    found = policy.probabilities(np.eye(3, dtype=np.float32))
    assert found.shape == (3, 4)
    np.testing.assert_allclose(found.sum(1), 1, rtol=1e-5)
    chosen = policy.log_prob(np.eye(3, dtype=np.float32), np.array([0, 1, 2]))
    np.testing.assert_allclose(np.exp(chosen), found[[0, 1, 2], [0, 1, 2]], rtol=1e-4)


def test_the_page_says_what_is_not_known(run: Run, capsys: Captured) -> None:
    found = play(f"holdfast report {run.path}", capsys)
    assert found.status == 0, found.err
    text = (Path(run.path) / "report.html").read_text(encoding="utf-8")
    assert "was in memory" in text
    assert "--download" not in text


def test_a_missing_data_set_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    monkeypatch.chdir(tmp_path)
    found = play("holdfast data check no_such.npz", capsys)
    assert found.status == 2
    assert found.err.count("\n") == 1
    assert "no_such.npz does not exist" in found.err
