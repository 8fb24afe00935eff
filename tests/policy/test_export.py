"""Exported policies: the file gives the policy's actions for any number of rows; what cannot be exported is named."""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from holdfast.algorithms import registry
from holdfast.cli import main
from holdfast.core import config
from holdfast.core.contract import Context
from holdfast.core.errors import UserError
from holdfast.core.noise import Noise
from holdfast.core.spec import Spec
from holdfast.data.feed.treatment import Fitted
from holdfast.data.tables.roles import schema_of
from holdfast.policy.export import reader, writers
from holdfast.policy.export.convert import convert
from holdfast.policy.export.graph import Graph, Port
from holdfast.policy.policy import Policy
from support.policies import FAKE, MEMORY, PICK, continuous, make

for package in ("onnx", "onnxruntime"):
    pytest.importorskip(package, reason="the extra holdfast-rl[onnx] is not installed")

OBS = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
ACTIONS = 1e-4


def onnx(path: Path) -> Callable[[dict[str, Any]], dict[str, np.ndarray]]:
    return writers.onnx_runner(path.read_bytes())


def learner(name: str, **settings: Any) -> Policy:
    """A policy of an algorithm of the registry, with random weights."""
    algorithm = registry.get(name)
    cfg = algorithm.Config(**settings)
    spec = Spec((3,), 2)
    state = algorithm.init(config.as_arrays(cfg), Context(spec), Noise(jax.random.PRNGKey(0)))
    return Policy(algorithm, cfg, state, spec, continuous(), {})


def test_raw_rows_in_and_actions_out_for_any_number_of_rows(tmp_path: Path) -> None:
    policy = make()
    made = policy.export(tmp_path)
    assert made.path == tmp_path / "policy.onnx"
    assert made.parity.rows == 1000
    assert made.parity.difference < ACTIONS
    run = onnx(made.path)
    for rows in (OBS, OBS[:1], OBS[:0]):
        np.testing.assert_allclose(run({"observation": rows})["action"], policy(rows), rtol=1e-5, atol=1e-6)


def test_the_numpy_form_needs_no_library_and_holds_no_code(tmp_path: Path) -> None:
    policy = make()
    policy.export(tmp_path / "small.npz", "numpy")
    loaded = reader.load(tmp_path / "small.npz")
    np.testing.assert_allclose(loaded({"observation": OBS})["action"], policy(OBS), rtol=1e-5, atol=1e-6)
    with np.load(tmp_path / "small.npz", allow_pickle=False) as file:
        assert all(file[name].dtype != object for name in file.files)
    tree = ast.parse((tmp_path / "policy_reader.py").read_text())
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.split(".")[0] for name in names} - sys.stdlib_module_names == {"numpy"}


def test_stablehlo_is_read_by_jax(tmp_path: Path) -> None:
    policy = make()
    path = policy.export(tmp_path, "stablehlo").path
    (action,) = jax.export.deserialize(bytearray(path.read_bytes())).call(OBS)
    np.testing.assert_allclose(action, policy(OBS), rtol=1e-5, atol=1e-6)
    assert json.loads((tmp_path / "policy.stablehlo.json").read_text())["parity"]["others"] == 0


def test_noise_is_an_input(tmp_path: Path) -> None:
    policy = make()
    facts = policy.export(tmp_path, "numpy", "sample").facts
    assert facts["noise"] == {"noise.act": "normal"}
    run = reader.load(tmp_path / "policy.npz")
    still = run({"observation": OBS, "noise.act": np.zeros((5, 2))})["action"]
    np.testing.assert_allclose(still, policy(OBS), rtol=1e-5, atol=1e-6)
    drawn = reader.noise(facts, 5, np.random.default_rng(0))
    assert (run({"observation": OBS, **drawn})["action"] != still).any()


def test_masks(tmp_path: Path) -> None:
    policy = make(PICK, Spec((3,), 4, discrete=True, masked=True))
    mask = np.random.default_rng(1).random((5, 4)) < 0.4
    mask[:, 2] = True
    found = onnx(policy.export(tmp_path).path)({"observation": OBS, "mask": mask})["action"]
    np.testing.assert_array_equal(found, policy(OBS, mask=mask))


def test_memory_is_an_input_and_an_output(tmp_path: Path) -> None:
    policy = make(MEMORY)
    assert policy.export(tmp_path).parity.rows == 2000
    run = onnx(tmp_path / "policy.onnx")
    memory: Any = None
    given = {"memory.steps": np.zeros(5, np.float32), "memory.sum": np.zeros(5, np.float32)}
    for step in range(3):
        reward = np.full(5, 0.5 * step, np.float32)
        wanted, memory = policy.act(OBS, memory, reward=reward)
        start = np.full(5, step == 0)
        found = run({"observation": OBS, "reward": reward, "start": start, **given})
        np.testing.assert_allclose(found["action"], wanted, rtol=1e-5, atol=1e-6)
        given = {name: found[f"next_{name}"] for name in given}


