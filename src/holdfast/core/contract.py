"""The contract: an algorithm is a record of pure functions, a phase says how the loop feeds them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from .noise import Noise
from .spec import Batch, Memory, Spec
from .trained import Metrics
from .tree import PyTree, field


@dataclasses.dataclass(frozen=True)
class Transitions:
    """One update reads single transitions: leaves `[B, ...]`."""

    columns: tuple[str, ...] = ()  # derived columns by registry name: mc_return, next_action ...
    batches: int = 1  # k: slices of a batch, leaves [k, B, ...]; 1 gives [B, ...]


@dataclasses.dataclass(frozen=True)
class NStep:
    """One update reads rows that span up to `length` steps of an episode: leaves `[B, ...]`, see `sampler.spans`."""

    length: int  # n of n-step returns
    columns: tuple[str, ...] = ()
    batches: int = 1


@dataclasses.dataclass(frozen=True)
class Windows:
    """One update reads the `length` steps that end at each drawn row: leaves `[B, K, ...]`, see `sampler.windows`.

    `batch.valid` `[B, K]` is False for the steps before the episode's start.
    """

    length: int  # K
    columns: tuple[str, ...] = ()
    batches: int = 1


# What one update reads. `data.feed.sampler.READ` has one reader for each; a plan refuses anything else.
Needs = Transitions | NStep | Windows


class Frozen(PyTree):
    """Another algorithm's policy, held still: an input of algorithms that evaluate or follow one."""

    act: Callable = field(static=True)
    cfg: Any
    state: Any

    def __call__(self, seen: Any, noise: Any, mode: str) -> jax.Array:
        """Its action for each row of `seen`."""
        return self.act(self.cfg, self.state, seen, (), noise, mode)[0]


class Context(PyTree):
    """What `init`, `enter` and `refresh` may look at; shared by all replicas."""

    spec: Spec = field(static=True)
    data: Any = None  # the training columns, where there is a data set
    stats: dict[str, Any] = field(default_factory=dict)  # scalars of the data: return_max, return_min ...
    inputs: dict[str, Frozen] = field(default_factory=dict)


class Collect(NamedTuple):
    """How a phase gathers data: `every` updates for each `steps` steps of each of `envs` environments.

    A phase with this counts environment steps of a replica; the ratio of updates to data is every / (envs * steps).
    """

    envs: int = 1
    steps: int = 1
    every: int = 1
    warmup: int = 5_000  # environment steps with random actions and no update
    delay: int = 0  # environment steps after those in which the policy acts and is not updated yet
    to: str = "online"  # the ring that the rows join, see `Phase.rings`; it lives until the run ends
    whole: bool = False  # rows wait for their episode's end: then they carry the columns that `needs` names


PROPORTIONAL = "proportional"
CAPACITY = 1_000_000  # rows of the ring of a phase that collects


class Rows(NamedTuple):
    """Rows that a refresh writes into a ring.

    Rows lie in the ring as steps of one environment do. Mark a row as truncated if the next one does not continue it,
    so that n-step rows and windows end there.
    """

    batch: Batch  # leaves [M, ...]; M is static and at most the ring's capacity
    keep: jax.Array  # [M] booleans: which of them to write


class Refreshed(NamedTuple):
    """What a phase's `refresh` gives back."""

    state: Any
    columns: Mapping[str, jax.Array] = {}  # columns of the data, [N, ...]; they are drawn with the data's rows
    rows: Mapping[str, Rows] = {}  # ring -> rows to append
    metrics: Metrics = {}


