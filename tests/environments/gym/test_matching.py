"""Spaces of environments: supported kinds, and matches with a policy."""

from __future__ import annotations

from typing import Any

import pytest
from gymnasium.spaces import Box, Dict

from holdfast.core.errors import UserError
from holdfast.core.spec import Spec
from holdfast.environments.gym.adapter import make_env
from holdfast.environments.gym.matching import require_match, spec_of
from support.players import Lottery
from support.policies import continuous, discrete


@pytest.mark.parametrize(
    ("env", "spec", "fitted", "line"),
    [
        ("CartPole-v1", Spec((3,), 2), continuous(), r"observations \(4,\), but the policy takes \(3,\); 2 discrete"),
        ("CartPole-v1", Spec((4,), 3, True), discrete(4, 3, 0), "2 discrete actions, but the policy gives 3 discrete"),
        ("CartPole-v1", Spec((4,), 2, True), discrete(4, 2, 1), "actions from 0, but the policy's start at 1"),
        ("Pendulum-v1", Spec((3,), 1), continuous(low=(-3,), high=(3,)), r"actions in \[-2, 2\], but .* \[-3, 3\]"),
    ],
)
def test_spaces_that_do_not_match_are_named_on_both_sides(env: str, spec: Spec, fitted: Any, line: str) -> None:
    with pytest.raises(UserError, match=f"environment {env} does not match the policy: .*{line}"):
        require_match(make_env(env), spec, fitted)


def test_spaces_that_match_pass() -> None:
    require_match(make_env("Pendulum-v1"), Spec((3,), 1), continuous(low=(-2,), high=(2,)))
    require_match(make_env("CartPole-v1"), Spec((4,), 2, True), discrete(4, 2, 0))
    assert spec_of(make_env("Pendulum-v1")) == Spec((3,), 1, horizon=200)
    assert spec_of(make_env("CartPole-v1")) == Spec((4,), 2, discrete=True, horizon=500)


def test_unsupported_spaces_are_refused() -> None:
    env = Lottery()
    env.observation_space = Dict({"a": Box(-1, 1, (2,))})
    with pytest.raises(UserError, match="FlattenObservation"):
        spec_of(env)
    env = Lottery()
    env.action_space = Box(-1, 1, (2, 2))
    with pytest.raises(UserError, match="flatten its actions"):
        spec_of(env)
