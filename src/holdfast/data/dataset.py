"""`Dataset`: logged episodes as NumPy columns, in the environment's own units."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
from numpy.typing import ArrayLike

from ..core.errors import UserError
from ..core.shown import counted, facts_html, line
from . import scores, spaces
from .arrays import (
    OBSERVATION_COLUMNS,
    as_actions,
    as_observations,
    flags,
    frozen,
    numbers,
    ranges,
    stored,
    take,
    vector,
)
from .build import Facts, RawTable, fields_from_arrays, fields_from_episodes
from .chunks import chunks, extremes, moments
from .facts import checked_facts, spec_facts
from .flat import CutRules
from .join import fields_from_sets
from .references import env_id_of
from .split import by_episodes
from .tables.roles import schema_of
from .tables.schema import Schema

if TYPE_CHECKING:
    from gymnasium.spaces import Box, Discrete

    from ..core.spec import Spec


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """N transitions of E episodes, as read-only NumPy columns in the environment's units.

    An episode of T transitions keeps T + 1 observations, so that no next observation is stored twice: transition i of
    episode e starts at observation row `i + e` and leads to row `i + e + 1`.

    Raises:
        UserError: columns whose lengths or shapes do not agree, columns that do not hold numbers, or spaces that are
            not supported. All other faults of the data are listed by `checks.check.check`.
    """

    observations: np.ndarray  # [N + E, d], or images as bytes [N + E, height, width, channels]
    actions: np.ndarray  # [N, A] float, or [N] int if discrete; in the environment's units
    rewards: np.ndarray  # [N] float64, raw
    terminations: np.ndarray  # [N] bool, true ends
    truncations: np.ndarray  # [N] bool, time limits
    offsets: np.ndarray  # [E + 1] int64: episode e is transitions offsets[e] to offsets[e + 1]
    observation_space: Box
    action_space: Box | Discrete
    id: str = "arrays"
    env_spec: str | None = None  # Gymnasium's EnvSpec as JSON, the form Minari stores
    reference: tuple[float, float] | None = None  # returns of a random and of an expert policy
    columns: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)  # see STORED_COLUMNS
    # JSON-ready: the source, what was left out, which fixes were applied
    provenance: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        def put(name: str, value: Any) -> None:
            object.__setattr__(self, name, value)

        for name, value in checked_facts(self.id, self.env_spec, self.reference, self.provenance).items():
            put(name, value)
        put("observations", as_observations(self.observations, f"{self.id}: observations"))
        if hasattr(self.observation_space, "low"):
            put("observation_space", spaces.flattened(self.observation_space, self.id))
        put("actions", as_actions(self.actions, f"{self.id}: actions", self.action_space))
        for name, value in spaces.joint_actions(self.actions, self.action_space, self.provenance, self.id).items():
            put(name, value)
        put("rewards", frozen(vector(self.rewards, f"{self.id}: rewards").astype(np.float64, copy=False)))
        for name in ("terminations", "truncations"):
            put(name, flags(getattr(self, name), f"{self.id}: {name}"))
        put("offsets", self._whole_offsets())
        put("columns", {k: stored(k, v, f"{self.id}: {k}") for k, v in self.columns.items()})
        spaces.require_supported(self.observation_space, self.action_space, self.id)
        if self.images != (len(self.observation_space.shape) == 3):
            raise UserError(
                f"{self.id}: observations have shape {self.observations.shape} and type {self.observations.dtype}, but "
                f"their space is Box {self.observation_space.shape}; images need both, as bytes (uint8)"
            )
        self._require_lengths()

    def _whole_offsets(self) -> np.ndarray:
        """The offsets as int64.

        Raises:
            UserError: they are not whole numbers [E + 1].
        """
        array = numbers(self.offsets, f"{self.id}: offsets")
        if array.ndim != 1 or not np.array_equal(array, np.floor(array)) or (np.abs(array) > 2**53).any():
            raise UserError(f"{self.id}: offsets of shape {array.shape} are not whole numbers, one more than episodes")
        return frozen(array.astype(np.int64))

    def _require_lengths(self) -> None:
        n = self.n_steps
        e = self.n_episodes
        if e < 0 or self.offsets[:1].tolist() != [0] or (np.diff(self.offsets) < 1).any() or self.offsets[-1] != n:
            raise UserError(
                f"{self.id}: offsets must rise from 0 to {n} (the number of actions), with at least one step an episode"
            )
        wanted = {"observations": n + e, "rewards": n, "terminations": n, "truncations": n}
        wanted |= {k: n + e if k in OBSERVATION_COLUMNS else n for k in self.columns}
        for name, rows in wanted.items():
            have = len(self.columns[name] if name in self.columns else getattr(self, name))
            if have != rows:
                why = "one more than steps for each episode" if rows == n + e else "one for each action"
                raise UserError(f"{self.id}: {name} has {have} rows, expected {rows} ({why}: {n} steps, {e} episodes)")

    # sizes and indices

    def __len__(self) -> int:
        """N, the number of transitions."""
        return self.n_steps

    def __repr__(self) -> str:
        facts = dict(self._facts())
        returns = f", returns {facts['returns']}" if "returns" in facts else ""
        about = f"{facts['steps']} steps in {facts['episodes']} episodes, observations {facts['observations']}"
        return line("Dataset", f"{self.id!r}: {about}, {facts['actions']}{returns}")

    def _repr_html_(self) -> str:
        return facts_html(f"Data set {self.id}", self._facts())

    def _facts(self) -> list[tuple[str, str]]:
        spec = self.spec
        kind = counted(spec.action, f"{'discrete' if self.discrete else 'continuous'} action")
        facts = [("steps", f"{self.n_steps:,}"), ("episodes", f"{self.n_episodes:,}")]
        facts += [("observations", str(spec.obs)), ("actions", kind)]
        if self.n_episodes:
            returns = self.returns()
            facts.append(("returns", f"{returns.min():.4g} to {returns.max():.4g}, mean {returns.mean():.4g}"))
        if self.env_id is not None:
            facts.append(("environment", self.env_id))
        return [*facts, *([("columns", ", ".join(self.columns))] if self.columns else [])]

    @property
    def n_episodes(self) -> int:
        """E, the number of episodes."""
        return len(self.offsets) - 1

    @property
    def n_steps(self) -> int:
        """N, the number of transitions."""
        return len(self.actions)

    @property
    def lengths(self) -> np.ndarray:
        """Transitions of each episode, [E] int64."""
        return np.diff(self.offsets)

    @cached_property
    def episode_of(self) -> np.ndarray:
        """The episode of each transition, [N] int32."""
        return np.repeat(np.arange(self.n_episodes, dtype=np.int32), self.lengths)

    @property
    def observation_rows(self) -> np.ndarray:
        """The observation row of each transition, [N] int64; the next observation is one row below."""
        return np.arange(self.n_steps) + self.episode_of

    @property
    def timesteps(self) -> np.ndarray:
        """Steps since the start of the episode, [N] int64."""
        return np.arange(self.n_steps) - np.repeat(self.offsets[:-1], self.lengths)

    @cached_property
    def observation_moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of all observations, [*obs] float64 each."""
        return moments(self.observations)

    @cached_property
    def observation_extremes(self) -> tuple[np.ndarray, np.ndarray]:
        """The smallest and the largest number of each dimension of the observations, [*obs] each; NaN if one is NaN."""
        return extremes(self.observations)

    # facts about the problem

    @property
    def discrete(self) -> bool:
        """Whether actions are integers of a Discrete space."""
        return not hasattr(self.action_space, "low")

    @property
    def images(self) -> bool:
        """Whether observations are images: bytes [N + E, height, width, channels]."""
        return self.observations.dtype == np.uint8 and self.observations.ndim == 4

    @property
    def horizon(self) -> int | None:
        """Time limit of an episode in steps: that of the environment's spec, else the one given to the source."""
        if self.env_spec is not None:
            return spec_facts(self.env_spec, self.id).get("max_episode_steps")
        return self.provenance.get("max_episode_steps")

    @property
    def env_id(self) -> str | None:
        """Gymnasium's id of the environment; None if it is not known."""
        return env_id_of(self.env_spec)

    @property
    def evaluation_spec(self) -> str | None:
        """EnvSpec (JSON) of the environment to evaluate in: the set's own one for evaluations, else `env_spec`."""
        return self.provenance.get("evaluation_spec") or self.env_spec

    @property
    def spec(self) -> Spec:
        """The shapes of the problem, as algorithms read them."""
        from ..core.spec import Spec, array_spec

        space: Any = self.action_space
        count = int(space.n if self.discrete else space.shape[0])
        return Spec(
            obs=array_spec(tuple(self.observations.shape[1:]), self.observations.dtype),
            action=count,
            discrete=self.discrete,
            masked="action_mask" in self.columns,
            horizon=self.horizon,
        )

    @cached_property
    def table(self) -> Schema | None:
        """The roles of the table that the data come from, complete: categories, labels, replacements; None: no table.

        Raises:
            UserError: the file has another entry there.
        """
        roles = self.provenance.get("table")
        return None if roles is None else schema_of(roles, f"the table of {self.id}")

    @property
    def action_names(self) -> list[str] | None:
        """A name for each discrete action, by its number from 0: the labels of a table; None if there are none."""
        names = None if self.table is None else self.table.action_names
        return names if names is not None and self.discrete and len(names) == self.spec.action else None

    @cached_property
    def propensity(self) -> np.ndarray | None:
        """Probability of each logged action under the logging policy, [N] float64; of a continuous action, its density.

        None if the log does not have it.
        """
        log_prob = self.columns.get("behaviour_log_prob")
        return None if log_prob is None else frozen(np.exp(log_prob.astype(np.float64)))

    @property
    def cluster(self) -> np.ndarray | None:
        """The unit of each step that intervals resample as a whole (a user, a day), [N] int64; None: not logged."""
        found = self.columns.get("cluster")
        return None if found is None else frozen(found.astype(np.int64, copy=False))

    @property
    def weight(self) -> np.ndarray | None:
        """How much each step counts in averages, [N] float64; None if all count the same."""
        found = self.columns.get("weight")
        return None if found is None else frozen(found.astype(np.float64, copy=False))

    def returns(self, discount: float = 1.0) -> np.ndarray:
        """The return of each episode, in raw rewards: [E] float64.

        Args:
            discount: gamma in [0, 1]; 1 gives the plain sum.
        """
        if not self.n_episodes:
            return np.zeros(0)
        weighted = self.rewards if discount == 1.0 else self.rewards * discount**self.timesteps
        return np.add.reduceat(weighted, self.offsets[:-1])

    def normalized(self, returns: Any) -> np.ndarray | None:
        """Normalised score 100 * (return - random) / (expert - random), None if there is no usable reference."""
        usable = self.reference is not None and scores.usable(self.reference)
        return scores.normalized(returns, self.reference) if usable and self.reference else None

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of all columns and offsets, in hexadecimal.

        Columns are cast to fixed types first, so that the same data gives the same hash in every file format.
        """
        digest = hashlib.sha256()
        parts = {
            name: getattr(self, name) for name in ("observations", "actions", "rewards", "terminations", "truncations")
        }
        for name, column in {**parts, "offsets": self.offsets, **dict(sorted(self.columns.items()))}.items():
            fixed = {"f": "<f4", "b": "|u1"}.get(column.dtype.kind, "<i8")
            if name == "observations" and self.images:
                fixed = "|u1"
            if name == "actions":
                fixed = "<i8" if self.discrete else "<f4"
            digest.update(f"{name}{column.shape}{fixed};".encode())
            for part in chunks(len(column), math.prod(column.shape[1:])):
                digest.update(np.ascontiguousarray(column[part], fixed).view(np.uint8).data)
        return digest.hexdigest()

    # parts of a data set

    def select(self, episodes: ArrayLike) -> Dataset:
        """A data set of the given episodes, in the given order.

        Args:
            episodes: indices `[K]` or a mask `[E]` of booleans.
        """
        chosen = np.asarray(episodes)
        chosen = np.flatnonzero(chosen) if chosen.dtype == bool else chosen.astype(np.int64)
        lengths = self.lengths[chosen]
        rows = ranges(self.offsets[:-1][chosen], lengths)
        seen = ranges(self.offsets[:-1][chosen] + chosen, lengths + 1)
        return dataclasses.replace(
            self,
            observations=take(self.observations, seen),
            **{k: getattr(self, k)[rows] for k in ("actions", "rewards", "terminations", "truncations")},
            offsets=np.append(0, np.cumsum(lengths)),
            columns={k: v[seen if k in OBSERVATION_COLUMNS else rows] for k, v in self.columns.items()},
            provenance={**self.provenance, "selected": f"{len(chosen)} of {self.n_episodes} episodes"},
        )

    def split(self, shares: Mapping[str, float], seed: int = 0) -> dict[str, Dataset]:
        """Parts of whole episodes: `{"train": 0.8, "holdout": 0.2}`, see `split.by_episodes`."""
        return {part: self.select(episodes) for part, episodes in by_episodes(self, shares, seed).items()}

    # several data sets as one

    @classmethod
    def concat(cls, sets: Sequence[Dataset], *, shares: Sequence[float] | None = None, seed: int = 0) -> Dataset:
        """One data set with the episodes of several; `provenance["joined"]` tells how many steps each one has.

        Args:
            sets: data sets with the same spaces, from the same environment.
            shares: the share of each set's episodes to take, above 0 and at most 1; None: all episodes.
            seed: seed of the choice of the episodes.

        Raises:
            UserError: no sets, sets whose spaces or environments differ, or other than one share for each set.
        """
        return cls(**fields_from_sets(sets, shares, seed))

    # data sets from arrays in memory

    @classmethod
    def from_arrays(
        cls,
        observations: ArrayLike,
        actions: ArrayLike,
        rewards: ArrayLike,
        terminations: ArrayLike,
        truncations: ArrayLike | None = None,
        next_observations: ArrayLike | None = None,
        *,
        columns: Mapping[str, ArrayLike] | None = None,
        action_bounds: spaces.Bounds | None = None,
        max_episode_steps: int | None = None,
        cut_jumps: bool | None = None,
        keep_last: bool = True,
        terminal_sessions: bool | None = None,
        **facts: Unpack[Facts],
    ) -> Dataset:
        """A data set from flat columns of N rows: one row a step, episodes one after another.

        Without `next_observations`, the next observation of a row is the observation of the following row, and a row
        that ended by a time limit is left out (D4RL's rule, see `data.flat`).

        Args:
            observations: `[N, *obs]`.
            actions: `[N, A]` floats, or `[N]` integers if discrete; in the environment's units.
            rewards: `[N]`, raw.
            terminations: `[N]` flags, true ends.
            truncations: `[N]` flags, time limits.
            next_observations: `[N, *obs]`; they also close the episodes.
            columns: optional columns `[N, ...]`: action_mask, next_action_mask, behaviour_log_prob,
                discount, weight, cluster.
            action_bounds: low and high of a Box of actions; None: [-1, 1].
            max_episode_steps: if there are no truncations, cut episodes after that many steps.
            cut_jumps: end an episode wherever `next_observations` is not the following row; None: only if there are
                no truncations.
            keep_last: keep a terminal last row and close it with its own observation; D4RL drops it.
            terminal_sessions: if there are no `next_observations`, the end of each session (a truncation, the last row)
                is a true end, so that its row and its reward are kept; None: only if all rewards other than 0 are on
                such rows.
            facts: id, observation_space, action_space, env_spec, reference and provenance, as fields of `Dataset`.

        Raises:
            UserError: columns of unequal length, columns that are not numbers, or no transition at all.
        """
        raw = RawTable(
            observations, actions, rewards, terminations, truncations, next_observations, dict(columns or {})
        )
        rules = CutRules(max_episode_steps, cut_jumps, keep_last, terminal_sessions)
        return cls(**fields_from_arrays(raw, rules, action_bounds, facts))

    @classmethod
    def from_episodes(
        cls,
        episodes: Sequence[Mapping[str, ArrayLike]],
        *,
        columns: Mapping[str, ArrayLike] | None = None,
        action_bounds: spaces.Bounds | None = None,
        **facts: Unpack[Facts],
    ) -> Dataset:
        """A data set from a list of episodes.

        Args:
            episodes: mappings with observations `[T + 1, *obs]`, actions, rewards, terminations and truncations `[T]`.
                Optional columns (action_mask, behaviour_log_prob, discount, weight, cluster) are read if every episode
                has them.
            columns: optional columns over all episodes, instead of those in `episodes`.
            action_bounds: low and high of a Box of actions; None: [-1, 1].
            facts: id, observation_space, action_space, env_spec, reference and provenance, as fields of `Dataset`.

        Raises:
            UserError: no episodes, a missing key, or columns of unequal length within an episode.
        """
        return cls(**fields_from_episodes(episodes, columns, action_bounds, facts))
