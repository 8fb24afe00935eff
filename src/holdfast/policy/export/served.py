"""What a service computes: raw rows in, actions out, as one function of arrays by name with a free number of rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
from numpy.typing import DTypeLike

from ...core import config
from ...core.contract import remembered
from ...core.errors import UserError, one_line
from ...core.noise import Noise
from ...core.spec import ArraySpec, Mode, Obs, Scalar, Seen
from ...core.tree import Tree, name_of
from ...data.tables.encoding import codes_of
from ...data.tables.schema import Column, text_of
from ...environments.gym import joint_actions
from ..actor import Actor
from ..judge import Judge
from ..pruning import reads
from ..support import Reference, Support, fallback_inside, gaps, score
from .graph import ROWS, Dim, Port, port

if TYPE_CHECKING:
    from gymnasium.spaces import Space

Arrays = dict[str, Any]  # arrays by name


class Draws:
    """Noise that is an input of the program: each draw reads the array `noise.NAME`.

    Attributes:
        found: the draws by name, with their kind ("normal", or "uniform" in [0, 1)) and their shape.
        arrays: the arrays of the draws. None: they are made by `source`, or zeros if it is None, and put into `made`.
    """

    def __init__(self, arrays: Arrays | None = None, source: Noise | None = None, prefix: str = "noise.") -> None:
        self.arrays = arrays
        self.source = source
        self.prefix = prefix
        self.found: dict[str, tuple[str, tuple]] = {}
        self.made: Arrays = {}

    def sub(self, name: str) -> Draws:
        return self._inner(f"{name}.", None if self.source is None else self.source.sub(name))

    def fold(self, i: jax.Array | int) -> Draws:
        if isinstance(i, jax.core.Tracer):
            raise UserError("this policy draws noise in a loop, which cannot be exported")
        return self._inner(f"{int(i)}.", None if self.source is None else self.source.fold(i))

    def normal(self, name: str, shape: tuple[int, ...], dtype: DTypeLike | None = None) -> jax.Array:
        return self._draw("normal", name, shape)

    def uniform(self, name: str, shape: tuple[int, ...], dtype: DTypeLike | None = None) -> jax.Array:
        return self._draw("uniform", name, shape)

    def bernoulli(self, name: str, p: Scalar, shape: tuple[int, ...]) -> jax.Array:
        return self._draw("uniform", name, shape) < p

    def integers(self, name: str, shape: tuple[int, ...], n: Scalar) -> jax.Array:
        raise UserError(f"this policy draws whole numbers ('{name}'), which cannot be exported")

    def _inner(self, name: str, source: Noise | None) -> Draws:
        inner = Draws(self.arrays, source, self.prefix + name)
        inner.found = self.found
        inner.made = self.made
        return inner

    def _draw(self, kind: str, name: str, shape: tuple[int, ...]) -> jax.Array:
        name = self.prefix + name
        self.found[name] = (kind, tuple(shape))
        if self.arrays is not None:
            return self.arrays[name]
        source = self.source
        made = jnp.zeros(shape, jnp.float32)
        if source is not None:
            draw = source.normal if kind == "normal" else source.uniform
            made = draw(name.rpartition(".")[2], shape)
        self.made[name] = made
        return made


class Served(NamedTuple):
    """A policy as one function.

    Attributes:
        function: from the inputs, in their order, to a tuple of the outputs.
        arguments: shapes of the inputs, for `jax.export`.
        inputs: what it takes, in the order of the file.
        outputs: names of what it gives.
        draws: kind of each draw of noise among the inputs, "normal" or "uniform".
        program: the traced function, a closed jaxpr.
    """

    function: Callable[..., tuple]
    arguments: list[jax.ShapeDtypeStruct]
    inputs: list[Port]
    outputs: list[str]
    draws: dict[str, str]
    program: Any


def serve(policy: Judge, mode: Mode) -> Served:
    """The function of a policy, traced with a free number of rows.

    Args:
        policy: the policy.
        mode: "best" or "sample".

    Raises:
        UserError: a part of the policy that cannot be traced. The line names it.
    """
    (n,) = jax.export.symbolic_shape(ROWS)
    shapes = _shapes(policy, n)
    looked = Draws()
    try:
        jax.eval_shape(lambda given: act(policy, given, looked, mode), shapes)
    except UserError:
        raise
    except Exception as error:  # algorithms of other authors fail with various errors
        what = f"{type(error).__name__}: {one_line(error)[:160]}"
        raise UserError(f"{policy.algorithm.name} cannot be exported with a free number of rows ({what})") from error
    shapes |= {name: jax.ShapeDtypeStruct(shape, jnp.float32) for name, (_, shape) in looked.found.items()}

    def function(given: Arrays) -> Arrays:
        return act(policy, given, Draws(given), mode)

    keep = reads(function, shapes)
    first = next(iter(_observations(policy, n)))  # also a constant action has one row for each observation
    wanted = {name: shapes[name] for name, read in zip(sorted(shapes), keep, strict=True) if read or name == first}
    order = [first, *(name for name in wanted if name != first)]
    others = {name: shapes[name] for name in shapes if name not in wanted}

    outputs: list[str] = []

    def narrowed(*values: jax.Array) -> tuple:
        given = dict(zip(order, values, strict=True))
        found = function({**{name: jnp.zeros(x.shape, x.dtype) for name, x in others.items()}, **given})
        outputs[:] = found
        return tuple(found.values())

    arguments = [wanted[name] for name in order]
    program = jax.make_jaxpr(narrowed)(*arguments)
    ports = [port(name, x.shape, x.dtype) for name, x in zip(order, arguments, strict=True)]
    kinds = {name: kind for name, (kind, _) in looked.found.items() if name in wanted}
    return Served(narrowed, arguments, ports, outputs, kinds, program)


def act(policy: Judge, given: Arrays, noise: Draws, mode: Mode) -> Arrays:
    """Actions in the environment's units, the score of support, and the next memory, of the inputs by name."""
    raw = _given_observations(policy, given)
    acted = _acted(policy, raw, given, noise, mode)
    action = acted.action
    guard: Arrays = {}
    if policy.support_model is not None:
        action, guard = _guarded(policy, policy.support_model, raw, given, acted, noise)
    if policy.raw_action_space is not None:
        action = _parts(policy.raw_action_space, action)
    return {"action": action, **guard, **{f"next_memory.{name}": x for name, x in acted.memory.items()}}


