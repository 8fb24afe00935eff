"""Videos of one episode."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from holdfast.core.errors import UserError
from holdfast.core.spec import Spec
from holdfast.environments.teams import require_team_env
from holdfast.evaluation.evaluate import evaluate
from holdfast.evaluation.teams import evaluate_team
from holdfast.policy.team import TeamPolicy
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


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # imageio leaves a pipe to ffmpeg open
@pytest.mark.parametrize(("env", "low"), [("jax/Spread-v0", -1.0), ("pettingzoo/mpe2.simple_spread_v3", 0.0)])
def test_a_video_of_a_team(tmp_path: Path, env: str, low: float) -> None:
    imageio = pytest.importorskip("imageio.v2")
    pytest.importorskip("imageio_ffmpeg")
    if env.startswith("pettingzoo"):
        pytest.importorskip("mpe2")
    from holdfast.evaluation.video import record

    found = require_team_env(env)
    members = {}
    for i, (name, spec) in enumerate(zip(found.names, found.specs, strict=True)):
        fitted = continuous(spec.obs_shape[0], (low,) * spec.action, (1.0,) * spec.action)
        members[name] = make(FAKE, spec, fitted, seed=i)
    team = TeamPolicy(members, {"env_spec": env, "env_id": env})
    value, steps = record(team.together, tmp_path / "v.mp4", env, seed=4)
    assert steps == 25
    np.testing.assert_allclose(value, evaluate_team(team, episodes=1, seed=4).returns[0, 0], rtol=1e-4)
    frames = imageio.mimread(tmp_path / "v.mp4")
    assert len(frames) == 26
    assert np.abs(frames[0].astype(int) - frames[-1]).max() > 100  # something has moved
