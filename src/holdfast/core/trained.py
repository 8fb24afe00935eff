"""A network with its optimiser's state, the one place where a gradient step is taken, and the metrics it reports."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import optax

from .tree import PyTree

S = TypeVar("S")

Network = Any  # a pytree of parameters
Data = Any  # an argument of a loss that is not differentiated: a pytree of arrays
Metrics = dict[str, Any]  # name -> scalar, or (scalar, weight) where a step may be skipped


class Trained(PyTree):
    """A network (or any tree of parameters) and the state of the optimiser that moves it."""

    net: Any
    opt: Any

    @staticmethod
    def new(net: Network, tx: optax.GradientTransformation) -> Trained:
        return Trained(net, tx.init(net))

    def replace(self, net: Network) -> Trained:
        """The same optimiser state around other parameters."""
        return Trained(net, self.opt)

    def step(self, tx: optax.GradientTransformation, loss: Callable, *args: Data, name: str) -> tuple[Trained, Metrics]:
        """One gradient step on `loss(net, *args) -> (scalar, metrics)`.

        Gradients flow into `net` alone: `args` are data. Metrics come back as `name/loss`,
        `name/gradient_norm` (2-norm before any clipping by `tx`) and `name/...` for each the loss returns.
        """
        (value, aux), gradient = jax.value_and_grad(loss, has_aux=True)(self.net, *args)
        updates, opt = tx.update(gradient, self.opt, self.net)
        found = {"loss": value, "gradient_norm": optax.tree.norm(gradient), **aux}
        return Trained(optax.apply_updates(self.net, updates), opt), {f"{name}/{key}": v for key, v in found.items()}


def merge(*parts: Metrics) -> Metrics:
    """All metrics in one dict; two of the same name are a mistake in the algorithm, not something to lose silently."""
    whole: Metrics = {}
    for part in parts:
        twice = whole.keys() & part.keys()
        if twice:
            raise ValueError(f"metrics reported twice: {sorted(twice)}")
        whole.update(part)
    return whole


def weighted(metrics: Metrics) -> dict[str, tuple[jax.Array, jax.Array]]:
    """Metrics as (value, weight); the weight is 1 if a metric has none."""
    pairs = {k: v if isinstance(v, tuple) else (v, 1.0) for k, v in metrics.items()}
    return {k: (jnp.asarray(v, jnp.float32), jnp.asarray(w, jnp.float32)) for k, (v, w) in pairs.items()}


def occasionally(pred: jax.Array | bool, fn: Callable[[S], tuple[S, Metrics]], state: S) -> tuple[S, Metrics]:
    """`fn(state)` where `pred` holds, else the state unchanged and metrics of weight 0.

    `pred` must come from the loop's own step, which is the same for every replica: then this stays a real branch
    under `vmap` and a skipped update costs nothing.
    """
    shapes = jax.eval_shape(lambda s: weighted(fn(s)[1]), state)

    def skip(s: S) -> tuple[S, Any]:
        return s, jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)

    def take(s: S) -> tuple[S, Any]:
        s, metrics = fn(s)
        return s, weighted(metrics)

    return jax.lax.cond(pred, take, skip, state)
