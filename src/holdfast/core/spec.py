"""The shapes of a problem, the rows that an algorithm learns from, and what its policy sees when it acts."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import jax
import numpy as np

from .tree import PyTree, field

Mode = Literal["best", "sample", "explore"]  # the most likely action, a draw from the policy, or a draw for exploring
Scalar = jax.Array | float  # a number, traced or not
Step = jax.Array | int  # a number of updates, traced or not
Config = Any  # an instance of an algorithm's config class, see `core.config.config`
State = Any  # a training state: a pytree of arrays
Array = np.ndarray | jax.Array
Memory = PyTree | tuple[()] | dict[str, jax.Array] | jax.Array  # what a policy keeps from step to step: leaves [n, ...]


class Spec(NamedTuple):
    """Shapes of a problem; hashable and static.

    Actions are in [-1, 1] inside Holdfast, whatever the environment's bounds: `Policy` converts at the border.
    Discrete actions are integers from 0, whatever the start of the environment's space.
    """

    obs: tuple[int, ...]  # shape of one observation
    action: int  # dimensions of an action, or how many discrete actions there are
    discrete: bool = False
    masked: bool = False  # rows carry which actions are legal
    horizon: int | None = None  # time limit of an episode in steps; None: episodes have none

    @property
    def action_shape(self) -> tuple[int, ...]:
        """Shape of one action: `()` if actions are discrete."""
        return () if self.discrete else (self.action,)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready values: what a policy folder keeps. The inverse of `from_dict`."""
        return self._asdict()

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Spec:
        """The spec that `to_dict` wrote; version 0.1.0 also wrote `agents`, which was always 1."""
        own = {name: values[name] for name in cls._fields}
        return cls(**{**own, "obs": tuple(values["obs"])})


class Batch(PyTree):
    """Rows drawn for one update: `[B, ...]`; `[k, B, ...]` with k slices; `[B, K, ...]` with windows of K steps.

    `terminated` is 1 at true ends only and stops the bootstrap. `truncated` is 1 at time limits.

    `extra` holds every other column by name. These are the columns that `Needs.columns` names, those that a `refresh`
    writes, "discount" with n-step rows and "valid" with windows. Read them as attributes: `batch.mc_return`.
    """

    obs: jax.Array
    action: jax.Array
    reward: jax.Array
    next_obs: jax.Array
    terminated: jax.Array
    truncated: jax.Array
    mask: jax.Array | None = None  # legal actions at obs: [B, A] booleans
    next_mask: jax.Array | None = None
    extra: dict[str, jax.Array] = field(default_factory=dict)  # other columns by name, see above
    parts: tuple[tuple[str, int, int], ...] = field(static=True, default=())  # (source, start, stop) along B
    axis: int = field(static=True, default=-1)  # of `reward`, along which B lies: -1; -2 in windows [B, K]

    def __getattr__(self, name: str) -> jax.Array:
        extra = object.__getattribute__(self, "extra") if name != "extra" else {}
        if name in extra:
            return extra[name]
        raise AttributeError(f"this batch has no column '{name}': name it in needs")

    def of(self, source: str) -> Batch:
        """The rows that came from one source of a mix."""
        for name, start, stop in self.parts:
            if name == source:
                cut = functools.partial(jax.lax.slice_in_dim, start_index=start, limit_index=stop)
                cut = functools.partial(cut, axis=self.reward.ndim + self.axis)
                return Batch(**{**vars(jax.tree.map(cut, self)), "parts": ()})
        raise KeyError(f"no rows of '{source}' in this batch; its parts: {[p[0] for p in self.parts]}")


class Seen(PyTree):
    """What a policy sees when it acts, for n environments at once."""

    obs: jax.Array  # [n, ...]
    reward: jax.Array  # [n] treated reward of the step before; 0 at an episode's start
    mask: jax.Array | None = None  # [n, A] legal actions
    step: Step = 0  # updates so far, for schedules of exploration
