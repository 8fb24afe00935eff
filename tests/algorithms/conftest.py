"""The functions of every algorithm, compiled: op by op, a single update costs tens of small compilations."""

import functools
import importlib

import jax
import jax.numpy as jnp
import pytest

from holdfast.algorithms import registry
from holdfast.core.noise import Tape

COMPILED = ("init", "update", "online_update", "enter", "act")


class Compiled:
    """A function of an algorithm, compiled: arrays and the draws of a tape are traced, all else is constant.

    Calls that differ in their arrays alone share a program.
    """

    def __init__(self, function):
        self.function = function
        self.programs = {}
        functools.update_wrapper(self, function)

    def __call__(self, *args, **kwargs):
        leaves, treedef = jax.tree.flatten((args, kwargs), is_leaf=lambda x: isinstance(x, Tape))
        if any(isinstance(x, jax.core.Tracer) for x in leaves):  # within a program already
            return self.function(*args, **kwargs)
        kinds = tuple(_kind(x) for x in leaves)
        constants = tuple((type(x), x) for x, kind in zip(leaves, kinds, strict=True) if kind is None)
        place = (treedef, kinds, constants)
        if place not in self.programs:
            self.programs[place] = self._program(treedef, leaves, kinds)
        run, drawn = self.programs[place]
        found = run([_given(x) for x, kind in zip(leaves, kinds, strict=True) if kind is not None])
        for tape in (x for x in leaves if isinstance(x, Tape)):
            tape.used.update(drawn)
        return found

    def _program(self, treedef, leaves, kinds):
        """A compiled call, and the set of the names that it draws from tapes."""
        drawn = set()
        prefixes = [x.prefix if isinstance(x, Tape) else x for x in leaves]

        def inner(given):
            rest = iter(given)
            mixed = [
                constant if kind is None else next(rest) if kind == "array" else Tape(next(rest), constant, drawn)
                for constant, kind in zip(prefixes, kinds, strict=True)
            ]
            args, kwargs = jax.tree.unflatten(treedef, mixed)
            return self.function(*args, **kwargs)

        return jax.jit(inner), drawn


def _kind(leaf):
    """How a leaf of the arguments is given: "array", the prefix and the names of a tape, or None for a constant."""
    if isinstance(leaf, Tape):
        return (leaf.prefix, *sorted(leaf.arrays))
    return "array" if isinstance(leaf, jax.Array) or hasattr(leaf, "__array__") else None


def _given(leaf):
    return {name: jnp.asarray(x) for name, x in leaf.arrays.items()} if isinstance(leaf, Tape) else leaf


@pytest.fixture(scope="session", autouse=True)
def compiled_algorithms():
    """Every algorithm module with its functions compiled, for the tests in this folder."""
    with pytest.MonkeyPatch.context() as patch:
        for name in registry.names():
            module = importlib.import_module(f"holdfast.algorithms.{registry.ROWS[name].module}")
            for function in COMPILED:
                if hasattr(module, function):
                    patch.setattr(module, function, Compiled(getattr(module, function)))
        yield
