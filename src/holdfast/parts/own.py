"""Modules of the user in place of MLPs or encoders."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from ..core.errors import UserError, one_line
from ..core.networks import Builder, builder_of
from ..core.noise import Noise
from ..core.tree import PyTree, field
from .layers import floats


@dataclasses.dataclass(frozen=True)
class Frame:
    """What a user's module has besides its arrays.

    Two frames are equal if the same builder made them for the same sizes. So a builder that makes new functions each
    time it is called gives networks of one structure.
    """

    builder: int  # the identity of the builder
    shape: tuple[int, ...]  # of one input
    width: int  # of one output
    build: Builder = dataclasses.field(compare=False)  # kept, so that no other object gets its identity
    module: Any = dataclasses.field(compare=False)  # the module without its arrays
    matrices: tuple[bool, ...] = dataclasses.field(compare=False)  # which arrays are weights: two axes or more


class Own(PyTree):
    """A user's module of one input `[*shape]` to `[width]`, as a network of rows."""

    arrays: Any  # the module with its arrays alone
    frame: Frame = field(static=True)

    @property
    def width(self) -> int:
        """Numbers of an output."""
        return self.frame.width

    def __call__(self, x: jax.Array, keep: tuple[jax.Array, ...] = ()) -> jax.Array:
        """Rows [..., *shape] to [..., width]; bytes (uint8) are given to the module as floats in [0, 1].

        Raises:
            UserError: there are factors of dropout, which a user's module does not take.
        """
        if keep:
            raise UserError("dropout needs the hidden layers of an MLP: set it to 0 with an own network")
        module = eqx.combine(self.arrays, self.frame.module)

        def call(row: jax.Array) -> jax.Array:
            return module(row)

        mapped: Callable[[jax.Array], jax.Array] = call
        for _ in range(x.ndim - len(self.frame.shape)):
            mapped = jax.vmap(mapped)
        return mapped(floats(x))

    def joint(self, obs: jax.Array, x: jax.Array, keep: tuple[jax.Array, ...] = ()) -> jax.Array:
        """The module of (observation, x) side by side: obs [*rows, d] and x [..., *rows, k] to [..., *rows, width]."""
        return self(jnp.concatenate([jnp.broadcast_to(obs, (*x.shape[:-1], obs.shape[-1])), x], -1), keep)

    def squared_weights(self) -> jax.Array:
        """The sum of the squared entries of the arrays that are weights and not biases, see `Frame`."""
        leaves = zip(jax.tree.leaves(self.arrays), self.frame.matrices, strict=True)
        return jnp.asarray(sum(jnp.square(x).sum() for x, matrix in leaves if matrix))

    def columns(self) -> list[jax.Array]:
        """The arrays that are weights and not biases as [in, out], from Equinox's [out, ...]."""
        leaves = zip(jax.tree.leaves(self.arrays), self.frame.matrices, strict=True)
        return [x.reshape(len(x), -1).T for x, matrix in leaves if matrix]


def own_network(noise: Noise, name: str, inputs: int, outputs: int) -> Own:
    """A network of the builder `name`, of rows [..., inputs] to [..., outputs].

    Raises:
        UserError: the builder or its module fails, or the module gives another shape.
    """
    build = builder_of(name)
    made = _made(noise, name, build, (inputs,), (inputs, outputs))
    if made.width != outputs:
        raise UserError(f"network {name} gives [{made.width}] for a row of {inputs} numbers, expected [{outputs}]")
    return made


def own_encoder(noise: Noise, name: str, shape: tuple[int, ...]) -> Own:
    """An encoder of the builder `name`, of observations [..., *shape] to [..., width].

    Raises:
        UserError: the builder or its module fails, or the module gives no vector.
    """
    return _made(noise, name, builder_of(name), shape, (shape,))


def _made(noise: Noise, name: str, build: Builder, shape: tuple[int, ...], sizes: tuple[Any, ...]) -> Own:
    row = jax.ShapeDtypeStruct(shape, jnp.result_type(float))
    try:
        module: Any = build(noise.key, *sizes)
        out = jax.eval_shape(lambda x: module(x), row)
    except UserError:
        raise
    except Exception as fault:
        what = f"{type(fault).__name__}: {one_line(fault)[:200]}"
        raise UserError(f"network {name} fails on one input of shape {list(shape)}: {what}") from fault
    if not isinstance(out, jax.ShapeDtypeStruct) or len(out.shape) != 1 or not jnp.issubdtype(out.dtype, jnp.floating):
        found = f"{list(out.shape)} {out.dtype}" if isinstance(out, jax.ShapeDtypeStruct) else type(out).__name__
        raise UserError(f"network {name} gives {found} for one input of shape {list(shape)}, expected a float vector")
    arrays, rest = eqx.partition(module, eqx.is_array)
    leaves = jax.tree.leaves(arrays)
    for leaf in leaves:
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            raise UserError(
                f"network {name} has an array of type {leaf.dtype}, which no optimiser can move: keep it as a NumPy "
                "array or a tuple"
            )
    if not leaves:
        raise UserError(f"network {name} has no arrays to learn: build an equinox.Module with weights")
    return Own(arrays, Frame(id(build), shape, out.shape[0], build, rest, tuple(x.ndim > 1 for x in leaves)))