def best_of_five(cfg: Any, state: Any, seen: Any, memory: Any, noise: Any, mode: str) -> Any:
    """As BCQ acts: the candidate with the highest value."""
    drawn = noise.sub("vae").normal("latent", (5, seen.obs.shape[0], 2))
    actions = jnp.tanh(drawn + (seen.obs @ state.actor.net["weight"])[None])
    values = (actions * seen.obs[None, :, :2]).sum(-1)
    return jnp.take_along_axis(actions, values.argmax(0)[None, :, None], 0)[0], memory


@pytest.mark.parametrize("to", ["onnx", "numpy"])
def test_the_best_of_drawn_candidates(tmp_path: Path, to: Any) -> None:
    policy = make(FAKE._replace(act=best_of_five))
    made = policy.export(tmp_path, to)
    assert made.parity.others <= 1
    assert made.facts["noise"] == {"noise.vae.latent": "normal"}
    assert made.facts["inputs"][1]["shape"] == [5, "n", 2]


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["best", "sample"])
@pytest.mark.parametrize("name", ["bcq", "flow_bc", "qc", "sac", "crr", "plas", "diffusion_ql"])
def test_registered_algorithms(tmp_path: Path, name: str, mode: Any) -> None:
    policy = learner(name, hidden=(8,))
    assert policy.export(tmp_path, "onnx", mode).parity.others <= 1


ROLES = {
    "observations": {
        "age": {"missing": "mean", "value": 40.0},
        "ward": {"kind": "one-hot", "categories": ["a", "b", "c"], "missing": "indicator"},
        "level": {"kind": "ordinal", "categories": ["low", "high"]},
    },
    "action": {"columns": ["dose"], "kind": "discrete", "labels": [["none", "some"]]},
    "reward": "score",
}


def test_rows_of_a_table(tmp_path: Path) -> None:
    schema = schema_of(ROLES, "a test")
    spec = Spec((schema.width,), 2, discrete=True)
    fitted = Fitted(np.full(schema.width, 0.5), np.full(schema.width, 2.0), action_count=2, normalized=True)
    policy = make(PICK, spec, fitted, table=schema.to_dict())
    made = policy.export(tmp_path, "numpy")
    rows = [{"age": 31.5, "ward": "b", "level": "low"}, {"age": None, "ward": None, "level": "high"}]
    loaded = reader.load(made.path)
    found = loaded({"row": reader.numbers(loaded.facts, rows)})["action"]
    labels = loaded.facts["action"]["labels"][0]
    assert [labels[code] for code in found] == policy(rows).tolist()
    with pytest.raises(ValueError, match="the column 'level' is 'middle' in row 0, expected one of"):
        reader.numbers(loaded.facts, [{**rows[0], "level": "middle"}])
    with pytest.raises(ValueError, match="the column 'level' has no value in row 0"):
        reader.numbers(loaded.facts, [{**rows[0], "level": None}])


@pytest.mark.parametrize("to", ["onnx", "numpy"])
def test_a_file_that_does_not_agree_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, to: Any) -> None:
    honest = getattr(writers, f"{to}_bytes")

    def other(graph: Graph, facts: Any) -> bytes:
        weights = {name: x * np.float32(1.01) if x.ndim == 2 else x for name, x in graph.constants.items()}
        graph.constants = weights
        return honest(graph, facts)

    monkeypatch.setattr(writers, f"{to}_bytes", other)
    with pytest.raises(UserError, match=r"gives other actions than the policy in .* of 1000 rows: nothing is written"):
        make().export(tmp_path, to)
    assert not list(tmp_path.iterdir())


def in_loop(cfg: Any, state: Any, seen: Any, memory: Any, noise: Any, mode: str) -> Any:
    def add(i: Any, x: Any) -> Any:
        return x + noise.fold(i).normal("act", x.shape)

    return jax.lax.fori_loop(0, 3, add, seen.obs[:, :2] + state.actor.net["bias"][None]), memory


def whole_number(cfg: Any, state: Any, seen: Any, memory: Any, noise: Any, mode: str) -> Any:
    return seen.obs[:, :2] + noise.integers("pick", (seen.obs.shape[0], 2), 3), memory


def unusual(cfg: Any, state: Any, seen: Any, memory: Any, noise: Any, mode: str) -> Any:
    return jnp.sort(seen.obs, -1)[:, :2] + state.actor.net["bias"][None], memory


def fixed_rows(cfg: Any, state: Any, seen: Any, memory: Any, noise: Any, mode: str) -> Any:
    return jnp.zeros((len(seen.obs), 2)), memory