class Phase(NamedTuple):
    """A stretch of training with one update rule. What is None is the algorithm's own."""

    name: str = "offline"
    steps: int | None = None  # None: all the steps that the run asks for
    update: Callable | None = None
    needs: Needs | None = None
    batch_size: int | None = None
    plays: bool = True  # False: the updates leave the policy as it was, so it is not evaluated along the way
    # source -> share of each batch, a static split; or PROPORTIONAL: rows drawn uniformly from the data and every ring
    mix: Mapping[str, float] | str = {"data": 1.0}
    split: Mapping[str, float] = {}  # views of the data by whole episodes, e.g. {"train": .8, "holdout": .2}
    enter: Callable | None = None  # (cfg, state, ctx, noise) -> state, once; may change the state's type
    # (cfg, state, sources, ctx, noise, step) -> Refreshed, before the first update and then every `every` updates,
    # outside the compiled loop. The sources are the data, its views and the rings
    refresh: Callable[..., Refreshed] | None = None
    every: int = 0
    # name -> capacity: rings that `refresh` and `collect` fill and that live until the run ends. A ring holds its
    # newest rows. That of `collect` needs no entry, its capacity is then CAPACITY
    rings: Mapping[str, int] = {}
    collect: Collect | None = None
    # (cfg, data set) -> [m] transitions of the data, by number, that the ring holds before the phase's first step
    fill: Callable | None = None
    # (cfg, state) -> bool: a replica that has stopped is frozen; the phase ends if all have stopped
    until: Callable | None = None

    @property
    def capacities(self) -> dict[str, int]:
        """Capacity of each ring that this phase makes, by name."""
        own = {} if self.collect is None else {self.collect.to: CAPACITY}
        return {**own, **self.rings}


class Treatment(NamedTuple):
    """How data is treated on its way to training: fitted on the training set, frozen, shipped with the policy.

    Rewards are first multiplied by `return_scale / (max return - min return)` where set, and then become
    `(reward + reward_shift) * reward_scale`.
    """

    normalize_obs: float | None = None  # epsilon of (obs - mean) / (std + epsilon); None: observations as they are
    return_scale: float | None = None  # rewards times return_scale / (max return - min return) over whole episodes
    reward_scale: float = 1.0
    reward_shift: float = 0.0
    clip_actions: float | None = (
        None  # actions clipped to +-(1 - clip_actions), inside units; 0 mends actions out of bounds
    )


SCALED = Treatment(normalize_obs=1e-3, return_scale=1000.0)  # TD3+BC's observations, IQL's rewards: suits short logs


class Preset(NamedTuple):
    """Published settings for a family of data sets."""

    config: Any
    treatment: Treatment
    source: str  # where the numbers are from


def one_phase(cfg: Any) -> tuple[Phase, ...]:
    """The default: one offline phase over the whole run."""
    return (Phase(),)


def plain_transitions(cfg: Any) -> Needs:
    """The default: one batch of transitions and no derived column."""
    return Transitions()


def no_faults(cfg: Any) -> list[str]:
    """The default check of a config."""
    return []


def no_memory(cfg: Any, spec: Spec, n: int) -> tuple:
    """The default: a policy without memory."""
    return ()


def remembered(fresh: Memory, kept: Memory, start: jax.Array) -> Memory:
    """The memory of n environments: `kept`, and `fresh` where `start` `[n]` says that an episode begins."""

    def choose(new: jax.Array, old: jax.Array) -> jax.Array:
        return jnp.where(start.reshape(-1, *[1] * (new.ndim - 1)), new, old)

    return jax.tree.map(choose, fresh, kept)


class Algorithm(NamedTuple):
    """One paper as pure functions. `B` rows, `n` environments; every leaf of a state is an array.

    init:   (cfg, ctx, noise) -> state
    update: (cfg, state, batch, noise, step) -> (state, metrics); None where every phase brings its own
    act:    (cfg, state, seen, memory, noise, mode) -> (action [n, ...], memory); mode is best, sample or explore
    dist:   (cfg, state, seen, memory) -> Distribution, for densities of actions
    value:  (cfg, state, obs, action) -> [n], what it believes actions are worth, where its critic alone does not say
    filter: (cfg, data set) -> data set, for methods that choose what to learn from
    episodes: whether it reads whole episodes otherwise than by derived columns: in a filter or a refresh
    """

    name: str
    Config: type
    init: Callable
    update: Callable | None
    act: Callable
    presets: Mapping[str, Preset]  # the first is the default
    dist: Callable | None = None
    value: Callable | None = None
    memory: Callable = no_memory
    needs: Callable[[Any], Needs] = plain_transitions
    phases: Callable[[Any], tuple[Phase, ...]] = one_phase
    filter: Callable | None = None
    episodes: bool = False
    actions: frozenset[str] = frozenset({"continuous"})
    inputs: tuple[str, ...] = ()
    online: Callable[[Any], tuple[Phase, ...]] | None = None  # phases of a run that has an environment and no data
    finetune: Callable[[Any], tuple[Phase, ...]] | None = None  # phases that take an offline run's last state online
    check: Callable[[Any], list[str]] = no_faults


Update = Callable[[Any, Any, Any, Noise, Any], tuple[Any, dict]]
