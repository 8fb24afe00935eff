"""Acting on raw observations: the policies of R replicas as one compiled step, shared by policies of equal shape."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import PyTreeDef

from ..core.contract import Algorithm, remembered
from ..core.errors import unknown
from ..core.noise import Noise
from ..core.spec import Cfg, Memory, Obs, Seen, Spec, State, Step
from ..data.feed.treatment import Fitted
from .arguments import require_seed
from .pruning import reads

MODES = ("best", "sample")  # the most likely action, or a draw from the policy; exploring is for training


class Layout(NamedTuple):
    """How the leaves that acting reads fit into a state; hashable, equal for policies that share a compiled step."""

    state: Any  # treedef of one replica's state
    cfg: Any  # treedef of its config, static fields inside
    shapes: tuple[tuple[tuple[int, ...], str], ...]  # of every leaf of the state
    live: tuple[bool, ...]  # which of them acting reads

    def build(self, leaves: tuple, cfg_leaves: tuple) -> tuple[Any, Any]:
        """(cfg, state) from the live leaves; zeros for the others, which no action depends on."""
        given = iter(leaves)
        whole = [
            next(given) if is_live else jnp.zeros(*shape) for shape, is_live in zip(self.shapes, self.live, strict=True)
        ]
        return jax.tree.unflatten(self.cfg, cfg_leaves), jax.tree.unflatten(self.state, whole)

    def keep(self, state: State) -> tuple:
        """The live leaves of a state."""
        return tuple(x for x, is_live in zip(jax.tree.leaves(state), self.live, strict=True) if is_live)


def layout_of(algorithm: Algorithm, cfg: Cfg, state: State, spec: Spec) -> Layout:
    """The layout of one replica's (cfg, state), arrays or shapes alike: a leaf is live if act or dist may read it."""
    leaves, state_def = jax.tree.flatten(state)
    shapes = tuple((tuple(x.shape), np.dtype(x.dtype).name) for x in leaves)
    return _layout(algorithm.act, algorithm.dist, algorithm.memory, spec, state_def, shapes, *_structure(cfg))


@functools.lru_cache(maxsize=64)
def _layout(
    act: Callable,
    dist: Callable | None,
    memory: Callable,
    spec: Spec,
    state_def: PyTreeDef,
    shapes: tuple,
    cfg_def: PyTreeDef,
    cfg_shapes: tuple,
) -> Layout:
    cfg = jax.tree.unflatten(cfg_def, [jax.ShapeDtypeStruct(*s) for s in cfg_shapes])
    state = jax.tree.unflatten(state_def, [jax.ShapeDtypeStruct(*s) for s in shapes])
    seen = jax.eval_shape(lambda: _blank(spec, 1))
    key = jax.eval_shape(lambda: jax.random.PRNGKey(0))

    def outputs(state: State, cfg: Cfg, seen: Seen, key: jax.Array) -> Any:
        kept = memory(cfg, spec, 1)
        acted = [act(cfg, state, seen, kept, Noise(key), mode) for mode in MODES]
        return acted, None if dist is None else jax.tree.leaves(dist(cfg, state, seen, kept))

    return Layout(state_def, cfg_def, shapes, tuple(reads(outputs, state, cfg, seen, key)))


@functools.lru_cache(maxsize=64)
def compiled(act: Callable, memory: Callable, spec: Spec, layout: Layout, mode: str, many: bool) -> Callable:
    """The jitted step `(leaves, cfg, given, memory, key, time, updates) -> (actions, memory)`.

    `given` is (obs, reward, mask, start, target), of shapes [n, ...], or [R, n, ...] with `many`. Rows with `start` set
    begin with a fresh memory.
    """

    def one(leaves: tuple, cfg_leaves: tuple, given: tuple, kept: Memory, key: jax.Array, updates: Step) -> Any:
        cfg, state = layout.build(leaves, cfg_leaves)
        obs, reward, mask, start, target = given
        fresh = memory(cfg, spec, start.shape[0])
        kept = remembered(fresh, kept, start)
        return act(cfg, state, Seen(obs, reward, mask, updates, target), kept, Noise(key), mode)

    def step(
        leaves: tuple, cfg_leaves: tuple, given: tuple, kept: Memory, key: jax.Array, time: Step, updates: Step
    ) -> Any:
        key = jax.random.fold_in(key, time)
        if not many:
            return one(leaves, cfg_leaves, given, kept, jax.random.fold_in(key, 0), updates)
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(given[3].shape[0]))
        return jax.vmap(one, (0, 0, 0, 0, 0, None))(leaves, cfg_leaves, given, kept, keys, updates)

    return jax.jit(step)


