"""Writes a policy as one file for other programs, after a comparison of the file with the policy on random rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Jaxpr

from ...core.errors import UserError, unknown
from ...core.files import write_atomic, write_json
from ...core.noise import Noise
from ...core.spec import Memory, Mode, Obs
from ...data.tables.encoding import fill_block
from ...environments.gym import joint_actions
from ..folder import versions
from ..judge import Judge
from ..storage import leaves_by_name
from ..support import Support
from . import reader, writers
from .convert import convert
from .graph import Graph, port
from .served import Draws, Served, act, serve

Format = Literal["onnx", "stablehlo", "numpy"]
SUFFIX = {"onnx": ".onnx", "stablehlo": ".stablehlo", "numpy": ".npz"}
ROWS = 1000  # of the comparison
CLOSE = 1e-4  # largest difference of an action, in half widths of its range
CLOSE_SCORE = 0.01  # largest difference of a score of support: a held-out distance may be rounded to either side
READER = "policy_reader.py"  # reads the NumPy form, and makes the inputs of both; next to the file


@dataclasses.dataclass(frozen=True)
class Parity:
    """The comparison of an exported file with its policy in JAX.

    Attributes:
        rows: rows that were compared.
        difference: largest difference of an action in the rows that agree, in half widths of its range.
        others: rows with another action. One in 1,000 is accepted where the policy takes the best of several
            candidates: two of nearly equal value may change their places by rounding.
    """

    rows: int
    difference: float
    others: int


class Exported(NamedTuple):
    """An exported policy.

    Attributes:
        path: the file.
        parity: its comparison with the policy.
        facts: the description that the file contains.
    """

    path: Path
    parity: Parity
    facts: dict[str, Any]


class Rows(NamedTuple):
    """Random rows for a comparison."""

    given: dict[str, np.ndarray]  # the inputs by name, without noise and memory
    observations: Any  # raw observations, as the policy takes them
    reward: np.ndarray  # [n]
    mask: np.ndarray | None  # [n, A]


def export(policy: Judge, path: str | Path, to: Format = "onnx", mode: Literal["best", "sample"] = "best") -> Exported:
    """Write a policy as one file: treatment included, raw rows in, actions out, any number of rows.

    The file is compared with the policy in JAX on 1,000 random rows. If it does not agree, nothing is written.

    Args:
        policy: the policy.
        path: the file, or a folder, in which it becomes `policy.onnx`, `policy.stablehlo` or `policy.npz`.
        to: the format.
        mode: "best" (the most likely action) or "sample" (a draw, from noise that is an input).

    Raises:
        UserError: a part of the policy that cannot be exported, a package that is missing, a file that does not agree
            with the policy, or a file that cannot be written.
    """
    if to not in SUFFIX:
        raise unknown("format of an export", str(to), SUFFIX)
    if mode not in ("best", "sample"):
        raise unknown("mode of acting", str(mode), ("best", "sample"))
    path = Path(path)
    path = path / f"policy{SUFFIX[to]}" if path.is_dir() else path
    served = serve(policy, mode)
    drawn = [name for name in served.draws if name.startswith("noise.fallback.")]
    if drawn:
        raise UserError(f"the fallback draws noise for its best action ({drawn[0]}): export needs one that does not")
    graph = None if to == "stablehlo" else convert(served.program, served.inputs, served.outputs)
    facts = _facts(policy, served, mode)

    data = _written(to, served, graph, facts)
    if policy.support_model is not None:  # random rows are mostly far from the log: compare the policy's own actions
        bare = policy.without_support()
        alone = serve(bare, mode)
        own = None if to == "stablehlo" else convert(alone.program, alone.inputs, alone.outputs)
        compare(bare, alone, _runner(to, _written(to, alone, own, _facts(bare, alone, mode)), alone), mode)
    parity = compare(policy, served, _runner(to, data, served), mode)
    facts["parity"] = dataclasses.asdict(parity)
    write_atomic(path, data if graph is None else _written(to, served, graph, facts))
    if to == "stablehlo":
        write_json(Path(f"{path}.json"), facts)
    if to in ("numpy", "onnx"):
        write_atomic(path.parent / READER, Path(reader.__file__).read_bytes())
    return Exported(path, parity, facts)


def _written(to: Format, served: Served, graph: Graph | None, facts: Mapping[str, Any]) -> bytes:
    if graph is None:
        return writers.stablehlo_bytes(served)
    return writers.onnx_bytes(graph, facts) if to == "onnx" else writers.numpy_bytes(graph, facts)


def _runner(to: Format, data: bytes, served: Served) -> writers.Run:
    if to == "onnx":
        return writers.onnx_runner(data)
    return writers.stablehlo_runner(data, served) if to == "stablehlo" else writers.numpy_runner(data)


def compare(policy: Judge, served: Served, run: writers.Run, mode: Mode) -> Parity:
    """Compare a file with its policy on `ROWS` random rows: two steps of them where the policy has a memory.

    Args:
        policy: the policy.
        served: its function.
        run: runs the file.
        mode: "best" or "sample".

    Raises:
        UserError: the file gives other actions or another memory.
    """
    names = [each.name for each in served.inputs]
    chooses = any(eqn == "argmax" for eqn in _operations(served.program.jaxpr))
    generator = np.random.default_rng(0)
    acting = policy.start(ROWS, mode, 0)
    start = np.ones(ROWS, bool)
    rows = 0
    others = 0
    largest = 0.0
    for step in range(2 if any(name.startswith("memory.") for name in names) else 1):
        made = random_rows(policy, generator)
        given: dict[str, Any] = {**made.given, "start": start, "reward": made.reward}
        given.update(_memory(acting.memory))
        key = jax.random.fold_in(jax.random.fold_in(acting.key, np.uint32(step)), 0)
        given.update(_draws(policy, given, key, mode))
        mask = None if made.mask is None else made.mask[None]
        obs = jax.tree.map(lambda x: x[None], made.observations)
        action = acting(obs, made.reward[None], mask, start[None])[0]
        if policy.raw_action_space is not None:
            action = joint_actions.parts(policy.raw_action_space, action)
        found = run({name: np.asarray(given[name]) for name in names})
        gap = _gaps(policy, found["action"], action)
        if policy.support_model is not None:
            gap = _guarded_gaps(policy, policy.support_model, made, found, action, gap)
        same = gap <= CLOSE
        rows += ROWS
        others += int((~same).sum())
        largest = max(largest, float(gap[same].max(initial=0.0)))
        for name, value in _memory(acting.memory, "next_memory.").items():
            if name in found and not np.allclose(found[name][same], value[same], rtol=1e-3, atol=1e-3):
                raise UserError(f"the exported policy keeps another memory ('{name}') than the policy: not written")
        start = generator.random(ROWS) < 0.1
    if others > (rows // 1000 if chooses else 0):
        raise UserError(
            f"the exported policy gives other actions than the policy in {others} of {rows} rows: nothing is written"
        )
    return Parity(rows, largest, others)


def random_rows(policy: Judge, generator: np.random.Generator, count: int = ROWS) -> Rows:
    """Random raw rows: normal numbers with the mean and twice the deviation of the training data, random bytes,
    random categories.
    """
    spec, fitted = policy.spec, policy.fitted

    def normal(shape: tuple[int, ...]) -> np.ndarray:
        spread = generator.normal(size=(count, *shape))
        return (fitted.obs_mean + 2 * fitted.obs_std * spread).astype(np.float32)

    arrays = spec.obs_arrays
    observations: Obs
    if policy.table is not None:
        given, observations = _table_rows(policy, normal(spec.obs_shape), generator)
        made = {"row": given}
    elif isinstance(arrays, dict):
        observations = {name: _values(one.shape, one.dtype, count, generator) for name, one in arrays.items()}
        made = {f"observation.{name}": value for name, value in observations.items()}
    else:
        plain = arrays.dtype == "float32"
        observations = normal(arrays.shape) if plain else _values(arrays.shape, arrays.dtype, count, generator)
        made = {"observation": observations}
    mask = None
    if spec.masked:
        mask = generator.random((count, spec.action)) < 0.5
        mask[np.arange(count), generator.integers(spec.action, size=count)] = True
        made["mask"] = mask
    return Rows(made, observations, generator.normal(size=count).astype(np.float32), mask)


def _values(shape: tuple[int, ...], dtype: str, count: int, generator: np.random.Generator) -> np.ndarray:
    if np.dtype(dtype).kind == "f":
        return generator.normal(size=(count, *shape)).astype(dtype)
    return generator.integers(0, 256 if dtype == "uint8" else 2, (count, *shape)).astype(dtype)


def _table_rows(policy: Judge, values: np.ndarray, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Random rows of a table, and the observations that training makes of them."""
    assert policy.table is not None, "the policy was trained on a table"
    columns = policy.table.observations
    row = np.empty((len(values), len(columns)), np.float32)
    observations = np.empty_like(values)
    start = 0
    for i, column in enumerate(columns):
        row[:, i] = values[:, start]
        if column.kind != "number":
            row[:, i] = generator.integers(len(column.categories or ()), size=len(values))
        if column.missing != "refuse":
            row[generator.random(len(values)) < 0.1, i] = np.nan
        fill_block(column, row[:, i].astype(np.float64), observations[:, start : start + column.width])
        start += column.width
    return row, observations


