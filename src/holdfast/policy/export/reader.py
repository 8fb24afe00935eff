"""Runs a policy that `holdfast export --to numpy` wrote. It needs NumPy only; copy this file to where the policy acts.

    policy = load("policy.npz")
    action = policy({"observation": rows})["action"]

The file holds arrays and a list of operations, which have the meaning of the ONNX operators of the same name. It holds
no code, and reading it runs none.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

FORMAT = 1
ENTRY = "holdfast"  # the array with the description, JSON as bytes
TYPES = {1: "float32", 2: "uint8", 6: "int32", 7: "int64", 9: "bool", 11: "float64", 12: "uint32"}  # as ONNX has them


class Exported:
    """A policy of arrays.

    Attributes:
        facts: the description: inputs, outputs, kinds of the noise, columns and labels of a table.
    """

    def __init__(self, facts: Mapping[str, Any], constants: Mapping[str, np.ndarray]) -> None:
        self.facts = dict(facts)
        self.constants = dict(constants)

    def __call__(self, given: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Every output by name.

        Args:
            given: every input by name; see `facts["inputs"]` for types and shapes. "n" is the number of rows.

        Raises:
            ValueError: an input is missing, or has another shape.
        """
        values: dict[str, np.ndarray] = dict(self.constants)
        rows = -1
        for port in self.facts["inputs"]:
            name, shape = port["name"], port["shape"]
            if name not in given:
                raise ValueError(f"the input '{name}' is missing, expected {[p['name'] for p in self.facts['inputs']]}")
            value = np.asarray(given[name], port["dtype"])
            if rows < 0:
                rows = value.shape[0] if value.ndim else 0
            wanted = _sizes(shape, rows)
            if value.shape != wanted:
                raise ValueError(f"the input '{name}' has shape {value.shape}, expected {wanted}")
            values[name] = value
        with np.errstate(all="ignore"):
            for op, inputs, outputs, attributes in self.facts["nodes"]:
                values[outputs[0]] = OPERATIONS[op](*(values[name] for name in inputs), **attributes)
        return {port["name"]: values[port["name"]] for port in self.facts["outputs"]}


def load(path: str | Path) -> Exported:
    """Read a policy.

    Raises:
        ValueError: the file was not written by `holdfast export --to numpy`, or has operations that are not known.
    """
    with Path(path).open("rb") as file:
        return read(file, str(path))


def read(opened: BinaryIO, path: str) -> Exported:
    """Read a policy from an open file; `path` names it in errors.

    Raises:
        ValueError: as `load` does.
    """
    with np.load(opened, allow_pickle=False) as file:
        if ENTRY not in file.files:
            raise ValueError(f"{path} holds no exported policy: expected an array '{ENTRY}'")
        facts = json.loads(file[ENTRY].tobytes())
        if facts.get("format") != FORMAT:
            raise ValueError(f"{path} has format {facts.get('format')}, expected {FORMAT}")
        constants = {name: file[name] for name in file.files if name != ENTRY}
    unknown = sorted({node[0] for node in facts["nodes"]} - OPERATIONS.keys())
    if unknown:
        raise ValueError(f"{path} has unknown operations: {', '.join(unknown)}")
    return Exported(facts, constants)


def _sizes(shape: Sequence[int | str], rows: int) -> tuple[int, ...]:
    """A shape for a number of rows; "n" and "10*n" depend on it."""
    times = [1 if dim == "n" else int(str(dim).partition("*")[0]) for dim in shape]
    return tuple(k * rows if isinstance(dim, str) else k for k, dim in zip(times, shape, strict=True))


def noise(facts: Mapping[str, Any], rows: int, generator: np.random.Generator) -> dict[str, np.ndarray]:
    """New draws for every input of noise.

    Args:
        facts: the description of the policy.
        rows: the number of observations.
        generator: where the numbers come from.
    """
    found = {}
    for port in facts["inputs"]:
        kind = facts["noise"].get(port["name"])
        if kind is None:
            continue
        draw = generator.standard_normal if kind == "normal" else generator.random
        found[port["name"]] = draw(_sizes(port["shape"], rows), dtype=np.float32)
    return found


