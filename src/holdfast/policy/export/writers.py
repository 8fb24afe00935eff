"""Writes a graph as bytes of an ONNX file or of a NumPy archive, and runs such bytes again."""

from __future__ import annotations

import importlib
import io
import json
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.export
import numpy as np

from ...core.errors import UserError
from .convert import CODES
from .graph import Graph, Port
from .reader import ENTRY, read
from .served import Served

OPSET = 18  # of ONNX: ONNX Runtime reads it since version 1.14
IR = 8  # the version of the file format that belongs to it
EXTRA = "pip install 'holdfast-rl[onnx]'"
Run = Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]


def require(name: str) -> Any:
    """A package of the extra `onnx`.

    Raises:
        UserError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserError(f"this export needs the package {name}: {EXTRA}") from error


def onnx_bytes(graph: Graph, facts: Mapping[str, Any]) -> bytes:
    """The graph as an ONNX model; `facts` are its metadata `holdfast`, as JSON."""
    onnx = require("onnx")
    helper = onnx.helper

    def info(each: Port) -> Any:
        return helper.make_tensor_value_info(each.name, CODES[each.dtype], each.shape)

    nodes = [helper.make_node(node.op, node.inputs, node.outputs, **node.attributes) for node in graph.nodes]
    constants = [onnx.numpy_helper.from_array(value, name) for name, value in graph.constants.items()]
    made = helper.make_graph(nodes, "policy", [*map(info, graph.inputs)], [*map(info, graph.outputs)], constants)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR)
    model.producer_name = "holdfast"
    helper.set_model_props(model, {ENTRY: json.dumps(facts, sort_keys=True)})
    onnx.checker.check_model(model)
    return model.SerializeToString()


def numpy_bytes(graph: Graph, facts: Mapping[str, Any]) -> bytes:
    """The graph as an .npz: its arrays, and the operations with `facts` as JSON in the array `holdfast`."""
    text = json.dumps({**facts, "nodes": [list(node) for node in graph.nodes]}, sort_keys=True)
    out = io.BytesIO()
    named: Any = {**graph.constants, ENTRY: np.frombuffer(text.encode(), np.uint8)}
    np.savez(out, **named)
    return out.getvalue()


def stablehlo_bytes(served: Served) -> bytes:
    """The program as `jax.export` serialises it: portable StableHLO for CPU, CUDA and TPU."""
    require("flatbuffers")
    exported = jax.export.export(jax.jit(served.function), platforms=("cpu", "cuda", "tpu"))(*served.arguments)
    return bytes(exported.serialize())


def onnx_runner(data: bytes) -> Run:
    """Runs an ONNX file with ONNX Runtime on one core."""
    runtime = require("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    try:
        session = runtime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no common class
        raise UserError(f"ONNX Runtime does not read the exported policy: {str(error).splitlines()[0]}") from error
    names = [each.name for each in session.get_outputs()]
    return lambda given: dict(zip(names, session.run(names, dict(given)), strict=True))


def numpy_runner(data: bytes) -> Run:
    """Runs an .npz with the reader that needs NumPy only."""
    return read(io.BytesIO(data), "the exported policy")


def stablehlo_runner(data: bytes, served: Served) -> Run:
    """Runs what `stablehlo_bytes` wrote."""
    call = jax.jit(jax.export.deserialize(bytearray(data)).call)
    order = [each.name for each in served.inputs]

    def run(given: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        found = call(*[given[name] for name in order])
        return {name: np.asarray(x) for name, x in zip(served.outputs, found, strict=True)}

    return run
