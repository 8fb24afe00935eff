"""Policies: what they hold, how they act on raw observations, and that a saved one is the same one."""

from __future__ import annotations

import dataclasses
import errno
import os
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from holdfast.core.config import as_arrays
from holdfast.core.contract import Algorithm, Context, Phase
from holdfast.core.errors import UserError
from holdfast.core.noise import Noise
from holdfast.core.spec import Spec
from holdfast.policy.policy import Policy
from holdfast.policy.pruning import reads
from support.policies import FAKE, MEMORY, PICK, Settings, State, continuous, discrete, init, make

OBS = np.random.default_rng(0).normal(size=(5, 3))


def test_actions_by_hand() -> None:
    policy = make()
    weight = np.asarray(policy.state.actor.net["weight"], np.float64)
    inside = np.tanh(0.3 * ((OBS - policy.fitted.obs_mean) / policy.fitted.obs_std) @ weight)
    wanted = np.array([-0.5, 5.0]) + np.array([1.5, 5.0]) * inside  # centre and half width of [-2, 1] x [0, 10]
    np.testing.assert_allclose(policy(OBS), wanted, rtol=1e-5, atol=1e-6)


def test_single_and_batched_agree() -> None:
    policy = make()
    one = policy(OBS[2])
    assert one.shape == (2,)
    assert one.dtype == np.float32
    np.testing.assert_allclose(policy(OBS)[2], one, rtol=1e-5)


def test_actions_stay_within_their_bounds() -> None:
    policy = make()
    for mode in ("best", "sample"):
        actions = policy(OBS * 1e6, mode)
        assert (actions >= policy.fitted.action_low).all()
        assert (actions <= policy.fitted.action_high).all()
        assert (actions == policy.fitted.action_low).any()
        assert (actions == policy.fitted.action_high).any()


def test_discrete_actions_begin_at_the_start_of_their_space() -> None:
    spec = Spec((3,), 4, discrete=True)
    here, there = (make(PICK, spec, discrete(3, 4, start)) for start in (0, -2))
    assert here(OBS).dtype == np.int64
    assert len(set(here(OBS).tolist())) > 1
    np.testing.assert_array_equal(here(OBS) - 2, there(OBS))
    assert there(OBS[0]).shape == ()


def test_masks_are_obeyed() -> None:
    policy = make(PICK, Spec((3,), 4, discrete=True))
    free = policy(OBS)
    mask = np.ones((5, 4), bool)
    mask[np.arange(5), free] = False
    assert (policy(OBS, mask=mask) != free).all()
    assert policy(OBS[0], mask=[False, False, True, False]) == 2
    with pytest.raises(UserError, match="no action is legal in row 0"):
        policy(OBS[0], mask=np.zeros(4, bool))
    with pytest.raises(UserError, match=r"the mask has shape \(1, 3\), expected \(1, 4\)"):
        policy(OBS[0], mask=np.ones(3, bool))
    with pytest.raises(UserError, match="learned with action masks"):
        make(PICK, Spec((3,), 4, discrete=True, masked=True))(OBS)


def test_samples() -> None:
    policy, again = make(), make()
    first, second = policy(OBS, "sample"), policy(OBS, "sample")
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(again(OBS, "sample"), first)
    np.testing.assert_array_equal(policy(OBS, "sample", seed=3), policy(OBS, "sample", seed=3))
    assert not np.array_equal(policy(OBS, "sample", seed=3), policy(OBS, "sample", seed=4))
    np.testing.assert_array_equal(policy(OBS, seed=3), policy(OBS, seed=4))


@pytest.mark.parametrize(
    ("obs", "line"),
    [
        (np.zeros(4), r"observations have shape \(4,\), expected \(3,\)"),
        (np.zeros((1, 2, 3)), "observations have shape"),
        (np.array([0, np.nan, 0]), r"observation at index \(1,\) is nan"),
        (np.array([[0, 0, 0], [0, 0, np.inf]]), r"observation at index \(1, 2\) is inf"),
        (np.array(["a", "b", "c"]), "expected numbers"),
    ],
)
def test_bad_observations(obs: np.ndarray, line: str) -> None:
    with pytest.raises(UserError, match=line):
        make()(obs)


