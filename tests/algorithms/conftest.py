"""The functions of every algorithm, compiled: op by op, a single update costs tens of small compilations."""

import functools
import importlib

import jax
import pytest

from holdfast.algorithms import registry
from holdfast.core.noise import Tape

COMPILED = ("init", "update", "online_update", "enter")


def compiled(function):
    """The function, compiled at each call: arrays are traced; a tape, a number or a string is a constant."""

    @functools.wraps(function)
    def call(*args, **kwargs):
        leaves, treedef = jax.tree.flatten((args, kwargs), is_leaf=lambda x: isinstance(x, Tape))
        traced = [isinstance(x, jax.Array) or hasattr(x, "__array__") for x in leaves]
        given = [x for x, is_array in zip(leaves, traced, strict=True) if is_array]

        def inner(arrays):
            rest = iter(arrays)
            mixed = [next(rest) if is_array else x for x, is_array in zip(leaves, traced, strict=True)]
            args, kwargs = jax.tree.unflatten(treedef, mixed)
            return function(*args, **kwargs)

        return jax.jit(inner)(given)

    return call


@pytest.fixture(scope="session", autouse=True)
def compiled_algorithms():
    """Every algorithm module with its functions compiled, for the tests in this folder."""
    with pytest.MonkeyPatch.context() as patch:
        for name in registry.names():
            module = importlib.import_module(f"holdfast.algorithms.{registry.ROWS[name].module}")
            for function in COMPILED:
                if hasattr(module, function):
                    patch.setattr(module, function, compiled(getattr(module, function)))
        yield
