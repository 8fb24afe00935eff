"""Treatments: how observations, actions and rewards are scaled on their way to training and back.

A treatment is fitted on the training set and then frozen. A policy carries the result, so that evaluation, collection
and fine-tuning use the same numbers. `Numbers` holds the only formulas, for NumPy and for JAX.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from ...core.errors import UserError
from ...core.spec import Array, Obs
from ...core.team import Team, parts
from ..chunks import moments

if TYPE_CHECKING:
    from gymnasium.spaces import Space

    from ...core.contract import Treatment
    from ..dataset import Dataset

ARRAYS = ("obs_mean", "obs_std", "action_low", "action_high")


class Numbers(NamedTuple):
    """The numbers of a treatment in one float type, with the formulas that use them.

    The same code runs on the host (NumPy arrays) and in compiled programs (JAX arrays). In float32 both give the same
    bits. Two rules ensure this:

    * No product is followed by an addition, and no array is divided by a smaller one. XLA contracts the first to one
      rounding and replaces the second by a product with the reciprocal.
    * A compiled program takes this record as an argument. XLA would fold constants into each other and round again.
    """

    mean: Any  # [*obs] the mean rounded to the float type; None: observations are not normalised
    mean_rest: Any  # [*obs] what rounding removed from the mean
    inverse_std: Any  # [*obs]
    half: Any  # [A] half of the range of actions; None: actions are discrete
    centre: Any  # [A] centre of the range of actions, in units of `half`
    low: Any  # [A]
    high: Any  # [A]
    start: Any  # [] first action of a Discrete space
    shift: Any  # [] of rewards
    scale: Any  # [] of rewards
    largest: Any  # [] largest finite number

    def observe(self, obs: Array, rest: Array | float = 0.0) -> Any:
        """Observations `[..., *obs]` as a network sees them: `((obs - mean) + (rest - mean_rest)) / std`.

        Args:
            obs: raw observations in the float type of the numbers.
            rest: what rounding removed from observations of a wider type.
        """
        if self.mean is None:
            return obs
        mean, mean_rest, inverse_std = (_along(x, obs) for x in (self.mean, self.mean_rest, self.inverse_std))
        return self._rounded(((obs - mean) + (rest - mean_rest)) * inverse_std)

    def act_outside(self, inside: Array) -> Any:
        """Actions `[..., A]` from [-1, 1] to the environment's units, clipped to its bounds; or `[...]` integers."""
        if self.half is None:
            return inside + self.start
        xp = jnp if isinstance(inside, jax.Array) else np
        half, centre, low, high = (_along(x, inside) for x in (self.half, self.centre, self.low, self.high))
        return xp.clip(half * (inside + centre), low, high)

    def rewards(self, rewards: Array) -> Any:
        """Treated rewards: `(reward + shift) * scale`."""
        return self._rounded((rewards + self.shift) * self.scale)

    def _rounded(self, product: Array) -> Array:
        """A product that XLA cannot contract with an addition after it, because the clip comes between them."""
        return jnp.clip(product, -self.largest, self.largest) if isinstance(product, jax.Array) else product


def _along(x: Array, rows: Array) -> Array:
    """`x` with leading axes of length 1, so that it has as many axes as `rows`."""
    return x.reshape((1,) * (rows.ndim - x.ndim) + x.shape)