def _draws(policy: Judge, given: Mapping[str, Any], key: jax.Array, mode: Mode) -> dict[str, np.ndarray]:
    """The noise that the policy draws with a key, by the names of the inputs."""

    def made(given: dict[str, Any], key: jax.Array) -> dict[str, jax.Array]:
        draws = Draws(None, Noise(key))
        act(policy, given, draws, mode)
        return draws.made

    return jax.tree.map(np.asarray, jax.jit(made)(jax.tree.map(jnp.asarray, dict(given)), key))


def _memory(memory: Memory, prefix: str = "memory.") -> dict[str, np.ndarray]:
    return {f"{prefix}{name}": np.asarray(x) for name, x in leaves_by_name(memory).items()}


def _gaps(policy: Judge, found: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The largest difference of the actions in each row, in half widths; infinite where one is not finite."""
    gap = np.abs(found.astype(np.float64) - wanted.astype(np.float64))
    if not policy.spec.discrete:
        gap = gap / policy.fitted.half_widths
    gap = gap.reshape(len(gap), -1).max(1)
    return np.where(np.isfinite(gap), gap, np.inf)


def _guarded_gaps(
    policy: Judge, model: Support, rows: Rows, found: dict[str, np.ndarray], action: np.ndarray, own: np.ndarray
) -> np.ndarray:
    """The gap to the actions with the fallback in place. Scores at the threshold may fall on either side.

    Args:
        policy: the policy.
        model: its score of support.
        rows: what was given.
        found: outputs of the file.
        action: the policy's own actions.
        own: the gap to these, [n].
    """
    wanted = policy.replaced(rows.observations, action, model, rows.mask)
    same = own <= CLOSE if model.fallback is None else np.ones(len(own), bool)
    if (np.abs(found["support"] - wanted.support)[same] > CLOSE_SCORE).any():
        raise UserError("the exported policy gives another score of support than the policy: nothing is written")
    gap = _gaps(policy, found["action"], wanted.action)
    edge = np.abs(wanted.support - model.false_alarms) <= CLOSE_SCORE
    return np.where(edge, np.minimum(gap, own), gap)


def _operations(jaxpr: Jaxpr) -> set[str]:
    found = set()
    for eqn in jaxpr.eqns:
        found.add(eqn.primitive.name)
        for value in eqn.params.values():
            inner = getattr(value, "jaxpr", value)
            found |= _operations(inner) if hasattr(inner, "eqns") else set()
    return found


def _facts(policy: Judge, served: Served, mode: Mode) -> dict[str, Any]:
    """The description of an exported policy, JSON-ready."""
    spec, fitted = policy.spec, policy.fitted
    action: dict[str, Any] = {"kind": "discrete" if spec.discrete else "continuous"}
    if spec.discrete:
        action |= {"count": spec.action, "start": fitted.action_start}
    elif fitted.action_low is not None and fitted.action_high is not None:
        action |= {"low": fitted.action_low.tolist(), "high": fitted.action_high.tolist()}
    facts: dict[str, Any] = {
        "format": reader.FORMAT,
        "algorithm": policy.algorithm.name,
        "mode": mode,
        "inputs": [each._asdict() for each in served.inputs],
        "noise": served.draws,
        "action": action,
        "trained_on": policy.info.get("dataset"),
        "fingerprint": policy.info.get("dataset_fingerprint"),
        "step": policy.info.get("step"),
        "seed": policy.info.get("seed"),
        "versions": versions(),
    }
    outvars = served.program.jaxpr.outvars
    ports = [port(name, var.aval.shape, var.aval.dtype) for name, var in zip(served.outputs, outvars, strict=True)]
    facts["outputs"] = [each._asdict() for each in ports]
    if policy.support_model is not None:
        model = policy.support_model
        fallback = None if model.fallback is None else model.fallback.text
        facts["support"] = {"false_alarms": model.false_alarms, "fallback": fallback, **model.facts}
    if policy.table is not None:
        facts["columns"] = [{"name": column.name, **column.to_dict()} for column in policy.table.observations]
        action["columns"] = list(policy.table.action.columns)
        if policy.table.action.labels is not None:
            action["labels"] = [list(each) for each in policy.table.action.labels]
    return facts