def test_an_unknown_mode_suggests_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'sample'"):
        make()(OBS, "sampel")


def test_memory_is_handed_back_and_forth() -> None:
    policy = make(MEMORY)
    with pytest.raises(UserError, match=r"remembers: use policy\.act"):
        policy(OBS)
    actions, memory = policy.act(OBS)
    np.testing.assert_allclose(actions, np.tile([-0.5 + 1.5 * 0.1, 5.0], (5, 1)), rtol=1e-6)
    actions, memory = policy.act(OBS, memory, reward=np.full(5, 1.5))
    treated = (1.5 + 1.0) * 2.0  # shift, then scale
    np.testing.assert_allclose(actions, np.tile([-0.5 + 1.5 * 0.2, 5 + 5 * treated / 10], (5, 1)), rtol=1e-6)


def test_only_what_acting_reads_is_shipped(tmp_path: Path) -> None:
    policy = make()
    assert sum(policy.layout.live) == 2
    policy.save(tmp_path)
    names = list(policy._live())
    assert names == ["actor.net.bias", "actor.net.weight"]
    read = Policy.load(tmp_path, FAKE)
    assert not np.asarray(read.state.critic.net).any()
    assert read.state.critic.net.shape == (8, 3)
    size = (tmp_path / "policy.safetensors").stat().st_size
    assert size < 8 * 3 * 4 * 3 + 3000


def test_a_density_keeps_what_it_reads() -> None:
    with_density = FAKE._replace(dist=lambda cfg, state, seen, memory: state.critic.net.sum() + seen.obs)
    assert sum(make(with_density).layout.live) == 3


def test_liveness_looks_into_calls_and_is_careful_with_loops() -> None:
    tree = {"a": jnp.ones(2), "b": jnp.ones(2), "c": jnp.ones(2)}
    first = jax.jit(lambda t: (t["a"] * 2, t["b"] * 3))
    assert reads(lambda t: first(t)[0], tree) == [True, False, False]
    assert reads(lambda t: jax.nn.relu(t["c"]), tree) == [False, False, True]
    assert reads(lambda t: t, tree) == [True, True, True]
    assert reads(lambda t: jnp.ones(3), tree) == [False, False, False]
    loop = lambda t: jax.lax.fori_loop(0, 3, lambda i, x: (x[0] + x[1], x[1]), (t["a"], t["b"]))[1]  # noqa: E731
    assert reads(loop, tree)[1]
    branch = lambda t: jax.lax.cond(t["c"][0] > 0, lambda: t["a"], lambda: t["b"])  # noqa: E731
    assert reads(branch, tree) == [True, True, True]


@pytest.mark.parametrize("algorithm", [FAKE, PICK])
def test_a_reloaded_policy_is_the_same_bit_for_bit(tmp_path: Path, algorithm: Algorithm) -> None:
    spec = Spec((3,), 4, discrete=True) if algorithm is PICK else Spec((3,), 2, horizon=7)
    fitted = discrete(3, 4, -1) if algorithm is PICK else continuous()
    policy = make(algorithm, spec, fitted, dataset="d", step=3, env_spec='{"id": "X-v0"}')
    read = Policy.load(policy.save(tmp_path / "p"), algorithm)
    for mode in ("best", "sample"):
        for obs in (OBS, OBS[0], OBS.astype(np.float32)):
            a, b = policy(obs, mode, seed=9), read(obs, mode, seed=9)
            assert a.tobytes() == b.tobytes()
            assert a.dtype == b.dtype
    assert (read.spec, read.info, read.cfg) == (policy.spec, policy.info, policy.cfg)
    read.save(tmp_path / "q")
    for name in ("policy.json", "policy.safetensors"):
        assert (tmp_path / "p" / name).read_bytes() == (tmp_path / "q" / name).read_bytes()


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


def test_a_policy_outlives_the_state_that_it_was_made_from() -> None:
    policy = make()
    before = policy(OBS)
    state = init(as_arrays(Settings()), Context(Spec((3,), 2)), Noise(jax.random.PRNGKey(0)))
    policy = Policy(FAKE, Settings(gain=0.3), state, Spec((3,), 2), continuous())
    for leaf in jax.tree.leaves(state):
        leaf.delete()
    np.testing.assert_array_equal(policy(OBS), before)