class _Acted(NamedTuple):
    """What a policy does."""

    observed: Any  # treated observations
    inside: jax.Array  # actions in inside units
    action: jax.Array  # in the environment's units
    memory: Arrays  # the next one by name


def _acted(policy: Actor, raw: Obs, given: Arrays, noise: Draws, mode: Mode) -> _Acted:
    spec = policy.spec
    numbers = jax.tree.map(jnp.asarray, policy.fitted.numbers())
    cfg = config.as_arrays(policy.cfg)
    obs: Any = raw if policy.fitted.keep_types else numbers.observe(raw)
    rows = jax.tree.leaves(obs)[0].shape[0]
    fresh = policy.algorithm.memory(cfg, spec, rows)
    paths, treedef = jax.tree_util.tree_flatten_with_path(fresh)
    names = [name_of(path) or "value" for path, _ in paths]
    kept = jax.tree.unflatten(treedef, [given[f"memory.{name}"] for name in names])
    start = given["start"]
    reward = jnp.where(start, jnp.float32(0), numbers.rewards(given["reward"]))
    mask = given.get("mask") if spec.masked else None
    seen = Seen(obs, reward, mask, jnp.int32(policy.info.get("step", 0)))
    draws: Any = noise
    inside, after = policy.algorithm.act(cfg, policy.state, seen, remembered(fresh, kept, start), draws, mode)
    memory = dict(zip(names, jax.tree.leaves(after), strict=True))
    return _Acted(obs, inside, numbers.act_outside(inside), memory)


