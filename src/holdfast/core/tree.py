"""PyTrees: the base of every state, network and batch, and the few operations on whole trees."""

from __future__ import annotations

from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from equinox import field
from jax.tree_util import KeyEntry

__all__ = ["PyTree", "ema", "field", "name_of", "named_leaves", "where"]

T = TypeVar("T")
Tree = Any  # a pytree

PyTree = eqx.Module


def ema(new: T, old: T, rate: jax.Array | float) -> T:
    """Polyak averaging, leaf by leaf: `(1 - rate) * old + rate * new`."""
    return jax.tree.map(lambda n, o: (1 - rate) * o + rate * n, new, old)


def where(pred: jax.Array, new: T, old: T) -> T:
    """`new` where the scalar `pred` holds, else `old`, for every leaf."""
    return jax.tree.map(lambda n, o: jnp.where(pred, n, o), new, old)


def named_leaves(tree: Tree) -> dict[str, Any]:
    """Leaves by their key path, e.g. `actor.net.layers.0.weight`: the names of a checkpoint."""
    return {name_of(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def name_of(path: tuple[KeyEntry, ...]) -> str:
    """A key path in dotted form."""
    return jax.tree_util.keystr(path, simple=True, separator=".")