@dataclasses.dataclass(frozen=True, eq=False)
class Fitted:
    """A treatment with its numbers. Observations become `(obs - obs_mean) / obs_std`, rewards `(r + reward_shift) *
    reward_scale`.

    Where observations are left as they are, `obs_mean` is 0 and `obs_std` is 1, so a policy may always apply them.
    """

    obs_mean: np.ndarray  # [*obs] float64; [] if observations keep their types
    obs_std: np.ndarray  # the same, the divisor: the standard deviation with epsilon already added
    reward_scale: float = 1.0
    reward_shift: float = 0.0
    action_low: np.ndarray | None = None  # [A], in the environment's units and type; None where discrete
    action_high: np.ndarray | None = None
    action_start: int = 0  # the first action of a Discrete space
    action_count: int = 0  # how many actions a Discrete space has, 0 where continuous
    clip_actions: float | None = None  # act_inside clips to +-(1 - clip_actions)
    normalized: bool = False
    keep_types: bool = False  # observations keep their types: uint8 images, arrays by name; they are not normalised

    @property
    def discrete(self) -> bool:
        """Whether actions are integers."""
        return self.action_low is None

    def observe(self, obs: Obs, dtype: DTypeLike = np.float32) -> Any:
        """Observations `[..., *obs]` as a network sees them, in `dtype`.

        The mean is subtracted before the precision of a wider type is lost, so an observation near a large mean keeps
        its digits.
        """
        if self.keep_types:
            return jax.tree.map(np.asarray, obs)
        rounded = np.asarray(obs, dtype)
        if not self.normalized:
            return rounded
        given = np.asarray(obs)
        if given.dtype == rounded.dtype:
            return np.asarray(self.numbers(dtype).observe(rounded))
        rest = (given.astype(np.float64) - rounded).astype(dtype)
        return np.asarray(self.numbers(dtype).observe(rounded, rest))

    def act_inside(self, actions: ArrayLike, dtype: DTypeLike = np.float32) -> np.ndarray:
        """Actions from the environment's units: `[..., A]` in [-1, 1], or `[...]` int32 from 0 if discrete.

        This runs on the host only, in float64 with one cast at the end.
        """
        if self.discrete:
            return (np.asarray(actions) - self.action_start).astype(np.int32)
        centre, half = self._centre_half
        inside = (np.asarray(actions, np.float64) - centre) / half
        if self.clip_actions is not None:
            inside = np.clip(inside, self.clip_actions - 1.0, 1.0 - self.clip_actions)
        return inside.astype(dtype)

    def act_outside(self, inside: ArrayLike) -> np.ndarray:
        """Actions in the environment's units and type, within its bounds: the inverse of `act_inside`.

        The arithmetic is float32, or the type of the action space if that is wider. Only the host knows wider types.
        """
        if self.action_low is None:
            return np.asarray(inside).astype(np.int64) + self.action_start
        wide = np.result_type(np.float32, self.action_low.dtype)
        return np.asarray(self.numbers(wide).act_outside(np.asarray(inside, wide))).astype(self.action_low.dtype)

    def rewards(self, rewards: ArrayLike, dtype: DTypeLike = np.float32) -> np.ndarray:
        """Treated rewards in `dtype`: `(reward + reward_shift) * reward_scale`."""
        return np.asarray(self.numbers(dtype).rewards(np.asarray(rewards, dtype)))

    def returns(self, returns: ArrayLike) -> np.ndarray:
        """Raw returns of episodes as sums of treated rewards, float32: `return * reward_scale`.

        Raises:
            UserError: rewards are shifted, so that a sum of treated rewards depends on the length of the episode.
        """
        if self.reward_shift:
            raise UserError(
                f"rewards are shifted by {self.reward_shift:g}, so a raw return has no treated value: train without it "
                "(--reward-shift 0) to ask for returns"
            )
        return np.asarray(np.asarray(returns, np.float64) * self.reward_scale, np.float32)

    def numbers(self, dtype: DTypeLike = np.float32) -> Numbers:
        """The numbers of this treatment in a float type."""
        dtype = np.dtype(dtype)
        if dtype not in self._numbers:
            self._numbers[dtype] = self._numbers_in(dtype)
        return self._numbers[dtype]

    def to_dict(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """JSON-ready values, and arrays by name: what a policy folder keeps. The inverse of `from_dict`."""
        arrays = {k: v for k in ARRAYS if (v := getattr(self, k)) is not None}
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in ARRAYS}
        if not self.keep_types:
            del values["keep_types"]  # version 0.1.0 does not know it
        return values, arrays

    @classmethod
    def from_dict(cls, values: dict[str, Any], arrays: dict[str, np.ndarray]) -> Fitted:
        """The fitted treatment that `to_dict` wrote."""
        fields: dict[str, Any] = {**values, **{k: np.asarray(v) for k, v in arrays.items()}}
        return cls(**fields)

    @property
    def half_widths(self) -> np.ndarray:
        """Half of the range of each dimension of a continuous action, [A] float64."""
        return self._centre_half[1]

    @functools.cached_property
    def _centre_half(self) -> tuple[np.ndarray, np.ndarray]:
        low = np.asarray(self.action_low, np.float64)
        high = np.asarray(self.action_high, np.float64)
        return (high + low) / 2, (high - low) / 2

    @functools.cached_property
    def _numbers(self) -> dict[np.dtype, Numbers]:
        return {}

    def _numbers_in(self, dtype: np.dtype) -> Numbers:
        mean = rest = inverse = half = centre = low = high = None
        if self.normalized:
            mean = np.asarray(self.obs_mean).astype(dtype)
            rest = (self.obs_mean - mean).astype(dtype)
            inverse = (1 / np.asarray(self.obs_std)).astype(dtype)
        if not self.discrete:
            middle, width = self._centre_half
            half = width.astype(dtype)
            centre = (middle / width).astype(dtype)
            low = np.asarray(self.action_low).astype(dtype)
            high = np.asarray(self.action_high).astype(dtype)
        shift, scale, largest = (dtype.type(x) for x in (self.reward_shift, self.reward_scale, np.finfo(dtype).max))
        start = np.int32(self.action_start)
        return Numbers(mean, rest, inverse, half, centre, low, high, start, shift, scale, largest)


