"""A program of JAX as a short list of operations of ONNX, with a free number of rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from ...core.errors import UserError

Dim = Any  # a dimension: a whole number, or a multiple of n as JAX has it
ROWS = "n"  # name of the free dimension
Attributes = dict[str, int | str | list[int]]


class Node(NamedTuple):
    """One operation of ONNX."""

    op: str
    inputs: list[str]
    outputs: list[str]
    attributes: Attributes


class Port(NamedTuple):
    """An input or an output of a graph."""

    name: str
    dtype: str
    shape: list[int | str]  # the free dimension is "n", or "10*n"


class Graph:
    """Operations in their order, and the arrays that they read.

    Attributes:
        inputs, outputs: what the graph takes and gives.
        constants: arrays by name.
        nodes: the operations.
    """

    def __init__(self, inputs: Sequence[Port]) -> None:
        self.inputs = list(inputs)
        self.outputs: list[Port] = []
        self.constants: dict[str, np.ndarray] = {}
        self.nodes: list[Node] = []
        self._known: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._count = 0
        self._rows: str | None = None

    def constant(self, value: np.ndarray | np.generic) -> str:
        """The name of an array. Equal arrays have one name."""
        value = np.asarray(value, order="C")
        key = (value.dtype.name, value.shape, value.tobytes())
        if key not in self._known:
            self._known[key] = f"c{len(self.constants)}"
            self.constants[self._known[key]] = value
        return self._known[key]

    def whole(self, *values: int) -> str:
        """The name of a vector of int64."""
        return self.constant(np.array(values, np.int64))

    def add(self, op: str, inputs: Sequence[str], **attributes: int | str | list[int]) -> str:
        """Append an operation and return the name of its result."""
        return self.several(op, inputs, 1, **attributes)[0]

    def several(self, op: str, inputs: Sequence[str], count: int, **attributes: int | str | list[int]) -> list[str]:
        """Append an operation with several results and return their names."""
        names = [f"v{self._count + i}" for i in range(count)]
        self._count += count
        plain = {k: [int(i) for i in x] if isinstance(x, list) else x for k, x in attributes.items()}
        self.nodes.append(Node(op, list(inputs), names, plain))
        return names

    def rename(self, name: str, to: str) -> None:
        """Give the result of the last operation another name."""
        last = self.nodes[-1]
        self.nodes[-1] = last._replace(outputs=[to if each == name else each for each in last.outputs])

    def prune(self) -> None:
        """Remove operations and arrays that no output depends on."""
        read = {each.name for each in self.outputs}
        kept = []
        for node in reversed(self.nodes):
            if read & set(node.outputs):
                kept.append(node)
                read |= set(node.inputs)
        self.nodes = kept[::-1]
        self.constants = {name: value for name, value in self.constants.items() if name in read}

    def size(self, dim: Dim) -> str:
        """The name of a vector of one int64: a dimension, which may depend on the number of rows."""
        if isinstance(dim, int):
            return self.whole(dim)
        if self._rows is None:
            axis = self.inputs[0].shape.index(ROWS)
            self._rows = self.add("Gather", [self.add("Shape", [self.inputs[0].name]), self.whole(axis)], axis=0)
        times = multiple(dim)
        return self._rows if times == 1 else self.add("Mul", [self._rows, self.whole(times)])

    def shape(self, dims: Sequence[Dim]) -> str:
        """The name of a vector of int64 with dimensions."""
        if all(isinstance(dim, int) for dim in dims):
            return self.whole(*dims)
        return self.add("Concat", [self.size(dim) for dim in dims], axis=0)


def multiple(dim: Dim) -> int:
    """The k of a dimension k * n.

    Raises:
        UserError: the dimension has another form.
    """
    text = str(dim).replace(" ", "")
    if text == ROWS:
        return 1
    first, _, rest = text.partition("*")
    if rest == ROWS and first.isdigit():
        return int(first)
    raise UserError(f"the policy computes with {text} rows for n observations, which the export cannot write")


def port(name: str, shape: Sequence[Dim], dtype: DTypeLike) -> Port:
    """An input or an output of a shape that may have the free dimension."""
    return Port(name, np.dtype(dtype).name, [dim if isinstance(dim, int) else _text(dim) for dim in shape])


def _text(dim: Dim) -> str:
    times = multiple(dim)
    return ROWS if times == 1 else f"{times}*{ROWS}"
