"""Configs: traced floats, JSON, checks of settings."""

from __future__ import annotations

import dataclasses
import json
import math

import jax
import jax.numpy as jnp
import pytest

from holdfast.core import config as configs
from holdfast.core.config import config, faults, from_dict, static, to_dict, traced_fields
from holdfast.core.errors import UserError

pytestmark = pytest.mark.usefixtures("x64")


@config
class Example:
    rate: float = 0.1
    share: float = static(default=0.5)
    depth: int = 2
    name: str = "x"
    wide: tuple[int, ...] = (8, 8)
    on: bool = False


def test_floats_are_traced_and_the_rest_is_structure():
    cfg = Example()
    assert traced_fields(cfg) == traced_fields(Example) == ["rate"]
    assert jax.tree.leaves(cfg) == [0.1]
    assert jax.tree.structure(cfg) == jax.tree.structure(Example(rate=9.0))
    for name, value in (("share", 0.6), ("depth", 3), ("name", "y"), ("wide", (8,)), ("on", True)):
        assert jax.tree.structure(cfg) != jax.tree.structure(dataclasses.replace(cfg, **{name: value})), name
    with pytest.raises(dataclasses.FrozenInstanceError):
        cfg.rate = 1.0


def test_changing_a_float_compiles_nothing():
    traces = []

    @jax.jit
    def f(cfg, x):
        traces.append(cfg.depth)
        return x * cfg.rate * cfg.share * cfg.depth

    x = jnp.asarray(1.0)
    for rate in (0.1, 0.2, 3):
        assert float(f(configs.as_arrays(Example(rate=rate)), x)) == pytest.approx(rate)
    assert traces == [2]
    f(configs.as_arrays(Example(depth=4)), x)
    assert traces == [2, 4]
    assert configs.as_arrays(Example()).rate.dtype == jnp.float64
    with jax.enable_x64(False):
        assert configs.as_arrays(Example()).rate.dtype == jnp.float32


def test_a_config_survives_json():
    cfg = Example(rate=0.3, wide=(4,), on=True)
    assert from_dict(Example, json.loads(json.dumps(to_dict(cfg)))) == cfg
    assert from_dict(Example, {"rate": 1}).rate == 1.0
    assert from_dict(Example, {}) == Example()


@pytest.mark.parametrize(
    ("values", "wrong"),
    [
        ({"rat": 1}, "unknown Example setting 'rat'; did you mean 'rate'"),
        ({"rate": "high"}, "Example.rate is 'high', expected float"),
        ({"rate": True}, "Example.rate is True, expected float"),
        ({"depth": 2.5}, "Example.depth is 2.5, expected int"),
        ({"depth": True}, "Example.depth is True, expected int"),
        ({"name": 3}, "Example.name is 3, expected str"),
        ({"on": 1}, "Example.on is 1, expected bool"),
        ({"wide": 8}, "Example.wide is 8, expected tuple"),
        ({"wide": ["a"]}, "Example.wide is "),
        ({"wide": [8.5]}, "Example.wide is "),
    ],
)
def test_wrong_settings_are_refused(values, wrong):
    with pytest.raises(UserError) as caught:
        from_dict(Example, values)
    assert wrong in str(caught.value)


@config
class Ruled:
    actor_lr: float = 1e-3
    tau: float = 0.5
    kind: str = "a"
    hidden: tuple[int, ...] = (8,)
    batch_size: int = 4


def test_all_faults_of_a_config_are_reported_at_once():
    rules = {"tau": "in (0, 1)", "kind": "a|b"}
    assert faults(Ruled(), **rules) == []
    found = faults(Ruled(-1.0, 1.0, "c", (8, 0), 0), **rules)
    assert [f.split()[0] for f in found] == ["actor_lr", "tau", "kind", "hidden", "batch_size"]
    assert found[1] == "tau is 1.0, expected in (0, 1)"
    assert found[2] == "kind is 'c', expected one of a, b"
    assert faults(Ruled(actor_lr=math.nan)) != []


@pytest.mark.parametrize(
    ("rule", "good", "bad"),
    [
        ("positive", [1e-9, 5.0], [0.0, -1.0]),
        ("at least 0", [0.0, 5.0], [-1e-9]),
        ("in (0, 1)", [0.5], [0.0, 1.0]),
        ("in [0, 1]", [0.0, 1.0], [-0.1, 1.1]),
        ("in (0, 1]", [0.1, 1.0], [0.0, 1.1]),
        ("in [0, 1)", [0.0, 0.9], [-0.1, 1.0]),
    ],
)
def test_rules(rule, good, bad):
    for value in good:
        assert faults(Ruled(tau=value), tau=rule) == []
    for value in [*bad, math.nan]:
        assert len(faults(Ruled(tau=value), tau=rule)) == 1
