"""Replicas on several devices, and the precision of products."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from holdfast.cli import main
from holdfast.core.errors import UserError
from holdfast.parts import layers
from holdfast.policy.storage import arrays_of
from holdfast.runs.checkpoints import Checkpoints
from holdfast.runs.settings import PRECISIONS, Settings
from holdfast.training import devices
from holdfast.training.devices import ALL, EACH, Hardware, hardware_of
from holdfast.training.plan.plan import plan
from holdfast.training.run import resume, train
from support.small_runs import DATA, TINY, require_same, rows, tiny

# several CPU devices exist only in a process that starts with them
PROGRAM = """
import json, sys
import jax
from holdfast.training.run import train
assert len(jax.devices()) == 4
out, settings = sys.argv[1], json.loads(sys.argv[2])
algorithm = settings.pop("algorithm")
for folder, devices in settings.pop("numbers").items():
    train(algorithm, out=f"{out}/{folder}", devices=devices, progress=False, **settings)
"""


def trained(tmp_path, numbers, **settings):
    """Runs with these numbers of devices, in folders of these names, by a process with four devices."""
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=4"
    given = json.dumps({"numbers": numbers, **settings})
    command = [sys.executable, "-c", PROGRAM, str(tmp_path), given]
    done = subprocess.run(command, env={**os.environ, "XLA_FLAGS": flags}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def forget_devices(run):
    """Remove the number of devices from the files of a run."""
    for name in ("config.json", "result.json"):
        facts = json.loads((run / name).read_text())
        (facts["config"] if "config" in facts and "device" in facts else facts)["devices"] = 1
        if "device" in facts:
            facts["device"] = facts["device"].split(" x ")[-1]
        (run / name).write_text(json.dumps(facts))


def test_one_replica_of_a_tree():
    tree = {"a": jnp.arange(12.0).reshape(3, 2, 2), "b": jnp.array([5, 6, 7])}
    for i in range(3):
        found = Hardware().one(tree, i)
        np.testing.assert_array_equal(found["a"], np.arange(12.0).reshape(3, 2, 2)[i])
        assert (found["b"].shape, int(found["b"])) == ((), 5 + i)


OFFLINE = {"data": DATA, "evaluate": False, "steps": 8, "block": 4, "save_every": 4, "seeds": 8, "config": TINY}
CASES = [
    ("iql", {}),
    ("td3_bc", {}),
    ("awr", {}),  # a refresh that writes columns
    ("iql", {"window": 4000}),
]


@pytest.mark.slow
@pytest.mark.parametrize(("algorithm", "settings"), CASES)
def test_a_device_gives_the_bits_of_a_run_of_its_replicas_alone(algorithm, settings, tmp_path):
    given = {**OFFLINE, **settings}
    first = 0 if "window" in settings else 4  # the rows of a window follow from the first seed of a run
    trained(tmp_path, {"4": 4}, algorithm=algorithm, **given)
    trained(tmp_path, {"alone": 1}, algorithm=algorithm, **{**given, "seeds": 2, "seed": first})
    files = [Path(Checkpoints(tmp_path / run / "checkpoints").read().where) for run in ("4", "alone")]
    whole, alone = (arrays_of(file.read_bytes(), str(file)) for file in files)
    assert whole.keys() == alone.keys()
    for name, value in alone.items():
        assert whole[name][first : first + 2].tobytes() == value.tobytes(), name
    expected = rows(tmp_path / "alone" / "metrics.csv")
    assert [row for row in rows(tmp_path / "4" / "metrics.csv") if int(row["seed"]) in (first, first + 1)] == expected


def test_a_run_on_four_devices_has_the_bits_of_one_and_continues_there(tmp_path):
    trained(tmp_path, {"4": 4}, algorithm="bc", **OFFLINE)
    train("bc", out=tmp_path / "1", progress=False, **OFFLINE)
    whole, moved, resumed = (tmp_path / name for name in ("1", "4", "resumed"))
    assert json.loads((moved / "config.json").read_text())["devices"] == 4
    assert json.loads((moved / "result.json").read_text())["device"].startswith("4 x ")
    shutil.copytree(moved, resumed)
    forget_devices(moved)
    require_same(moved, whole)
    (resumed / "result.json").unlink()
    (resumed / "checkpoints" / "step-000000008.json").unlink()
    with pytest.raises(UserError, match="--devices is 4, and JAX finds 1 on this machine: choose at most 1"):
        resume(resumed, progress=False)
    assert main(["train", "--resume", str(resumed), "--devices", "1"]) == 0  # from step 4 on
    assert json.loads((resumed / "config.json").read_text())["devices"] == 1
    require_same(resumed, whole)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ((9, 9), "--devices is 9, and JAX finds 8 on this machine: choose at most 8"),
        ((0, 12), "12 replicas cannot be divided equally over 8 devices: choose one of 1, 2, 3, 4, 6"),
        ((4, 6), "--devices is 4: 6 replicas cannot be divided equally over 4 devices: choose one of 1, 2, 3, 6"),
    ],
)
def test_devices_refused(given, why, monkeypatch):
    monkeypatch.setattr(jax, "local_devices", lambda: [None] * 8)
    number, replicas = given
    with pytest.raises(UserError, match=why):
        hardware_of(number, None, replicas)


def test_runs_that_collect_are_refused():
    with pytest.raises(UserError, match="--devices 2: sac collects in an environment: leave it out"):
        plan(Settings.of("sac", env="Pendulum-v1", devices=2, evaluate=False))


def lowered(program):
    """The program of a block, as the compiler gets it."""
    carry = program.shapes(None)
    run = program.hardware.jit(program.updates, (*[EACH] * 4, ALL, ALL, ALL))
    return run.lower(carry, program.nothing(), program.cfgs, program.keys, program.sources, 0, 1).as_text()


@pytest.mark.parametrize(
    ("precision", "asked"), [(None, "[DEFAULT, DEFAULT]"), ("highest", "[HIGHEST, HIGHEST]"), ("tf32", "[HIGH, HIGH]")]
)
def test_the_precision_reaches_every_product_of_a_block(precision, asked):
    found = plan(Settings.of("bc", data=DATA, config=TINY, evaluate=False, precision=precision)).programs[0]
    products = [line for line in lowered(found).splitlines() if "stablehlo.dot_general" in line]
    assert len(products) >= 6  # three for each of two layers, but one
    assert all(asked in line for line in products)


def test_bf16_reaches_every_product_of_a_block():
    text = lowered(plan(Settings.of("bc", data=DATA, config=TINY, evaluate=False, precision="bf16")).programs[0])
    products = [line for line in text.splitlines() if "stablehlo.dot_general" in line]
    assert all("xf32>" in line.split("->")[1] for line in products)  # sums are float32
    if jax.default_backend() == "cpu":
        assert text.count("e8m7") == 2 * len(products)  # both factors are rounded
    else:
        assert all("xbf16>" in line for line in products)


def test_bf16_rounds_the_factors():
    rng = np.random.default_rng(0)
    x, weight, slope = (rng.normal(size=shape).astype(np.float32) for shape in ((200, 300), (300, 256), (200, 256)))

    def both(x, weight):
        out, back = jax.vjp(layers.product, x, weight)
        return out, *back(slope)

    found = Hardware(precision="bf16").jit(both, (ALL, ALL))(x, weight)
    x, weight, slope = (np.asarray(jnp.asarray(a, jnp.bfloat16), np.float64) for a in (x, weight, slope))
    for value, wanted in zip(found, (x @ weight, slope @ weight.T, x.T @ slope), strict=True):
        assert value.dtype == np.float32
        np.testing.assert_allclose(value, wanted, rtol=1e-5, atol=1e-4)


def test_the_precision_is_part_of_a_run(tmp_path):
    run = tiny(tmp_path / "run", evaluate=False, precision="bf16")
    facts = json.loads((run.path / "config.json").read_text())
    assert facts["precision"] == "bf16"
    (run.path / "result.json").unlink()
    (run.path / "config.json").write_text(json.dumps({**facts, "precision": None}))
    with pytest.raises(UserError, match="has changed since its checkpoint was saved"):
        resume(run.path, progress=False)
    with pytest.raises(UserError, match="--precision is half, expected one of highest, tf32, bf16"):
        tiny(tmp_path / "other", precision="half")
    assert set(devices.PRECISIONS) == set(PRECISIONS)
