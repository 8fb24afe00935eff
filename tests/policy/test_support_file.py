"""A score of support is saved with its policy, and damaged files are refused."""

from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from holdfast.algorithms import registry
from holdfast.core.errors import UserError
from holdfast.policy.policy import Policy
from support.policies import FAKE
from support.valued import follower, gaussian_log

LOG = gaussian_log(1200)


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_registered", {"fake": FAKE})


@pytest.fixture(scope="module")
def guarded() -> Policy:
    return follower(LOG).with_support(LOG, fallback=[0.25])


def test_saved_copied_and_pickled(guarded: Policy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    obs = np.linspace(-2, 2, 9, dtype=np.float32)[:, None]
    guarded.save(tmp_path)
    monkeypatch.setattr(registry, "is_installed", lambda algorithm: True)
    for again in (Policy.load(tmp_path), copy.copy(guarded), pickle.loads(pickle.dumps(guarded))):  # noqa: S301
        np.testing.assert_array_equal(again.support(obs), guarded.support(obs))
        np.testing.assert_array_equal(again.guarded(obs).action, guarded.guarded(obs).action)
    cloned = guarded.with_support(LOG, fallback=follower(LOG, -0.5))
    cloned.save(tmp_path)
    np.testing.assert_array_equal(Policy.load(tmp_path).guarded(obs).action, cloned.guarded(obs).action)
    follower(LOG).save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["policy.json", "policy.safetensors"]


@pytest.mark.parametrize("change", ["arrays", "facts", "kind"])
def test_damaged_files_are_refused(guarded: Policy, tmp_path: Path, change: str) -> None:
    guarded.save(tmp_path)
    path = tmp_path / ("support.safetensors" if change == "arrays" else "support.json")
    data = bytearray(path.read_bytes())
    if change == "arrays":
        data[-1] ^= 1
    else:
        values = json.loads(data)
        values |= {"false_alarms": 0.5} if change == "facts" else {"facts": 3}
        data = bytearray(json.dumps(values).encode())
    path.write_bytes(data)
    with pytest.raises(UserError, match="support"):
        Policy.load(tmp_path)