@pytest.mark.parametrize("file", ["policy.safetensors", "policy.json"])
def test_a_flipped_byte_in_a_policy_is_found(tmp_path: Path, file: str) -> None:
    make(step=1000).save(tmp_path)
    data = (tmp_path / file).read_bytes()
    for where in range(0, len(data), 37):
        (tmp_path / file).write_bytes(data[:where] + bytes([data[where] ^ 1]) + data[where + 1 :])
        if file == "policy.json" and data[where : where + 1].isspace():
            continue
        with pytest.raises(UserError):
            Policy.load(tmp_path, FAKE)


def test_no_policy(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="none does not exist: name the folder of a run or of a policy"):
        Policy.load(tmp_path / "none", FAKE)
    with pytest.raises(UserError, match="no policy in"):
        Policy.load(tmp_path, FAKE)
    make().save(tmp_path)
    with pytest.raises(UserError, match="unknown algorithm 'fake'"):
        Policy.load(tmp_path)
    (tmp_path / "policy.safetensors").unlink()
    with pytest.raises(UserError, match=r"policy.safetensors does not exist"):
        Policy.load(tmp_path, FAKE)


def test_tensors_of_another_shape_are_all_named(tmp_path: Path) -> None:
    make().save(tmp_path)
    wider = FAKE._replace(
        init=lambda cfg, ctx, noise: init(cfg, Context(Spec((3,), 5)), noise),
    )
    with pytest.raises(
        UserError, match=r"actor.net.bias has shape \(2,\), expected \(5,\).*actor.net.weight has shape"
    ):
        Policy.load(tmp_path, wider)


@pytest.mark.parametrize("stop", ["policy.new.safetensors", "policy.json", "policy.safetensors"])
def test_an_interrupted_save_leaves_one_whole_policy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: str
) -> None:
    old, new = make(seed=1), make(seed=2)
    old.save(tmp_path)
    real = os.replace

    def die(source: Any, target: Any) -> None:
        if Path(target).name == stop:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", die)
        with pytest.raises(UserError, match="No space left on device"):
            new.save(tmp_path)
    wanted = new if stop == "policy.safetensors" else old
    np.testing.assert_array_equal(Policy.load(tmp_path, FAKE)(OBS), wanted(OBS))
    last = make(seed=3)
    with monkeypatch.context() as patch:  # a second save that fails too, before its policy.json
        patch.setattr(os, "replace", die)
        stop = "policy.json"
        with pytest.raises(UserError, match="No space left on device"):
            last.save(tmp_path)
    np.testing.assert_array_equal(Policy.load(tmp_path, FAKE)(OBS), wanted(OBS))
    last.save(tmp_path)
    np.testing.assert_array_equal(Policy.load(tmp_path, FAKE)(OBS), last(OBS))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["policy.json", "policy.safetensors"]


def test_replicas_act_as_each_alone(x64: None) -> None:
    policies = [make(seed=s) for s in range(3)]
    policies[1].cfg = dataclasses.replace(policies[1].cfg, gain=0.7)
    team = Policy.stacked(policies)
    obs = np.random.default_rng(1).normal(size=(3, 4, 3))
    actions = team.start(4)(obs, np.zeros((3, 4)), None, np.ones((3, 4), bool))
    assert actions.shape == (3, 4, 2)
    for r, policy in enumerate(policies):
        np.testing.assert_allclose(actions[r], policy(obs[r]), rtol=1e-5)
    assert not np.allclose(actions[0], policies[1](obs[0]))


def test_policies_that_differ_in_shape_do_not_act_together() -> None:
    with pytest.raises(UserError, match="take them one by one"):
        Policy.stacked([make(), make(fitted=continuous(high=(1.0, 11.0)))])


def test_equal_policies_share_one_program() -> None:
    from holdfast.policy.acting import compiled

    make(seed=1)(OBS)
    before = compiled.cache_info().misses
    make(seed=2)(OBS)
    assert compiled.cache_info().misses == before