@functools.lru_cache(maxsize=64)
def _compiled_memory(memory: Callable, spec: Spec, cfg_def: PyTreeDef, n: int, many: bool) -> Callable:
    def blank(cfg_leaves: tuple) -> Any:
        return memory(jax.tree.unflatten(cfg_def, cfg_leaves), spec, n)

    return jax.jit(jax.vmap(blank) if many else blank)


class Replicas:
    """R policies of one algorithm that differ in their config's floats and in their states, acting in one program."""

    def __init__(
        self, algorithm: Algorithm, cfg: Cfg, state: State, spec: Spec, fitted: Fitted, updates: int = 0
    ) -> None:
        """
        Args:
            algorithm: the record of functions.
            cfg: its config, every float stacked to [R].
            state: its state, every leaf stacked to [R, ...].
            spec: shapes of the problem.
            fitted: the treatment of observations and actions, fitted on the training data.
            updates: updates done so far, for policies that follow a schedule.
        """
        self.algorithm = algorithm
        self.spec = spec
        self.fitted = fitted
        self.updates = np.int32(updates)
        leaves = jax.tree.leaves(state) or jax.tree.leaves(cfg)
        self.count = int(leaves[0].shape[0])
        one_cfg, one_state = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), (cfg, state))
        self.layout = layout_of(algorithm, one_cfg, one_state, spec)
        self.leaves = self.layout.keep(state)
        self.cfg_leaves = tuple(jax.tree.leaves(cfg))
        if self.count == 1:  # a batched matrix product over one replica is slower than a plain one
            self.leaves, self.cfg_leaves = jax.tree.map(lambda x: x[0], (self.leaves, self.cfg_leaves))

    def start(self, n: int, mode: str = "best", seed: int = 0) -> Acting:
        """Begin to act in n environments for each replica, with fresh memories and the noise of `seed`."""
        return Acting(self, n, mode, seed)


class Acting:
    """R policies acting in n environments each, step by step; holds their memories and the place in the noise."""

    def __init__(self, team: Replicas, n: int, mode: str, seed: int) -> None:
        if not isinstance(mode, str) or mode not in MODES:
            raise unknown("mode of acting", str(mode), MODES)
        algorithm = team.algorithm
        self.team = team
        self.many = team.count > 1
        self.step = compiled(algorithm.act, algorithm.memory, team.spec, team.layout, mode, self.many)
        self.memory = _compiled_memory(algorithm.memory, team.spec, team.layout.cfg, n, self.many)(team.cfg_leaves)
        self.key = jax.random.PRNGKey(require_seed(seed))
        self.time = 0

    def __call__(
        self,
        obs: Obs,
        reward: np.ndarray,
        mask: np.ndarray | None,
        start: np.ndarray,
        target: np.ndarray | None = None,
    ) -> np.ndarray:
        """Actions in the environment's units, [R, n, ...].

        Args:
            obs: raw observations, [R, n, *obs].
            reward: raw rewards of the step before, [R, n].
            mask: legal actions, [R, n, A] booleans, or None.
            start: which rows begin an episode, [R, n]: they get a fresh memory, and 0 for their reward.
            target: raw returns that are asked for, [R, n]; None: the policies' own, or they follow none.
        """
        team = self.team
        obs = team.fitted.observe(obs)
        reward = np.where(start, np.float32(0), team.fitted.rewards(reward))
        given = (obs, reward, mask, start, None if target is None else team.fitted.returns(target))
        if not self.many:
            given = jax.tree.map(lambda x: x[0], given)
        inside, self.memory = self.step(
            team.leaves, team.cfg_leaves, given, self.memory, self.key, np.uint32(self.time), team.updates
        )
        self.time += 1
        inside = np.asarray(inside)
        return team.fitted.act_outside(inside if self.many else inside[None])


def _structure(cfg: Cfg) -> tuple[Any, tuple]:
    leaves, treedef = jax.tree.flatten(cfg)
    return treedef, tuple((tuple(x.shape), np.dtype(x.dtype).name) for x in leaves)


def _blank(spec: Spec, n: int) -> Seen:
    mask = jnp.ones((n, spec.action), bool) if spec.masked else None
    obs = jax.tree.map(jnp.asarray, spec.blank_obs(n))
    return Seen(obs, jnp.zeros(n, jnp.float32), mask, jnp.int32(0))
