"""The contract between algorithms and the loop.

An algorithm is a record of pure functions (`Algorithm`). A phase (`Phase`) says how the loop feeds them: from which
sources, with which rows, and what happens between blocks of updates.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from .noise import Noise
from .spec import Batch, Cfg, Memory, Mode, Scalar, Seen, Spec, State, Step
from .trained import Metrics
from .tree import PyTree, field


@dataclasses.dataclass(frozen=True)
class Transitions:
    """One update reads single transitions: leaves `[B, ...]`."""

    columns: tuple[str, ...] = ()  # derived columns by registry name: mc_return, next_action ...
    batches: int = 1  # k: slices of a batch, leaves [k, B, ...]; 1 gives [B, ...]
    # each slice has its own bootstrap sample of the rows: as many as there are, drawn once a run with replacement
    bootstrap: bool = False


@dataclasses.dataclass(frozen=True)
class NStep:
    """One update reads rows that span up to `length` steps of an episode: leaves `[B, ...]`, see `readers.spans`."""

    length: int  # n of n-step returns
    columns: tuple[str, ...] = ()
    batches: int = 1


Anchor = Literal["last", "first", "full"]


@dataclasses.dataclass(frozen=True)
class Windows:
    """One update reads `length` steps of an episode around each drawn row: leaves `[B, K, ...]`, see `readers.windows`.

    Shorter windows are padded on the left: `batch.valid` `[B, K]` is False there. `anchor` says where the drawn row is:

    * "last": the window ends at the drawn row. It is shorter at the start of an episode.
    * "first": the window begins at the drawn row. It is shorter at the end of an episode.
    * "full": the window begins at the drawn row, or as much earlier as the end of the episode requires.
    """

    length: int  # K
    columns: tuple[str, ...] = ()
    batches: int = 1
    anchor: Anchor = "last"


@dataclasses.dataclass(frozen=True)
class Chunks:
    """One update reads the `length` steps that begin at each drawn row: leaves `[B, K, ...]`, see `readers.chunks`.

    `batch.valid` `[B, K]` is False for the steps after the episode's end.
    """

    length: int  # K
    columns: tuple[str, ...] = ()
    batches: int = 1


# What one update reads. `data.feed.readers.READ` has one reader for each; a plan refuses anything else.
Needs = Transitions | NStep | Windows | Chunks


class Frozen(PyTree):
    """The policy of another run, which does not learn: an input of algorithms that evaluate or follow one.

    It takes observations, masks and rewards as the run that uses it sees them: the plan gives that run the treatment
    of its input.
    """

    spec: Spec = field(static=True)
    act: Callable[..., tuple[jax.Array, Memory]] = field(static=True)
    memory: Callable[..., Memory] = field(static=True)
    cfg: Cfg
    state: State
    # (cfg, state, seen, memory) -> a distribution of actions; None: it only acts
    dist: Callable[[Cfg, State, Seen, Memory], Any] | None = field(static=True, default=None)

    def start(self, n: int) -> Memory:
        """Its memory for n environments at the start of an episode."""
        return self.memory(self.cfg, self.spec, n)

    def __call__(self, seen: Seen, memory: Memory, noise: Noise, mode: Mode) -> tuple[jax.Array, Memory]:
        """Its action for each row of `seen`, in [-1, 1] or integers, and its memory after them."""
        return self.act(self.cfg, self.state, seen, memory, noise, mode)


class Data(Protocol):
    """The training columns, as `data.feed.columns.Columns` has them."""

    obs: jax.Array  # [M, *obs], M = N + E
    row: jax.Array  # [N] where each transition starts in `obs`; it leads to the next row
    action: jax.Array  # [N, ...]
    reward: jax.Array  # [N]
    terminated: jax.Array  # [N]
    truncated: jax.Array  # [N]
    mask: jax.Array | None  # [M, A]
    extra: dict[str, jax.Array]  # [N, ...] by column name


class Context(PyTree):
    """What `init`, `enter` and `refresh` may look at; shared by all replicas.

    `update` has no context: a state keeps what its update needs of it, an input for example.
    """

    spec: Spec = field(static=True)
    data: Data | None = None  # the training columns, if there is a data set
    stats: Mapping[str, Scalar] = field(default_factory=dict)  # scalars of the data: return_max, return_min ...
    inputs: dict[str, Frozen] = field(default_factory=dict)  # by the names in `Algorithm.inputs`
    dynamics: Any = None  # the model of another run that this run uses, a `dynamics.ensemble.Ensemble`
    termination: Any = None  # the known rule of the environment's ends, a `dynamics.termination.Rule`
    members: tuple[Context, ...] = ()  # of each agent, if the run learns a team; `spec` is then the joint one


class Collect(NamedTuple):
    """How a phase collects data: `every` updates after each `steps` steps of each of `envs` environments.

    A phase that collects counts environment steps of a replica, not updates. Its ratio of updates to data is
    `every / (envs * steps)`.
    """

    envs: int = 1
    steps: int = 1
    every: int = 1
    warmup: int = 5_000  # environment steps with random actions, before the first update
    delay: int = 0  # environment steps after those in which the policy acts, before the first update
    to: str = "online"  # the ring that the rows join, see `Phase.rings`
    whole: bool = False  # rows join after their episode has ended, with the columns that `needs` names


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

    state: State
    # columns of the data, [N, ...], of a team one for each agent; they are drawn with the data's rows
    columns: Mapping[str, jax.Array | tuple[jax.Array, ...]] = {}
    rows: Mapping[str, Rows] = {}  # ring -> rows to append
    metrics: Metrics = {}


class Phase(NamedTuple):
    """A part of a run with one update rule. None means: as the algorithm says."""

    name: str = "offline"
    steps: int | None = None  # None: all steps of the run
    update: Callable[[Cfg, State, Batch, Noise, Step], tuple[State, Metrics]] | None = None
    needs: Needs | None = None
    batch_size: int | None = None
    plays: bool = True  # False: the updates do not change the policy, so it is not evaluated during the phase
    models: bool = False  # it learns a model of the environment; a run that uses the model of another run skips it
    # source -> share of each batch; or PROPORTIONAL: rows are drawn uniformly from the data and all rings
    mix: Mapping[str, float] | str = {"data": 1.0}
    # views of the data by whole episodes, e.g. {"train": 0.8, "holdout": 0.2}; the same for all replicas of a run
    split: Mapping[str, float] = {}
    # (cfg, state, ctx, noise) -> state, once before the first update; it may change the type of the state
    enter: Callable[[Cfg, State, Context, Noise], State] | None = None
    # (cfg, state, sources, ctx, noise, step) -> Refreshed, before the first update and then every `every` steps,
    # outside the compiled loop. The sources are the data, its views and the rings
    refresh: Callable[[Cfg, State, Mapping[str, Any], Context, Noise, Step], Refreshed] | None = None
    every: int = 0
    # name -> capacity: rings that `refresh` and `collect` fill and that live until the run ends. A ring holds its
    # newest rows. The ring of `collect` needs no entry: its capacity is then CAPACITY
    rings: Mapping[str, int] = {}
    collect: Collect | None = None
    # (cfg, data set) -> [m] numbers of the transitions that the ring of `collect` holds before the first step
    fill: Callable[[Cfg, Any], Any] | None = None
    # (cfg, state) -> boolean: a replica that has stopped is frozen; the phase ends when all have stopped
    until: Callable[[Cfg, State], jax.Array] | None = None

    @property
    def capacities(self) -> dict[str, int]:
        """Capacity of each ring that this phase makes, by name."""
        own = {} if self.collect is None else {self.collect.to: CAPACITY}
        return {**own, **self.rings}


class Treatment(NamedTuple):
    """How data are treated before training: fitted on the training set, frozen, and saved with the policy.

    If `return_scale` is set, rewards are first multiplied by `return_scale / (max return - min return)`. They then
    become `(reward + reward_shift) * reward_scale`.
    """

    normalize_obs: float | None = None
    """Epsilon of (obs - mean) / (std + epsilon). None: leave observations as they are."""
    return_scale: float | None = None
    """Multiply rewards by return_scale / (max return - min return), over whole episodes. None: do not."""
    reward_scale: float = 1.0
    """Factor of the rewards, applied after the shift."""
    reward_shift: float = 0.0
    """Number added to the rewards."""
    clip_actions: float | None = None
    """Clip actions to +-(1 - clip_actions), in units of the action bounds. 0: only actions out of bounds change."""


SCALED = Treatment(normalize_obs=1e-3, return_scale=1000.0)  # TD3+BC's observations, IQL's rewards: suits short logs


class Preset(NamedTuple):
    """Published settings for a family of data sets."""

    config: Cfg
    treatment: Treatment
    source: str  # where the numbers are from


# kinds of actions that an algorithm supports
CONTINUOUS = frozenset({"continuous"})
DISCRETE = frozenset({"discrete"})
BOTH = CONTINUOUS | DISCRETE


def one_phase(cfg: Cfg) -> tuple[Phase, ...]:
    """The default of `Algorithm.phases`: one offline phase over the whole run."""
    return (Phase(),)


def plain_transitions(cfg: Cfg) -> Needs:
    """The default of `Algorithm.needs`: one batch of transitions, without derived columns."""
    return Transitions()


def no_faults(cfg: Cfg) -> list[str]:
    """The default of `Algorithm.check`: every config is valid."""
    return []


def no_memory(cfg: Cfg, spec: Spec, n: int) -> tuple[()]:
    """The default of `Algorithm.memory`: the policy has no memory."""
    return ()


def remembered(fresh: Memory, kept: Memory, start: jax.Array) -> Memory:
    """The memory of n environments: `kept`, and `fresh` where `start` `[n]` says that an episode begins."""

    def choose(new: jax.Array, old: jax.Array) -> jax.Array:
        return jnp.where(start.reshape(-1, *[1] * (new.ndim - 1)), new, old)

    return jax.tree.map(choose, fresh, kept)


class Algorithm(NamedTuple):
    """One paper as pure functions.

    `B` are rows, `n` environments. `cfg` is an instance of `Config`, `state` a pytree whose leaves are arrays. The
    loop applies these functions to each replica with `vmap`, so no function sees the axis of replicas.
    """

    name: str
    Config: type
    # (cfg, ctx, noise) -> state
    init: Callable[[Cfg, Context, Noise], State]
    # (cfg, state, batch, noise, step) -> (state, metrics); None: every phase has its own
    update: Callable[[Cfg, State, Batch, Noise, Step], tuple[State, Metrics]] | None
    # (cfg, state, seen, memory, noise, mode) -> (actions [n, ...], memory)
    act: Callable[[Cfg, State, Seen, Memory, Noise, Mode], tuple[jax.Array, Memory]]
    presets: Mapping[str, Preset]  # the first is the default
    # (cfg, state, seen, memory) -> a distribution of actions
    dist: Callable[[Cfg, State, Seen, Memory], Any] | None = None
    # (cfg, state, obs, action) -> [n] what it estimates that actions are worth, if its critic alone does not say
    value: Callable[[Cfg, State, jax.Array, jax.Array], jax.Array] | None = None
    # (cfg, spec, n) -> the memory at the start of an episode, leaves [n, ...]
    memory: Callable[[Cfg, Spec, int], Memory] = no_memory
    # (cfg, state) -> the return, in treated units, that the policy aims at by default; None: it follows no
    # return. The field `target_return` of its config has the raw returns that evaluations ask for
    target: Callable[[Cfg, State], jax.Array] | None = None
    needs: Callable[[Cfg], Needs] = plain_transitions  # what `update` reads
    phases: Callable[[Cfg], tuple[Phase, ...]] = one_phase  # phases of a run that has logged data
    # (cfg, data set) -> data set, for algorithms that choose what to learn from
    filter: Callable[[Cfg, Any], Any] | None = None
    episodes: bool = False  # whether `filter` or a `refresh` needs whole episodes
    actions: frozenset[str] = CONTINUOUS
    images: bool = False  # whether observations may be images: all its networks come from `parts.nets.network`
    inputs: tuple[str, ...] = ()  # names of policies of other runs; a run must name a folder for each
    online: Callable[[Cfg], tuple[Phase, ...]] | None = None  # phases of a run that has an environment and no data
    finetune: Callable[[Cfg], tuple[Phase, ...]] | None = None  # phases that continue an offline run online
    check: Callable[[Cfg], list[str]] = no_faults  # all faults of a config
    # (cfg, state) -> the model of the environment that the state contains, a `dynamics.ensemble.Ensemble`
    dynamics: Callable[[Cfg, State], Any] | None = None
    # (cfg, state, i) -> algorithm and state with which agent i acts alone. Set for methods of teams: their `update`
    # takes a tuple of batches, one for each agent, and they act on joint observations, see `core.team`
    member: Callable[[Cfg, State, int], tuple[Algorithm, State]] | None = None
