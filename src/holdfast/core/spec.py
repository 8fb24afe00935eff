"""The shapes of a problem, the rows that an algorithm learns from, and what its policy sees when it acts."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
from numpy.typing import DTypeLike

from .networks import Networks
from .tree import PyTree, field

Mode = Literal["best", "sample", "explore"]  # the most likely action, a draw from the policy, or a draw for exploring
Scalar = jax.Array | float  # a number, traced or not
Step = jax.Array | int  # a number of updates, traced or not
Cfg = Any  # an instance of an algorithm's config class, see `core.config.config`
State = Any  # a training state: a pytree of arrays
Array = np.ndarray | jax.Array
# what a policy keeps from step to step, leaves [n, ...]; of a team, a tuple of memories
Memory = PyTree | tuple[Any, ...] | dict[str, jax.Array] | jax.Array


class ArraySpec(NamedTuple):
    """One array of an observation. Bytes (uint8) stay bytes in data, rings and batches."""

    shape: tuple[int, ...]
    dtype: str = "float32"

    def __str__(self) -> str:
        return f"{self.shape} {self.dtype}"


# float32 vectors by their shape; another array; or several arrays by name, sorted: (("image", ArraySpec(...)), ...)
ObsSpec = tuple[int, ...] | ArraySpec | tuple[tuple[str, ArraySpec], ...]
Obs = Any  # observations: an array [..., *shape], or a dict of such arrays


def array_spec(shape: tuple[int, ...], dtype: DTypeLike) -> ObsSpec:
    """The `Spec.obs` of observations that are one array: images keep their bytes, others become float32."""
    if np.dtype(dtype) == np.uint8 and len(shape) == 3:
        return ArraySpec(shape, "uint8")
    return shape


def named(**arrays: ArraySpec) -> tuple[tuple[str, ArraySpec], ...]:
    """The `Spec.obs` of observations that are several arrays by name."""
    return tuple(sorted(arrays.items()))


LATER = ("encoder", "networks")  # entries that version 0.1.0 does not know


class Spec(NamedTuple):
    """Shapes of a problem; hashable and static.

    Actions are in [-1, 1] inside Holdfast, whatever the environment's bounds: `Policy` converts at the border.
    Discrete actions are integers from 0, whatever the start of the environment's space.
    """

    obs: Any  # an `ObsSpec`: the shape of one observation, if it is a float32 array
    action: int  # dimensions of an action, or how many discrete actions there are
    discrete: bool = False
    masked: bool = False  # rows carry which actions are legal
    horizon: int | None = None  # time limit of an episode in steps; None: episodes have none
    encoder: str | None = None  # of images, see `parts.encoders`; None: chosen by their size. Or that of a user
    networks: Networks = Networks()  # what a run changes in the networks of the method

    @property
    def images(self) -> bool:
        """Whether observations are images: bytes [height, width, channels]."""
        return isinstance(self.obs, ArraySpec) and self.obs.dtype == "uint8" and len(self.obs.shape) == 3

    @property
    def obs_shape(self) -> tuple[int, ...]:
        """Shape of an observation that is one array.

        Raises:
            TypeError: observations are several arrays by name.
        """
        arrays = self.obs_arrays
        if isinstance(arrays, dict):
            raise TypeError(f"observations are arrays by name: {', '.join(arrays)}")
        return arrays.shape

    @property
    def action_shape(self) -> tuple[int, ...]:
        """Shape of one action: `()` if actions are discrete."""
        return () if self.discrete else (self.action,)

    @property
    def obs_arrays(self) -> ArraySpec | dict[str, ArraySpec]:
        """The array of an observation, or its arrays by name."""
        if isinstance(self.obs, ArraySpec):
            return self.obs
        if self.obs and isinstance(self.obs[0], tuple):
            return dict(self.obs)
        return ArraySpec(self.obs)

    def blank_obs(self, *lead: int) -> Obs:
        """Observations of zeros, `[*lead, *shape]`, in the types of the data."""
        arrays = self.obs_arrays
        if isinstance(arrays, ArraySpec):
            return np.zeros((*lead, *arrays.shape), arrays.dtype)
        return {name: np.zeros((*lead, *one.shape), one.dtype) for name, one in arrays.items()}

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready values: what a policy folder keeps. The inverse of `from_dict`."""
        arrays = self.obs_arrays
        obs: Any = self.obs
        if isinstance(arrays, dict):
            obs = {name: one._asdict() for name, one in arrays.items()}
        elif isinstance(self.obs, ArraySpec):
            obs = self.obs._asdict()
        values = {**self._asdict(), "obs": obs, "networks": self.networks.changed}
        for name in LATER:
            if not values[name]:
                del values[name]
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Spec:
        """The spec that `to_dict` wrote; version 0.1.0 also wrote `agents`, which was always 1."""
        own = {name: values[name] for name in cls._fields if name not in LATER}
        own["encoder"] = values.get("encoder")
        own["networks"] = Networks.from_dict(values.get("networks", {}))
        obs = values["obs"]
        if isinstance(obs, Mapping):
            whole = "shape" in obs and not isinstance(obs["shape"], Mapping)
            arrays = {"": obs} if whole else obs
            made = {name: ArraySpec(tuple(one["shape"]), one["dtype"]) for name, one in arrays.items()}
            return cls(**{**own, "obs": made[""] if whole else named(**made)})
        return cls(**{**own, "obs": tuple(obs)})


class Batch(PyTree):
    """Rows drawn for one update: `[B, ...]`; `[k, B, ...]` with k slices; `[B, K, ...]` with windows of K steps.

    `terminated` is 1 at true ends only and stops the bootstrap. `truncated` is 1 at time limits.

    `extra` holds every other column by name. These are the columns that `Needs.columns` names, those that a `refresh`
    writes, "discount" with n-step rows and "valid" with windows and chunks. Read them as attributes: `batch.mc_return`.
    """

    obs: Obs
    action: jax.Array
    reward: jax.Array
    next_obs: Obs
    terminated: jax.Array
    truncated: jax.Array
    mask: jax.Array | None = None  # legal actions at obs: [B, A] booleans
    next_mask: jax.Array | None = None
    extra: dict[str, jax.Array] = field(default_factory=dict)  # other columns by name, see above
    parts: tuple[tuple[str, int, int], ...] = field(static=True, default=())  # (source, start, stop) along B
    axis: int = field(static=True, default=-1)  # of `reward`, along which B lies: -1; -2 in windows and chunks [B, K]

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

    obs: Obs  # [n, ...]
    reward: jax.Array  # [n] treated reward of the step before; 0 at an episode's start
    mask: jax.Array | None = None  # [n, A] legal actions
    step: Step = 0  # updates so far, for schedules of exploration
    target: jax.Array | None = None  # [n] treated return that is asked for; read at an episode's start