def numbers(facts: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Rows of a table as the input `row`, [n, columns] float32.

    Args:
        facts: the description of a policy that was trained on a table.
        rows: mappings from column to value.

    Raises:
        ValueError: a column is missing, or a value or a category that the policy does not know.
    """
    out = np.empty((len(rows), len(facts["columns"])), np.float32)
    for i, column in enumerate(facts["columns"]):
        name = column["name"]
        places = {text: k for k, text in enumerate(column.get("categories", []))}
        for row, values in enumerate(rows):
            if name not in values:
                raise ValueError(f"the column '{name}' is missing in row {row}")
            value = values[name]
            if value is None or value != value:  # NaN is the number that differs from itself
                if column.get("missing", "refuse") == "refuse":
                    raise ValueError(f"the column '{name}' has no value in row {row}")
                out[row, i] = np.nan
            elif column["kind"] == "number":
                if not isinstance(value, (int, float, np.number, np.bool_)):
                    raise ValueError(f"the column '{name}' is {value!r} in row {row}, expected a number")
                with np.errstate(over="ignore"):  # too large a number becomes infinite
                    out[row, i] = value
            elif str(value) in places:
                out[row, i] = places[str(value)]
            elif column.get("unknown", "refuse") == "zeros":
                out[row, i] = -1
            else:
                raise ValueError(f"the column '{name}' is {value!r} in row {row}, expected one of {list(places)}")
    return out


def _reduce(of: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x, axes, keepdims: of(x, axis=tuple(axes.tolist()), keepdims=bool(keepdims), **_same(of, x))


def _same(of: Callable[..., Any], x: np.ndarray) -> dict[str, Any]:
    return {"dtype": x.dtype} if of is np.sum else {}


def _slice(x: np.ndarray, starts: np.ndarray, ends: np.ndarray, axes: np.ndarray, steps: np.ndarray) -> np.ndarray:
    where: list[Any] = [slice(None)] * x.ndim
    for start, end, axis, step in zip(starts.tolist(), ends.tolist(), axes.tolist(), steps.tolist(), strict=True):
        where[axis] = slice(start, None if step < 0 and end < -x.shape[axis] else end, step)
    return x[tuple(where)]


def _gather_nd(x: np.ndarray, at: np.ndarray, batch_dims: int) -> np.ndarray:
    lead = [np.arange(size).reshape(-1, *[1] * (at.ndim - 2 - i)) for i, size in enumerate(at.shape[:batch_dims])]
    return x[(*lead, *np.moveaxis(at, -1, 0))]


def _take_along(x: np.ndarray, at: np.ndarray, axis: int) -> np.ndarray:
    where: list[np.ndarray] = list(np.indices(at.shape, sparse=True))
    where[axis] = at
    return x[tuple(where)]


def _div(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.trunc(np.true_divide(a, b)).astype(a.dtype) if a.dtype.kind in "iu" else a / b


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return (0.5 * (np.tanh(0.5 * x.astype(np.float64)) + 1)).astype(x.dtype)


def _erf(x: np.ndarray) -> np.ndarray:
    return np.vectorize(math.erf, otypes=[x.dtype])(x)


def _pad(x: np.ndarray, pads: np.ndarray, value: np.ndarray) -> np.ndarray:
    return np.pad(x, pads.reshape(2, -1).T.tolist(), constant_values=value)


def _cumsum(x: np.ndarray, axis: np.ndarray, reverse: int) -> np.ndarray:
    at = int(axis)
    found = np.flip(x, at) if reverse else x
    found = np.cumsum(found, at, dtype=x.dtype)
    return np.flip(found, at) if reverse else found


def _conv(
    x: np.ndarray, w: np.ndarray, strides: list[int], pads: list[int], dilations: list[int], group: int
) -> np.ndarray:
    k = len(strides)
    x = np.pad(x, [(0, 0), (0, 0), *((pads[i], pads[k + i]) for i in range(k))])
    spans = tuple((w.shape[2 + i] - 1) * dilations[i] + 1 for i in range(k))
    windows = np.lib.stride_tricks.sliding_window_view(x, spans, tuple(range(2, 2 + k)))
    windows = windows[(slice(None), slice(None), *(slice(None, None, s) for s in strides),
                       *(slice(None, None, d) for d in dilations))]  # fmt: skip
    taken = [windows[:, part] for part in np.array_split(np.arange(x.shape[1]), group)]
    weights = np.array_split(w, group)
    axes = [1, *range(2 + k, 2 + 2 * k)], [1, *range(2, 2 + k)]
    parts = [np.moveaxis(np.tensordot(a, b, axes), -1, 1) for a, b in zip(taken, weights, strict=True)]
    return np.concatenate(parts, 1).astype(x.dtype)


OPERATIONS: dict[str, Callable[..., Any]] = {
    "Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": _div, "Max": np.maximum, "Min": np.minimum,
    "Pow": np.power, "Neg": np.negative, "Exp": np.exp, "Log": np.log, "Tanh": np.tanh, "Sigmoid": _sigmoid,
    "Sqrt": np.sqrt, "Erf": _erf, "Sin": np.sin, "Cos": np.cos, "Abs": np.abs, "Sign": np.sign, "Floor": np.floor,
    "Ceil": np.ceil, "Equal": np.equal, "Less": np.less, "LessOrEqual": np.less_equal, "Greater": np.greater,
    "GreaterOrEqual": np.greater_equal, "And": np.logical_and, "Or": np.logical_or, "Not": np.logical_not,
    "IsNaN": np.isnan, "Identity": lambda x: x, "MatMul": np.matmul, "Where": np.where,
    "Reciprocal": lambda x: (1 / x).astype(x.dtype),
    "Mod": lambda a, b, fmod: np.fmod(a, b),
    "Einsum": lambda *xs, equation: np.einsum(equation, *xs),
    "ReduceSum": _reduce(np.sum), "ReduceMax": _reduce(np.max), "ReduceMin": _reduce(np.min),
    "ArgMax": lambda x, axis, keepdims: np.argmax(x, axis, keepdims=bool(keepdims)),
    "ArgMin": lambda x, axis, keepdims: np.argmin(x, axis, keepdims=bool(keepdims)),
    "Cast": lambda x, to: x.astype(TYPES[to]),
    "Shape": lambda x: np.array(x.shape, np.int64),
    "Reshape": lambda x, shape: x.reshape(shape.tolist()),
    "Expand": lambda x, shape: np.broadcast_to(x, np.broadcast_shapes(x.shape, tuple(shape.tolist()))),
    "Unsqueeze": lambda x, axes: np.expand_dims(x, tuple(axes.tolist())),
    "Squeeze": lambda x, axes: np.squeeze(x, tuple(axes.tolist())),
    "Transpose": lambda x, perm: np.transpose(x, perm),
    "Concat": lambda *xs, axis: np.concatenate(xs, axis),
    "Gather": lambda x, at, axis: np.take(x, at, axis),
    "GatherElements": _take_along,
    "GatherND": _gather_nd,
    "Range": np.arange,
    "Slice": _slice, "Pad": _pad, "CumSum": _cumsum, "Conv": _conv,
}  # fmt: skip
