"""`Dataset`: logged episodes as NumPy columns, in the environment's own units."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
from numpy.typing import ArrayLike

from ..core.shown import counted, facts_html, line
from . import scores, spaces
from .arrays import OBSERVATION_COLUMNS, are_images, frozen, ranges, take
from .build import Facts, RawTable, fields_from_arrays, fields_from_episodes
from .chunks import extremes, moments
from .facts import spec_facts
from .fields import checked_fields
from .fingerprint import fingerprint_of
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
        given = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        for name, value in checked_fields(given).items():
            object.__setattr__(self, name, value)

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
        return are_images(self.observations)

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

    def normalized(self, returns: ArrayLike) -> np.ndarray | None:
        """Normalised score 100 * (return - random) / (expert - random), None if there is no usable reference."""
        usable = self.reference is not None and scores.usable(self.reference)
        return scores.normalized(returns, self.reference) if usable and self.reference else None

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of all columns and offsets, in hexadecimal: the same for the same data in every file format."""
        names = ("observations", "actions", "rewards", "terminations", "truncations", "offsets")
        columns = {name: getattr(self, name) for name in names} | dict(sorted(self.columns.items()))
        return fingerprint_of(columns, self.images, self.discrete)

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
