"""Videos of one episode."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from holdfast.core.errors import UserError
from holdfast.core.spec import Spec
from holdfast.evaluation.evaluate import evaluate
from support.policies import FAKE, continuous, make


def test_a_video_needs_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    from holdfast.evaluation.video import record

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'holdfast-rl\[video\]'"):
        record(make(), tmp_path / "v.mp4", "Pendulum-v1")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: True)
    with pytest.raises(UserError, match=r"ends in .mp4"):
        record(make(), tmp_path / "v.gif", "Pendulum-v1")


@pytest.mark.slow
def test_a_video_of_one_episode(tmp_path: Path) -> None:
    pytest.importorskip("imageio_ffmpeg")
    from holdfast.evaluation.video import record

    policy = make(FAKE, Spec((3,), 1), continuous(low=(-2,), high=(2,)))
    value, steps = record(policy, tmp_path / "deep" / "v.mp4", "Pendulum-v1", seed=4)
    assert steps == 200
    np.testing.assert_allclose(value, evaluate(policy, "Pendulum-v1", 1, seed=4).returns[0, 0], rtol=1e-4)
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["v.mp4"]
    assert (tmp_path / "deep" / "v.mp4").stat().st_size > 1000
