"""The space of a search, and the samplers that propose settings in it."""

import numpy as np
import pytest

from holdfast.algorithms import registry
from holdfast.core.errors import UserError
from holdfast.runs.presets import resolve
from holdfast.tuning import samplers, space
from holdfast.tuning.samplers import Known, propose, rungs


def domains(*texts, algorithm="iql"):
    found = registry.get(algorithm)
    cfg, _ = resolve(found, None, None, None)
    return space.domains(space.parse(texts), found, cfg)


def test_what_a_text_means():
    expectile, temperature, batch, hidden, discount = domains(
        "expectile=0.5..0.9", "inverse-temperature=log(1..10)", "batch_size=[128,256]", "hidden=[[64,64],[256]]",
        "discount=0.9..0.99:0.03",
    )  # fmt: skip
    assert (expectile.low, expectile.high, expectile.log, expectile.shared) == (0.5, 0.9, False, True)
    assert (temperature.name, temperature.log) == ("inverse_temperature", True)
    assert (batch.values, batch.shared) == ((128, 256), False)
    assert hidden.values == ([64, 64], [256])
    assert discount.grid() == (0.9, 0.93, 0.96, 0.99)
    assert not discount.shared  # returns of the data depend on it
    assert expectile.grid() == ()
    assert expectile.contains(0.7)
    assert not expectile.contains(0.95)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("expectile", "expected NAME=LOW..HIGH"),
        ("expectile=0.5-0.9", "expected NAME=LOW..HIGH"),
        ("expectile=0.9..0.5", "a lower number before a higher one"),
        ("expectile=0.5..1.5", r"expectile=0.5..1.5: expectile is 1.5, expected in \(0, 1\)"),
        ("inverse_temperature=log(0..10)", "needs numbers above 0"),
        ("batch_size=[128,128]", "a list of different values"),
        ("batch_size=[many]", "IQL.batch_size is 'many', expected int"),
        ("batch_size=16..32.5", "batch_size is a whole number"),
        ("expectile=0.5..0.9:2", "a step above 0 that fits"),
        ("hidden=1..2", "expected"),
    ],
)
def test_texts_refused(text, why):
    with pytest.raises(UserError, match=why) as fault:
        domains(text)
    assert "\n" not in str(fault.value)


def test_a_setting_of_one_algorithm():
    used = space.parse(["td3_bc.discount=0.9..0.95", "discount=[0.99,0.98]", "alpha=1..3"])
    space.require_used(used, ["iql", "td3_bc"])
    found = {}
    for name in ("iql", "td3_bc"):
        algorithm = registry.get(name)
        found[name] = {d.name: d for d in space.domains(used, algorithm, resolve(algorithm, None, None, None)[0])}
    assert found["iql"]["discount"].values == (0.99, 0.98)
    assert found["td3_bc"]["discount"].high == 0.95
    assert set(found["iql"]) == {"discount"}
    with pytest.raises(UserError, match="unknown setting of iql or td3_bc 'expectil'; did you mean 'expectile'"):
        space.require_used({"expectil": "0..1"}, ["iql", "td3_bc"])
    with pytest.raises(UserError, match="bc is not tuned"):
        space.require_used({"bc.alpha": "0..1"}, ["iql"])


@pytest.mark.parametrize("sampler", ["tpe", "random", "grid"])
def test_proposals_follow_from_seed_and_known_trials(sampler):
    where = domains("expectile=[0.5,0.6,0.7]", "batch_size=[16,32]")
    known = [Known({"expectile": 0.5, "batch_size": 16}, 1.0)]
    first = propose(sampler, where, known, 3, 7)
    assert first == propose(sampler, where, known, 3, 7)
    every = propose(sampler, where, known, 50, 7)  # the space has five more
    assert len(every) == 5
    assert known[0].values not in every
    assert all(one["expectile"] in (0.5, 0.6, 0.7) and one["batch_size"] in (16, 32) for one in every)


def test_tpe_learns_where_values_are_high():
    where = domains("expectile=0.1..0.9", "inverse_temperature=log(0.1..100)")
    rng = np.random.default_rng(0)
    known = [
        Known({"expectile": float(x), "inverse_temperature": float(10**y)}, -abs(x - 0.7) - abs(y))
        for x, y in zip(rng.uniform(0.1, 0.9, 40), rng.uniform(-1, 2, 40), strict=True)
    ]
    known.append(Known({"expectile": 0.2, "inverse_temperature": 90.0}, None))  # it diverged
    found = propose("tpe", where, known, 8, 0)
    drawn = propose("random", where, known, 8, 0)

    def distance(some):
        return np.mean([abs(v["expectile"] - 0.7) + abs(np.log10(v["inverse_temperature"])) for v in some])

    assert distance(found) < 0.6 * distance(drawn)
    assert all(float(f"{v['expectile']:.6g}") == v["expectile"] for v in found)


def test_a_grid_needs_single_values():
    with pytest.raises(UserError, match=r"--sampler grid needs single values; write expectile=\[A,B,C\]"):
        samplers.require_grid(domains("expectile=0.5..0.9"))


def test_rungs():
    assert rungs(9, 3, 900) == [(9, 100), (3, 300), (1, 900)]
    assert rungs(16, 4, 1000) == [(16, 62), (4, 250), (1, 1000)]
    assert rungs(2, 3, 100) == [(2, 100)]
    assert rungs(27, 3, 2) == [(27, 2)]  # too few steps to divide
