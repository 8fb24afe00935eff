"""The study of BCQ on BipedalWalker: what it refuses, and the whole of it at a tiny size."""

from __future__ import annotations

import pytest

from holdfast.core.errors import UserError
from holdfast.data import load_dataset
from holdfast.studies import bcq_bipedalwalker


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"updates": 1, "steps": 0}, "steps is 0, expected at least 1; updates is 1"),
        ({"data": ("a", "b", "c"), "expert": "d"}, "leave one out"),
    ],
)
def test_mistakes_are_told_before_anything_is_trained(wrong, said, tmp_path):
    with pytest.raises(UserError, match=said):
        bcq_bipedalwalker.run(bcq_bipedalwalker.Args(runs=tmp_path / "runs", **wrong))
    assert not list(tmp_path.rglob("config.json"))


@pytest.mark.slow
def test_the_walker(tmp_path, monkeypatch):
    pytest.importorskip("Box2D")
    tiny = bcq_bipedalwalker.Size(80, (8,), 16, 120, 20, 2, 0, (8,), (8,), 2, 1)
    monkeypatch.setattr(bcq_bipedalwalker, "QUICK", tiny)
    found = bcq_bipedalwalker.run(bcq_bipedalwalker.Args(runs=tmp_path))
    assert {(row[0], row[1]) for row in found.rows} == {
        (log, label) for log in ("expert", "random", "imperfect") for label in ("BCQ", "BC", "DDPG")
    }
    imperfect = load_dataset(tmp_path / "logs" / "imperfect.npz").provenance["collected"][0]
    assert (imperfect["random_actions"], imperfect["noise"]) == (0.3, 0.3)
    assert any("mp4" in note or "No video" in note for note in found.notes)
    assert list(tmp_path.rglob("events.out.tfevents*"))