@pytest.mark.parametrize(
    ("act", "line"),
    [
        (in_loop, "draws noise in a loop, which cannot be exported"),
        (whole_number, r"draws whole numbers \('pick'\), which cannot be exported"),
        (unusual, "the operation 'sort' of this policy cannot be exported"),
        (fixed_rows, "cannot be exported with a free number of rows"),
    ],
)
def test_what_cannot_be_exported_is_named(tmp_path: Path, act: Any, line: str) -> None:
    policy = make(FAKE)
    policy.algorithm = FAKE._replace(act=act)
    with pytest.raises(UserError, match=line):
        policy.export(tmp_path)
    assert not list(tmp_path.iterdir())


def many_operations(x: jax.Array) -> tuple[jax.Array, ...]:
    """[n, 4, 4, 2] to results of the operations that networks may have."""
    weight = jnp.asarray(np.random.default_rng(2).normal(size=(3, 3, 2, 3)).astype(np.float32))
    layout = ("NHWC", "HWIO", "NHWC")
    image = jax.lax.conv_general_dilated(x, weight, (2, 2), "SAME", dimension_numbers=layout)
    flat = x.reshape(x.shape[0], -1)
    place = flat[:, :7].argmax(-1)
    rows = jnp.arange(x.shape[0])
    return (
        image,
        jnp.take_along_axis(flat, place[:, None], 1),
        flat[rows, place],
        jnp.cumsum(flat, 1)[:, ::-1],
        jnp.pad(flat, ((0, 0), (1, 2))),
        jax.lax.dynamic_slice_in_dim(flat, place[0], 3, 1),
        jnp.einsum("nij,nkj->nik", x[..., 0], x[..., 1]),
        jax.nn.gelu(flat) + jax.nn.softplus(flat) + flat**3 + jax.lax.rsqrt(1 + flat**2) + jax.nn.elu(flat),
        jnp.where(jnp.isfinite(flat).all(-1), flat.min(-1), 0.0),
        jax.lax.scan(lambda c, w: (c * w + 1, c), flat, jnp.arange(3.0))[0],
        jax.lax.rem(place, 3) + jax.lax.div(place, 2),
    )


def test_operations_of_networks() -> None:
    (n,) = jax.export.symbolic_shape("n")
    program = jax.make_jaxpr(many_operations)(jax.ShapeDtypeStruct((n, 4, 4, 2), jnp.float32))
    names = [f"y{i}" for i in range(len(program.jaxpr.outvars))]
    graph = convert(program, [Port("x", "float32", ["n", 4, 4, 2])], names)
    ports = {"inputs": [p._asdict() for p in graph.inputs], "outputs": [p._asdict() for p in graph.outputs]}
    x = np.random.default_rng(0).normal(size=(5, 4, 4, 2)).astype(np.float32)
    wanted = dict(zip(names, many_operations(jnp.asarray(x)), strict=True))
    for run in (
        writers.onnx_runner(writers.onnx_bytes(graph, {})),
        writers.numpy_runner(writers.numpy_bytes(graph, {"format": reader.FORMAT, "noise": {}, **ports})),
    ):
        found = run({"x": x})
        for name, value in wanted.items():
            np.testing.assert_allclose(found[name], value, rtol=1e-4, atol=1e-5, err_msg=name)


def test_the_reader_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    with pytest.raises(ValueError, match="holds no exported policy"):
        reader.load(tmp_path / "other.npz")
    text = json.dumps({"format": reader.FORMAT, "nodes": [["Sing", [], ["y"], {}]]})
    np.savez(tmp_path / "odd.npz", holdfast=np.frombuffer(text.encode(), np.uint8))
    with pytest.raises(ValueError, match="unknown operations: Sing"):
        reader.load(tmp_path / "odd.npz")
    make().export(tmp_path, "numpy")
    run = reader.load(tmp_path / "policy.npz")
    with pytest.raises(ValueError, match="the input 'observation' is missing"):
        run({})
    with pytest.raises(ValueError, match=r"has shape \(5, 2\), expected \(5, 3\)"):
        run({"observation": OBS[:, :2]})


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    policy = learner("bc", hidden=(8,))
    policy.save(tmp_path / "policy")
    assert main(["export", str(tmp_path), "--to", "numpy"]) == 0
    out = capsys.readouterr().out
    assert "observation float32 [n, 3] -> action float32 [n, 2]" in out
    assert "agrees with the policy in 1,000 of 1,000 random rows" in out
    assert (tmp_path / "policy" / "policy.npz").is_file()
    policy.save(tmp_path / "two" / "seed_0")
    policy.save(tmp_path / "two" / "seed_1")
    assert main(["export", str(tmp_path / "two")]) == 2
    assert "has 2 policies (seed_0, seed_1): name the folder of one" in capsys.readouterr().err


def test_formats_and_modes_are_named(tmp_path: Path) -> None:
    for wrong in ({"to": "tensorrt"}, {"mode": "explore"}):
        with pytest.raises(UserError, match=r"expected|unknown"):
            make().export(tmp_path, **wrong)  # type: ignore[arg-type]
