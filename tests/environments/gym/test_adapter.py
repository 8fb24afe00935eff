"""Making environments, and the errors of those that cannot be made."""

from __future__ import annotations

import json
from typing import Any

import gymnasium
import pytest

from holdfast.core.errors import UserError
from holdfast.environments.gym.adapter import make_env
from holdfast.environments.gym.matching import spec_of


@pytest.mark.parametrize(
    ("env", "line"),
    [
        ("Pendulun-v1", "unknown environment 'Pendulun-v1'; did you mean 'Pendulum-v1'"),
        ("Pendulum-v7", "did you mean 'Pendulum-v1'"),
        ("Hopper-v2", "use Hopper-v5"),
        ("no_such_module:X-v0", "no_such_module"),
        ("{", "not a valid EnvSpec"),
        ('{"entry_point": "os:system"}', "not a valid EnvSpec"),
        ("holdfast/chian-v0", "did you mean 'holdfast/chain-v0'"),
        ("Pendulum-v1", "cannot be made: .*wind"),
    ],
)
def test_environments_that_cannot_be_made(env: str, line: str) -> None:
    with pytest.raises(UserError, match=line) as error:
        make_env(env, **({"wind": 3} if "wind" in line else {}))
    assert "\n" not in str(error.value)


def test_a_missing_package_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*args: Any, **kwargs: Any) -> None:
        raise gymnasium.error.DependencyNotInstalled("no mujoco")

    monkeypatch.setattr(gymnasium, "make", missing)
    with pytest.raises(UserError, match=r"pip install 'holdfast-rl\[mujoco\]'"):
        make_env("Hopper-v5")
    with pytest.raises(UserError, match=r"pip install 'holdfast-rl\[box2d\]'"):
        make_env("LunarLander-v3")


def test_a_data_sets_spec_brings_its_time_limit_and_imports_nothing() -> None:
    spec = {"id": "Pendulum-v1", "entry_point": "os:abort", "kwargs": {"g": 5.0}, "max_episode_steps": 7}
    env = make_env(json.dumps(spec))
    assert spec_of(env).horizon == 7
    assert env.unwrapped.g == 5.0
    with pytest.raises(UserError, match="unknown environment"):
        make_env(json.dumps({"id": "Other-v0", "entry_point": "os:abort"}))
