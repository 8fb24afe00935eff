"""Which leaves of a tree a function reads: the rest of a training state need not be shipped with a policy."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal

from ..core.tree import Tree

# calls whose operands and results are those of the program inside, one by one
CALLS = {"jit", "pjit", "closed_call", "core_call", "custom_jvp_call", "custom_vjp_call", "remat2", "checkpoint"}


def reads(fn: Callable, tree: Tree, *rest: Tree) -> list[bool]:
    """For each leaf of `tree` whether `fn(tree, *rest)` may depend on it. Nothing is computed: shapes are enough.

    A backward walk over the program. Loops and branches count as reading all their operands, so the answer errs
    toward keeping a leaf.
    """
    closed = jax.make_jaxpr(fn)(tree, *rest)
    needed = _inputs(closed.jaxpr, [True] * len(closed.jaxpr.outvars))
    return needed[: len(jax.tree.leaves(tree))]


def _inputs(jaxpr: Jaxpr, outputs: Sequence[bool]) -> list[bool]:
    live = {v for v, wanted in zip(jaxpr.outvars, outputs, strict=True) if wanted and not isinstance(v, Literal)}
    for eqn in reversed(jaxpr.eqns):
        wanted = [v in live for v in eqn.outvars]
        if not (any(wanted) or eqn.effects):
            continue
        inner = _inside(eqn)
        used = _inputs(inner, wanted) if inner is not None else [True] * len(eqn.invars)
        live |= {v for v, read in zip(eqn.invars, used, strict=True) if read and not isinstance(v, Literal)}
    return [v in live for v in jaxpr.invars]


def _inside(eqn: JaxprEqn) -> Jaxpr | None:
    if eqn.primitive.name not in CALLS or eqn.effects:
        return None
    for name in ("jaxpr", "call_jaxpr"):
        inner = eqn.params.get(name)
        inner = inner.jaxpr if isinstance(inner, ClosedJaxpr) else inner
        if isinstance(inner, Jaxpr):
            fits = len(inner.invars) == len(eqn.invars) and len(inner.outvars) == len(eqn.outvars)
            return inner if fits else None
    return None
