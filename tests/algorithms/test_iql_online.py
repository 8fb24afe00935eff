"""IQL-online: its networks, and a small online run."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest

from holdfast.algorithms import iql_online
from holdfast.core.config import as_arrays
from holdfast.core.contract import Context
from holdfast.core.spec import Spec
from holdfast.training.run import train
from support.formulas import NOISE
from support.small_runs import rows

SPEC = Spec((1,), 2)
TINY = {"hidden": (8, 8), "batch_size": 8, "warmup": 20}
SETTINGS = {"env": "Pendulum-v1", "steps": 60, "block": 30, "eval_episodes": 1, "eval_every": 60}


@pytest.mark.slow
def test_iql_online_takes_either_kind_of_layers():
    for trunk, norms, activation in (("relu", 0, "relu"), ("normed", 1, "tanh elu")):
        cfg = dataclasses.replace(iql_online.IQLOnline(), trunk=trunk, hidden=(8, 8))
        first = jax.jit(lambda c=cfg: iql_online.init(as_arrays(c), Context(SPEC), NOISE))()
        for net in (first.actor.net.net, first.value.net.net, first.critic.net.nets):
            assert (len(net.norms), net.activation) == (norms, activation)
        assert first.actor.net.squash == "mean"


def test_an_unknown_kind_of_layers_is_refused():
    assert "expected one of relu, normed" in iql_online.check(iql_online.IQLOnline(trunk="wide"))[0]


@pytest.mark.slow
def test_iql_collects_by_its_own_draws(tmp_path):
    found = rows(train("iql_online", out=tmp_path / "run", config=TINY, **SETTINGS).path / "metrics.csv")
    assert all(np.isfinite(float(row["actor/weight"])) for row in found)
