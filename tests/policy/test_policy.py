"""A saved, loaded, copied or pickled policy is the same one."""

from __future__ import annotations

import copy
import errno
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from holdfast.algorithms import registry
from holdfast.core.contract import Algorithm
from holdfast.core.errors import UserError
from holdfast.core.spec import Spec
from holdfast.policy.policy import Policy
from support.policies import FAKE, PICK, Settings, continuous, discrete, make

OBS = np.random.default_rng(0).normal(size=(5, 3))


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The policy FAKE as a registered algorithm."""
    get = registry.get
    monkeypatch.setattr(registry, "get", lambda name: FAKE if name == "fake" else get(name))


def pickled(policy: Policy) -> Policy:
    return pickle.loads(pickle.dumps(policy))  # noqa: S301


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


@pytest.mark.parametrize("folder", [None, 3, "", "a\0b"])
def test_what_is_not_a_path_is_refused(folder: Any) -> None:
    with pytest.raises(UserError, match="folder of a policy"):
        Policy.load(folder, FAKE)
    with pytest.raises(UserError, match="folder of a policy"):
        make().save(folder)


def test_copies_act_alike_and_draw_by_themselves(registered: None) -> None:
    policy = make(step=5)
    policy(OBS, "sample")
    for other in (copy.copy(policy), copy.deepcopy(policy), pickled(policy)):
        np.testing.assert_array_equal(policy(OBS), other(OBS))
        assert other.info == policy.info
        assert other.info is not policy.info
    other = pickled(policy)
    np.testing.assert_array_equal(policy(OBS, "sample"), other(OBS, "sample"))
    assert not np.array_equal(policy(OBS, "sample"), policy(OBS, "sample"))


def test_policy_of_an_unknown_algorithm_is_copied_but_not_pickled() -> None:
    policy = make()
    np.testing.assert_array_equal(copy.deepcopy(policy)(OBS), policy(OBS))
    with pytest.raises(UserError, match="not registered, cannot be pickled"):
        pickle.dumps(policy)


def test_a_policy_shows_itself_in_a_line() -> None:
    policy = make(seed=0, dataset="<log>", step=5)
    assert repr(policy) == "Policy(fake: observations (3,), actions 2 continuous actions, trained on <log>, step 5)"
    assert "&lt;log&gt;" in policy._repr_html_()
    assert isinstance(policy.cfg, Settings)
