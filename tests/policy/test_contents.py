"""What a saved policy holds, and the shapes of the state that it becomes again."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from holdfast.core.config import as_arrays
from holdfast.core.contract import Context, Phase
from holdfast.core.errors import UserError
from holdfast.core.noise import Noise
from holdfast.core.spec import Spec
from holdfast.policy.contents import contents_of
from holdfast.policy.policy import Policy
from support.policies import FAKE, Settings, State, continuous, init, make

OBS = np.random.default_rng(0).normal(size=(5, 3))


def test_only_what_acting_reads_is_shipped(tmp_path: Path) -> None:
    policy = make()
    assert sum(policy.layout.live) == 2
    policy.save(tmp_path)
    names = list(contents_of(policy)[1]["state"])
    assert names == ["actor.net.bias", "actor.net.weight"]
    read = Policy.load(tmp_path, FAKE)
    assert not np.asarray(read.state.critic.net).any()
    assert read.state.critic.net.shape == (8, 3)
    size = (tmp_path / "policy.safetensors").stat().st_size
    assert size < 8 * 3 * 4 * 3 + 3000


def test_states_whose_type_changes_with_the_phase(tmp_path: Path) -> None:
    def enter(cfg: Settings, state: State, ctx: Context, noise: Noise) -> State:
        return dataclasses.replace(state, actor={"wide": jnp.zeros((3, 3)), "net": state.actor})

    def later(cfg: Settings, state: State, seen: Any, memory: Any, noise: Noise, mode: str) -> tuple[jax.Array, Any]:
        return jnp.tanh(seen.obs @ state.actor["wide"])[:, :2], memory

    algorithm = FAKE._replace(act=later, phases=lambda cfg: (Phase("one"), Phase("two", enter=enter)))
    state = init(as_arrays(Settings()), Context(Spec((3,), 2)), Noise(jax.random.PRNGKey(0)))
    state = enter(Settings(), state, Context(Spec((3,), 2)), Noise(jax.random.PRNGKey(0)))
    policy = Policy(algorithm, Settings(), state, Spec((3,), 2), continuous(), {"phase": 1})
    assert Policy.load(policy.save(tmp_path), algorithm)(OBS).tobytes() == policy(OBS).tobytes()


def test_tensors_of_another_shape_are_all_named(tmp_path: Path) -> None:
    make().save(tmp_path)
    wider = FAKE._replace(
        init=lambda cfg, ctx, noise: init(cfg, Context(Spec((3,), 5)), noise),
    )
    with pytest.raises(
        UserError, match=r"actor.net.bias has shape \(2,\), expected \(5,\).*actor.net.weight has shape"
    ):
        Policy.load(tmp_path, wider)
