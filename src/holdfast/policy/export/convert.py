"""A traced program of JAX (a jaxpr) as operations of ONNX.

What depends on no input is computed here, once. The rest is written operation by operation; loops are written out.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Var
from numpy.typing import DTypeLike

from ...core.errors import UserError
from .graph import Dim, Graph, Port, port

LONGEST = 128  # rounds of a loop
Value = str | np.ndarray  # the name of a result, or an array that depends on no input

CALLS = ("jaxpr", "call_jaxpr", "fun_jaxpr")  # parameters that hold the program of a call
SAME = {"stop_gradient", "copy", "copy_p", "optimization_barrier", "reduce_precision"}
ONE = {  # operations with the same operands in ONNX
    "add": "Add", "add_any": "Add", "sub": "Sub", "mul": "Mul", "div": "Div", "max": "Max", "min": "Min",
    "pow": "Pow", "neg": "Neg", "exp": "Exp", "log": "Log", "tanh": "Tanh", "logistic": "Sigmoid", "sqrt": "Sqrt",
    "erf": "Erf", "sin": "Sin", "cos": "Cos", "abs": "Abs", "sign": "Sign", "floor": "Floor", "ceil": "Ceil",
    "eq": "Equal", "lt": "Less", "le": "LessOrEqual", "gt": "Greater", "ge": "GreaterOrEqual",
    "and": "And", "or": "Or", "not": "Not",
}  # fmt: skip
REDUCE = {"reduce_sum": "ReduceSum", "reduce_max": "ReduceMax", "reduce_min": "ReduceMin"}
LOGICAL = {"reduce_and": "ReduceMin", "reduce_or": "ReduceMax"}


def convert(program: ClosedJaxpr, inputs: Sequence[Port], outputs: Sequence[str]) -> Graph:
    """The graph of a program.

    Args:
        program: a traced function whose arrays may have the free dimension.
        inputs: what the program takes, in its order.
        outputs: names of what it gives.

    Raises:
        UserError: the program has an operation that cannot be written. The line names it.
    """
    graph = Graph(inputs)
    values = _run(graph, program, [each.name for each in inputs])
    for name, value, var in zip(outputs, values, program.jaxpr.outvars, strict=True):
        made = graph.constant(value) if isinstance(value, np.ndarray) else value
        shape = graph.shape(_array(var).shape)  # also a constant gets one row for each observation
        expanded = graph.add("Expand", [made, shape]) if isinstance(value, np.ndarray) else made
        graph.rename(graph.add("Identity", [expanded]), name)
        graph.outputs.append(port(name, _array(var).shape, _array(var).dtype))
    graph.prune()
    return graph


def _run(graph: Graph, program: ClosedJaxpr, values: Sequence[Value]) -> list[Value]:
    return _walk(graph, program.jaxpr, [np.asarray(c) for c in program.consts], values)


def _walk(graph: Graph, jaxpr: Jaxpr, consts: Sequence[Value], values: Sequence[Value]) -> list[Value]:
    known: dict[Any, Value] = dict(zip(jaxpr.constvars, consts, strict=True))
    known.update(zip(jaxpr.invars, values, strict=True))

    def read(atom: Var | Literal) -> Value:
        return np.asarray(atom.val, _array(atom).dtype) if isinstance(atom, Literal) else known[atom]

    for eqn in jaxpr.eqns:
        given = [read(atom) for atom in eqn.invars]
        fixed = all(isinstance(dim, int) for var in eqn.outvars for dim in _array(var).shape)
        simple = (
            eqn.primitive.name not in ("scan", "dim_as_value")
            and not any(key in eqn.params for key in CALLS)
            and not eqn.effects
        )
        if simple and fixed and all(isinstance(x, np.ndarray) for x in given):
            found = _computed(eqn, given)
        else:
            found = _written(graph, eqn, given)
        known.update(zip(eqn.outvars, found, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _array(atom: Var | Literal) -> Any:
    """What describes an array of a program: its shape and type."""
    return atom.aval


def _computed(eqn: JaxprEqn, given: Sequence[Any]) -> list[Value]:
    found = eqn.primitive.bind(*map(jax.numpy.asarray, given), **eqn.params)
    return [np.asarray(x) for x in (found if eqn.primitive.multiple_results else [found])]


def _written(graph: Graph, eqn: JaxprEqn, given: Sequence[Value]) -> list[Value]:
    name = eqn.primitive.name
    if name == "scan":
        return _loop(graph, eqn, given)
    inner = next((eqn.params[key] for key in CALLS if key in eqn.params), None)
    if inner is not None and name not in WRITERS:
        closed = inner if isinstance(inner, ClosedJaxpr) else ClosedJaxpr(inner, ())
        return _run(graph, closed, given)
    names = [graph.constant(x) if isinstance(x, np.ndarray) else x for x in given]
    if name in SAME:
        return list(given)
    if name in ONE and (name not in ("and", "or", "not") or _array(eqn.invars[0]).dtype == bool):
        return [graph.add(ONE[name], names)]
    if name == "split":
        return list(_split(graph, eqn, names))
    if name not in WRITERS:
        raise UserError(f"the operation '{name}' of this policy cannot be exported")
    return [WRITERS[name](graph, eqn, names)]


def _loop(graph: Graph, eqn: JaxprEqn, given: Sequence[Value]) -> list[Value]:
    params = eqn.params
    consts, carries = params["num_consts"], params["num_carry"]
    if params["length"] > LONGEST:
        raise UserError(f"the policy has a loop of {params['length']} rounds, the export writes out {LONGEST} at most")
    carry = list(given[consts : consts + carries])
    rows = given[consts + carries :]
    stacked: list[list[str]] = [[] for _ in params["jaxpr"].jaxpr.outvars[carries:]]
    order = range(params["length"])
    for i in reversed(order) if params["reverse"] else order:
        at = graph.constant(np.int64(i))
        here = [np.asarray(x[i]) if isinstance(x, np.ndarray) else graph.add("Gather", [x, at], axis=0) for x in rows]
        found = _run(graph, params["jaxpr"], [*given[:consts], *carry, *here])
        carry = found[:carries]
        for column, value in zip(stacked, found[carries:], strict=True):
            made = graph.constant(value) if isinstance(value, np.ndarray) else value
            column.append(graph.add("Unsqueeze", [made, graph.whole(0)]))
    outs = [graph.add("Concat", column[::-1] if params["reverse"] else column, axis=0) for column in stacked]
    return [*carry, *outs]


def _broadcast(graph: Graph, eqn: JaxprEqn, names: list[str]) -> str:
    shape, kept = eqn.params["shape"], eqn.params["broadcast_dimensions"]
    new = [i for i in range(len(shape)) if i not in kept]
    made = graph.add("Unsqueeze", [names[0], graph.whole(*new)]) if new else names[0]
    before = _array(eqn.invars[0]).shape
    same = all(before[i] == shape[dim] for i, dim in enumerate(kept)) and all(shape[i] == 1 for i in new)
    return made if same else graph.add("Expand", [made, graph.shape(shape)])


def _reshape(graph: Graph, eqn: JaxprEqn, names: list[str]) -> str:
    sizes = [dim if isinstance(dim, int) else -1 for dim in eqn.params["new_sizes"]]
    shape = graph.whole(*sizes) if sizes.count(-1) <= 1 else graph.shape(eqn.params["new_sizes"])
    return graph.add("Reshape", [names[0], shape])


def _stack(graph: Graph, eqn: JaxprEqn, names: list[str]) -> str:
    axis = eqn.params["axis"]
    return graph.add("Concat", [graph.add("Unsqueeze", [name, graph.whole(axis)]) for name in names], axis=axis)


def _reduce(op: str) -> Callable[[Graph, JaxprEqn, list[str]], str]:
    def write(graph: Graph, eqn: JaxprEqn, names: list[str]) -> str:
        return graph.add(op, [names[0], graph.whole(*eqn.params["axes"])], keepdims=0)

    return write


def _logical(op: str) -> Callable[[Graph, JaxprEqn, list[str]], str]:
    def write(graph: Graph, eqn: JaxprEqn, names: list[str]) -> str:
        numbers = _cast(graph, names[0], np.int32)
        return _cast(graph, graph.add(op, [numbers, graph.whole(*eqn.params["axes"])], keepdims=0), np.bool_)

    return write


def _place(op: str) -> Callable[[Graph, JaxprEqn, list[str]], str]:
    def write(graph: Graph, eqn: JaxprEqn, names: list[str]) -> str:
        (axis,) = eqn.params["axes"]
        return _cast(graph, graph.add(op, names, axis=int(axis), keepdims=0), eqn.params["index_dtype"])

    return write


def _cast(graph: Graph, name: str, dtype: DTypeLike) -> str:
    return graph.add("Cast", [name], to=CODES[np.dtype(dtype).name])


CODES = {"float32": 1, "uint8": 2, "int32": 6, "int64": 7, "bool": 9, "float64": 11, "uint32": 12}  # of ONNX


def _convert(graph: Graph, eqn: JaxprEqn, names: list[str]) -> str:
    if _array(eqn.invars[0]).dtype == _array(eqn.outvars[0]).dtype:
        return names[0]
    return _cast(graph, names[0], eqn.params["new_dtype"])


def _power(graph: Graph, eqn: JaxprEqn, names: list[str]) -> str:
    exponent = abs(eqn.params["y"])
    made = graph.constant(np.ones((), _array(eqn.invars[0]).dtype)) if exponent == 0 else names[0]
    for _ in range(exponent - 1):
        made = graph.add("Mul", [made, names[0]])
    return graph.add("Reciprocal", [made]) if eqn.params["y"] < 0 else made


def _select(graph: Graph, eqn: JaxprEqn, names: list[str]) -> str:
    if len(names) != 3 or _array(eqn.invars[0]).dtype != bool:
        raise UserError("a choice between more than two arrays cannot be exported")
    return graph.add("Where", [names[0], names[2], names[1]])


def _slice(graph: Graph, eqn: JaxprEqn, names: list[str]) -> str:
    starts, limits = eqn.params["start_indices"], eqn.params["limit_indices"]
    steps = eqn.params["strides"] or (1,) * len(starts)
    shape = _array(eqn.invars[0]).shape
    axes = [i for i, dim in enumerate(shape) if starts[i] != 0 or limits[i] != dim or steps[i] != 1]
    if not axes:
        return names[0]
    first, last = (graph.shape([places[i] for i in axes]) for places in (starts, limits))
    return graph.add("Slice", [names[0], first, last, graph.whole(*axes), graph.whole(*(steps[i] for i in axes))])


def _split(graph: Graph, eqn: JaxprEqn, names: list[str]) -> list[str]:
    ends = list(itertools.accumulate(eqn.params["sizes"]))
    axis = graph.whole(eqn.params["axis"])
    starts = [0, *ends[:-1]]
    return [
        graph.add("Slice", [names[0], graph.whole(start), graph.whole(end), axis, graph.whole(1)])
        for start, end in zip(starts, ends, strict=True)
    ]


def _dynamic_slice(graph: Graph, eqn: JaxprEqn, names: list[str]) -> str:
    starts = [graph.add("Reshape", [_cast(graph, name, np.int64), graph.whole(1)]) for name in names[1:]]
    shape = _array(eqn.invars[0]).shape
    return _window(graph, names[0], shape, eqn.params["slice_sizes"], dict(enumerate(starts)))


def _window(graph: Graph, name: str, shape: Sequence[Dim], sizes: Sequence[Dim], starts: dict[int, str]) -> str:
    """A part of an array of these sizes, which begins at `starts` (by axis) and lies within the array."""
    for axis, start in starts.items():
        if sizes[axis] != shape[axis]:
            last = graph.add("Sub", [graph.size(shape[axis]), graph.size(sizes[axis])])
            first = graph.add("Max", [graph.add("Min", [start, last]), graph.whole(0)])
            end = graph.add("Add", [first, graph.size(sizes[axis])])
            name = graph.add("Slice", [name, first, end, graph.whole(axis), graph.whole(1)])
    return name


def _reversed(graph: Graph, eqn: JaxprEqn, names: list[str]) -> str:
    axes = eqn.params["dimensions"]
    first = graph.whole(*[-1] * len(axes))
    last = graph.whole(*[-(2**62)] * len(axes))
    return graph.add("Slice", [names[0], first, last, graph.whole(*axes), graph.whole(*[-1] * len(axes))])


def _pad(graph: Graph, eqn: JaxprEqn, names: list[str]) -> str:
    low, high, inner = zip(*eqn.params["padding_config"], strict=True)
    if any(inner) or min(*low, *high) < 0:
        raise UserError("padding between numbers cannot be exported")
    return graph.add("Pad", [names[0], graph.whole(*low, *high), names[1]])


def _dimension(graph: Graph, eqn: JaxprEqn, names: list[str]) -> str:
    number = graph.add("Squeeze", [graph.size(eqn.params["dim"]), graph.whole(0)])
    return _cast(graph, number, _array(eqn.outvars[0]).dtype)


def _iota(graph: Graph, eqn: JaxprEqn, names: list[str]) -> str:
    shape = eqn.params["shape"]
    axis = eqn.params["dimension"]
    size = graph.add("Squeeze", [graph.size(shape[axis]), graph.whole(0)])
    numbers = graph.add("Range", [graph.constant(np.int64(0)), size, graph.constant(np.int64(1))])
    numbers = _cast(graph, numbers, eqn.params["dtype"])
    new = [i for i in range(len(shape)) if i != axis]
    if not new:
        return numbers
    return graph.add("Expand", [graph.add("Unsqueeze", [numbers, graph.whole(*new)]), graph.shape(shape)])


def _product(graph: Graph, eqn: JaxprEqn, names: list[str]) -> str:
    (left, right), (left_batch, right_batch) = eqn.params["dimension_numbers"]
    a, b = (_array(var).ndim for var in eqn.invars)
    if not left_batch and (left, right, b) == ((a - 1,), (0,), 2):
        return graph.add("MatMul", names)
    letters = iter("abcdefghijklmnopqrstuvwxyz")
    first = [next(letters) for _ in range(a)]
    second = [next(letters) for _ in range(b)]
    for i, j in [*zip(left_batch, right_batch, strict=True), *zip(left, right, strict=True)]:
        second[j] = first[i]
    out = [first[i] for i in left_batch]
    out += [x for i, x in enumerate(first) if i not in (*left, *left_batch)]
    out += [x for j, x in enumerate(second) if j not in (*right, *right_batch)]
    return graph.add("Einsum", names, equation=f"{''.join(first)},{''.join(second)}->{''.join(out)}")


def _gather(graph: Graph, eqn: JaxprEqn, names: list[str]) -> str:
    numbers = eqn.params["dimension_numbers"]
    sizes = eqn.params["slice_sizes"]
    shape = _array(eqn.invars[0]).shape
    batched = tuple(numbers.operand_batching_dims)
    collapsed = tuple(numbers.collapsed_slice_dims)
    start = tuple(numbers.start_index_map)
    offset = tuple(numbers.offset_dims)
    index_batched = tuple(numbers.start_indices_batching_dims)
    indices = _cast(graph, names[1], np.int64)
    whole = tuple(i for i in range(len(shape)) if i not in (*batched, *collapsed))
    lead = len(_array(eqn.invars[1]).shape) - 1  # axes of the indices, without the last one
    if lead == 0 and not batched:  # one place: x[:, i], x[:, :7]
        places_of = {axis: _entry(graph, indices, i) for i, axis in enumerate(start)}
        made = _window(graph, names[0], shape, sizes, places_of)
        return graph.add("Squeeze", [made, graph.whole(*collapsed)]) if collapsed else made
    if sorted(start) == sorted(collapsed) and all(sizes[i] == shape[i] for i in whole):
        others = tuple(i for i in range(lead) if i not in index_batched)
        operand = graph.add("Transpose", [names[0]], perm=[*batched, *start, *whole])
        indices = graph.add("Transpose", [indices], perm=[*index_batched, *others, lead])
        made = graph.add("GatherND", [operand, indices], batch_dims=len(batched))
        free = [i for i in range(lead + len(whole)) if i not in offset]  # where the axes of the indices go
        goal = [*(free[i] for i in (*index_batched, *others)), *offset]  # of each axis of `made`
        return graph.add("Transpose", [made], perm=[goal.index(i) for i in range(len(goal))])
    raise UserError("an array that is indexed in an unusual way cannot be exported ('gather')")


def _entry(graph: Graph, vector: str, i: int) -> str:
    return graph.add("Slice", [vector, graph.whole(i), graph.whole(i + 1), graph.whole(0), graph.whole(1)])


def _convolution(graph: Graph, eqn: JaxprEqn, names: list[str]) -> str:
    params, numbers = eqn.params, eqn.params["dimension_numbers"]
    if params["batch_group_count"] != 1 or any(d != 1 for d in params["lhs_dilation"]):
        raise UserError("a transposed convolution cannot be exported")
    images = graph.add("Transpose", [names[0]], perm=list(numbers.lhs_spec))
    weights = graph.add("Transpose", [names[1]], perm=list(numbers.rhs_spec))
    low, high = zip(*params["padding"], strict=True)
    made = graph.add(
        "Conv",
        [images, weights],
        strides=list(params["window_strides"]),
        pads=[*map(int, low), *map(int, high)],
        dilations=list(params["rhs_dilation"]),
        group=int(params["feature_group_count"]),
    )
    return graph.add("Transpose", [made], perm=[int(i) for i in np.argsort(numbers.out_spec)])


def _chain(*ops: str) -> Callable[[Graph, JaxprEqn, list[str]], str]:
    def write(graph: Graph, eqn: JaxprEqn, names: list[str]) -> str:
        made = graph.add(ops[0], names)
        for op in ops[1:]:
            made = graph.add(op, [made])
        return made

    return write


def _one(graph: Graph, eqn: JaxprEqn) -> str:
    return graph.constant(np.ones((), _array(eqn.invars[0]).dtype))


def _finite(graph: Graph, eqn: JaxprEqn, names: list[str]) -> str:
    endless = graph.add("Equal", [graph.add("Abs", names), graph.constant(np.float32(np.inf))])
    return graph.add("Not", [graph.add("Or", [endless, graph.add("IsNaN", names)])])


def _clamp(graph: Graph, eqn: JaxprEqn, names: list[str]) -> str:
    return graph.add("Min", [graph.add("Max", [names[1], names[0]]), names[2]])


WRITERS: dict[str, Callable[[Graph, JaxprEqn, list[str]], str]] = {
    "broadcast_in_dim": _broadcast,
    "reshape": _reshape,
    "squeeze": lambda g, e, names: g.add("Squeeze", [names[0], g.whole(*e.params["dimensions"])]),
    "expand_dims": lambda g, e, names: g.add("Unsqueeze", [names[0], g.whole(*e.params["dimensions"])]),
    "transpose": lambda g, e, names: g.add("Transpose", names, perm=list(e.params["permutation"])),
    "concatenate": lambda g, e, names: g.add("Concat", names, axis=e.params["dimension"]),
    "stack": _stack,
    "dim_as_value": _dimension,
    "cumsum": lambda g, e, names: g.add(
        "CumSum", [names[0], g.constant(np.int64(e.params["axis"]))], reverse=int(e.params["reverse"])
    ),
    "convert_element_type": _convert,
    "integer_pow": _power,
    "square": lambda g, e, names: g.add("Mul", [names[0], names[0]]),
    "select_n": _select,
    "slice": _slice,
    "dynamic_slice": _dynamic_slice,
    "rev": _reversed,
    "pad": _pad,
    "iota": _iota,
    "dot_general": _product,
    "gather": _gather,
    "conv_general_dilated": _convolution,
    "is_finite": _finite,
    "clamp": _clamp,
    "ne": _chain("Equal", "Not"),
    "rsqrt": _chain("Sqrt", "Reciprocal"),
    "rem": lambda g, e, names: g.add("Mod", names, fmod=1),
    "expm1": lambda g, e, names: g.add("Sub", [g.add("Exp", names), _one(g, e)]),
    "log1p": lambda g, e, names: g.add("Log", [g.add("Add", [names[0], _one(g, e)])]),
    "erfc": lambda g, e, names: g.add("Sub", [_one(g, e), g.add("Erf", names)]),
    "argmax": _place("ArgMax"),
    "argmin": _place("ArgMin"),
    **{name: _reduce(op) for name, op in REDUCE.items()},
    **{name: _logical(op) for name, op in LOGICAL.items()},
}