def _guarded(
    policy: Actor, model: Support, raw: Obs, given: Arrays, acted: _Acted, noise: Draws
) -> tuple[jax.Array, Arrays]:
    """The actions with the fallback in place of those whose support is too low, and the outputs of the score."""
    ref = Reference(*(jnp.asarray(x) for x in model.reference))
    scores = score(ref, gaps(ref, acted.observed, acted.inside, model.discrete))
    if model.fallback is None:
        return acted.action, {"support": scores}
    low = scores < jnp.float32(model.false_alarms)
    if model.fallback.policy is not None:
        other = _acted(model.fallback.policy, raw, given, noise.sub("fallback"), "best").action
    else:
        numbers = jax.tree.map(jnp.asarray, policy.fitted.numbers())
        other = numbers.act_outside(fallback_inside(model, acted.observed))
    chosen = jnp.where(low if acted.action.ndim == 1 else low[:, None], other, acted.action)
    return chosen, {"support": scores, "fallback": low}


def _parts(space: Space, number: jax.Array) -> jax.Array:
    each = joint_actions.counts(space)
    if each is None:
        return number
    start = np.ravel(getattr(space, "start", 0)).astype(np.int32)
    found = []
    for i, count in enumerate(each.tolist()):
        after = int(np.prod(each[i + 1 :]))
        found.append(jax.lax.rem(jax.lax.div(number, jnp.int32(after)), jnp.int32(count)))
    parts = jnp.stack(found, -1) + start[None]
    return parts.reshape(number.shape[0], *(space.shape or ()))


def _observations(policy: Actor, n: Dim) -> dict[str, jax.ShapeDtypeStruct]:
    if policy.table is not None:
        return {"row": jax.ShapeDtypeStruct((n, len(policy.table.observations)), jnp.float32)}
    arrays = policy.spec.obs_arrays
    if isinstance(arrays, ArraySpec):
        return {"observation": jax.ShapeDtypeStruct((n, *arrays.shape), arrays.dtype)}
    return {f"observation.{k}": jax.ShapeDtypeStruct((n, *one.shape), one.dtype) for k, one in arrays.items()}


def _given_observations(policy: Actor, given: Arrays) -> Obs:
    if policy.table is not None:
        columns = [block(column, given["row"][:, i]) for i, column in enumerate(policy.table.observations)]
        return jnp.concatenate(columns, -1)
    arrays = policy.spec.obs_arrays
    if isinstance(arrays, ArraySpec):
        return given["observation"]
    return {name: given[f"observation.{name}"] for name in arrays}


def block(column: Column, values: jax.Array) -> jax.Array:
    """The numbers of one column, [n, width] float32: `data.tables.encoding.fill_block` in a program.

    Args:
        column: the column, complete.
        values: numbers, or places of categories in their list, [n] float32. NaN is a missing value.
    """
    absent = jnp.isnan(values)
    categories = column.categories or ()
    if column.kind == "one-hot":
        if column.missing == "constant":
            values = jnp.where(absent, codes_of(categories)[text_of(column.value)], values)
        found = [(values == i).astype(jnp.float32) for i in range(len(categories))]
    else:
        fill: Any = column.value
        if column.kind == "ordinal" and column.missing != "refuse":
            fill = 0.0 if column.missing == "indicator" else codes_of(categories)[text_of(fill)]
        covered = column.missing != "refuse"
        found = [jnp.where(absent, jnp.float32(0.0 if fill is None else fill), values) if covered else values]
    if column.missing == "indicator":
        found.append(absent.astype(jnp.float32))
    return jnp.stack(found, -1)


def _shapes(policy: Actor, n: Dim) -> dict[str, jax.ShapeDtypeStruct]:
    """Everything that a policy may read, without noise."""
    spec = policy.spec
    found = dict(_observations(policy, n))
    if spec.masked:
        found["mask"] = jax.ShapeDtypeStruct((n, spec.action), jnp.bool_)
    found["reward"] = jax.ShapeDtypeStruct((n,), jnp.float32)
    found["start"] = jax.ShapeDtypeStruct((n,), jnp.bool_)
    kept: Tree = jax.eval_shape(lambda: policy.algorithm.memory(config.as_arrays(policy.cfg), spec, 1))
    for path, leaf in jax.tree_util.tree_leaves_with_path(kept):
        found[f"memory.{name_of(path) or 'value'}"] = jax.ShapeDtypeStruct((n, *leaf.shape[1:]), leaf.dtype)
    return found
