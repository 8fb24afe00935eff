"""The BipedalWalker study: its notes, and a whole study of a tiny size."""

from __future__ import annotations

import importlib.util

import pytest

from holdfast.data import load_dataset
from holdfast.studies import bcq_bipedalwalker

TINY = bcq_bipedalwalker.Size(
    expert_steps=80, expert_hidden=(8,), expert_batch=16, steps=120, updates=20, seeds=2, hidden=(8,), vae_hidden=(8,),
    evaluations=2, episodes=1,
)  # fmt: skip


def test_the_note_on_curves_names_the_folder_or_the_extra(tmp_path):
    assert str(tmp_path) in bcq_bipedalwalker.curves_note(tmp_path, True)
    assert "holdfast[tensorboard]" in bcq_bipedalwalker.curves_note(tmp_path, False)


@pytest.mark.slow
def test_the_whole_study(tmp_path, monkeypatch):
    pytest.importorskip("Box2D")
    monkeypatch.setattr(bcq_bipedalwalker, "QUICK", TINY)
    found = bcq_bipedalwalker.run(bcq_bipedalwalker.Args(runs=tmp_path))
    assert {(row[0], row[1]) for row in found.rows} == {
        (log, label) for log in ("expert", "random", "imperfect") for label in ("BCQ", "BC", "DDPG")
    }
    imperfect = load_dataset(tmp_path / "logs" / "imperfect.npz").provenance["collected"][0]
    assert (imperfect["random_actions"], imperfect["noise"]) == (0.3, 0.3)
    video = tmp_path / "bcq-expert.mp4"
    if importlib.util.find_spec("imageio_ffmpeg"):
        assert found.notes[-1] == f"BCQ on the expert's log, one episode: {video}."
        assert video.stat().st_size > 0
    else:
        assert found.notes[-1].startswith("No video: ")
        assert "holdfast[video]" in found.notes[-1]
        assert not video.exists()
    assert list(tmp_path.rglob("events.out.tfevents*"))