def fit(treatment: Treatment, dataset: Dataset) -> Fitted:
    """Fit a treatment on the training set.

    Mean and standard deviation (divided by N) are those of the observations that transitions start from, as in TD3+BC's
    code. Images are not normalised: they stay bytes, and networks scale them by 1 / 255.

    With `return_scale` rewards are first multiplied by `return_scale / (max return - min return)`, then shifted,
    then scaled.

    Raises:
        UserError: no transitions, equal returns although `return_scale` is set, or action bounds that are infinite
            or empty.
    """
    if not dataset.n_steps:
        raise UserError(f"{dataset.id} is empty: no transitions; expected at least one")
    fitted = untreated(dataset.observation_space, dataset.action_space, dataset.id)
    obs_mean = fitted.obs_mean
    obs_std = fitted.obs_std
    epsilon = None if fitted.keep_types else treatment.normalize_obs
    if epsilon is not None:
        obs_mean, obs_std = moments(dataset.observations, dataset.observation_rows)
        obs_std = obs_std + epsilon
        if (obs_std == 0).any():
            dim = int(np.flatnonzero(obs_std == 0)[0])
            raise UserError(f"{dataset.id}: observations[{dim}] is constant; normalize_obs needs an epsilon > 0")
    scale = float(treatment.reward_scale)
    shift = float(treatment.reward_shift)
    if treatment.return_scale is not None:
        returns = dataset.returns()
        spread = float(returns.max() - returns.min())
        if not spread > 0:
            raise UserError(
                f"{dataset.id}: return_scale divides by max return - min return, which is {spread:g} here "
                f"({dataset.n_episodes} episodes); train without it: --return-scale None"
            )
        factor = treatment.return_scale / spread
        scale = scale * factor
        shift = shift / factor
    return dataclasses.replace(
        fitted,
        obs_mean=obs_mean,
        obs_std=obs_std,
        reward_scale=scale,
        reward_shift=shift,
        clip_actions=treatment.clip_actions,
        normalized=epsilon is not None,
    )


def same_treatment(a: Fitted, b: Fitted) -> bool:
    """Whether two treatments have the same numbers."""
    values, arrays = a.to_dict()
    values_b, arrays_b = b.to_dict()
    return (
        values == values_b
        and arrays.keys() == arrays_b.keys()
        and all(np.array_equal(arrays[k], arrays_b[k]) for k in arrays)
    )


def joint_treatment(each: Sequence[Fitted], joint_actions: int) -> Fitted:
    """The treatment of joint observations and actions, from those of the agents of a team (see `core.team`).

    Rewards are left as they are, because each agent has its own.

    Args:
        each: the treatment of each agent.
        joint_actions: how many joint actions there are, if actions are discrete.
    """
    mean, std = (np.concatenate([getattr(own, name) for own in each]) for name in ("obs_mean", "obs_std"))
    normalized = any(own.normalized for own in each)
    if each[0].discrete:
        return Fitted(mean, std, action_count=joint_actions, normalized=normalized)
    low, high = (np.concatenate([np.asarray(getattr(own, f"action_{end}")) for own in each]) for end in ("low", "high"))
    return Fitted(mean, std, action_low=low, action_high=high, normalized=normalized)


def agent_treatments(joint: Fitted, team: Team) -> list[Fitted]:
    """The treatment of each agent, from one of joint observations and actions; the inverse of `joint_treatment`."""
    found = []
    ends = [None] * len(team.names) if joint.action_low is None else parts(joint.action_low, team.counts)
    highs = ends if joint.action_high is None else parts(joint.action_high, team.counts)
    seen = zip(parts(joint.obs_mean, team.widths), parts(joint.obs_std, team.widths), strict=True)
    for (mean, std), low, high, count in zip(seen, ends, highs, team.counts, strict=True):
        own = dataclasses.replace(joint, obs_mean=mean, obs_std=std, action_low=low, action_high=high)
        found.append(dataclasses.replace(own, action_count=count if joint.discrete else 0))
    return found


def untreated(observation_space: Space, action_space: Space, where: str = "the environment") -> Fitted:
    """The treatment that changes nothing but the units of actions, for training without data.

    Raises:
        UserError: action bounds that are infinite or empty.
    """
    shape = observation_space.shape or ()
    images = observation_space.dtype == np.uint8 and len(shape) == 3
    mean = np.zeros(() if images else shape)
    std = np.ones(() if images else shape)
    space: Any = action_space
    if not hasattr(space, "low"):
        return Fitted(mean, std, action_start=int(space.start), action_count=int(space.n), keep_types=images)
    low = np.asarray(space.low)
    high = np.asarray(space.high)
    wrong = ~(np.isfinite(low) & np.isfinite(high) & (low < high))
    if wrong.any():
        dim = int(np.flatnonzero(wrong)[0])
        raise UserError(
            f"{where}: bounds of actions[{dim}] are {low[dim]:g} to {high[dim]:g}, expected low < high, finite; "
            "give action_bounds to the loader (--action-bounds LOW HIGH)"
        )
    return Fitted(mean, std, action_low=low.copy(), action_high=high.copy(), keep_types=images)
