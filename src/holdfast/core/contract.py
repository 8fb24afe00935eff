"""The contract: an algorithm is a record of pure functions, a phase says how the loop feeds them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax

from .noise import Noise
from .spec import Spec
from .tree import PyTree, field


class Needs(NamedTuple):
    """What one update reads. The sampler builds exactly this, or the run is refused before compilation."""

    batches: int = 1  # k: slices of a batch, leaves [k, B, ...]; 1 gives [B, ...]
    columns: tuple[str, ...] = ()  # derived columns by registry name: mc_return, next_action ...
    kind: str = "transitions"  # or "nstep": rows that span `length` steps, fewer where an episode ends
    length: int = 1  # n of n-step returns


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
    to: str = "online"  # the source that the rows join; it lives until the run ends
    capacity: int = 1_000_000  # newest rows that are kept
    whole: bool = False  # rows wait for their episode's end: then they carry the columns that `needs` names


PROPORTIONAL = "proportional"


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
    # (cfg, state, sources, ctx, noise, step) -> (state, {name: column [N]}, metrics), before the first update and then
    # every `every` updates, outside the compiled loop; the columns are drawn with the data's rows
    refresh: Callable | None = None
    every: int = 0
    collect: Collect | None = None
    # (cfg, data set) -> [m] transitions of the data, by number, that the ring holds before the phase's first step
    fill: Callable | None = None
    until: Callable | None = (
        None  # (cfg, state) -> bool: a replica that has stopped is frozen; all stopped ends the phase
    )


class Treatment(NamedTuple):
    """How data is treated on its way to training: fitted on the training set, frozen, shipped with the policy.

    Rewards are first multiplied by `return_scale / (max return - min return)` where set, and then become
    `(reward + reward_shift) * reward_scale`.
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

    config: Any
    treatment: Treatment
    source: str  # where the numbers are from


def one_phase(cfg: Any) -> tuple[Phase, ...]:
    """The default: one offline phase over the whole run."""
    return (Phase(),)


def plain_transitions(cfg: Any) -> Needs:
    """The default: one batch of transitions and no derived column."""
    return Needs()


def no_faults(cfg: Any) -> list[str]:
    """The default check of a config."""
    return []


def no_memory(cfg: Any, spec: Spec, n: int) -> tuple:
    """The default: a policy without memory."""
    return ()


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
