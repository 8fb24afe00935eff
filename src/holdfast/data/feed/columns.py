"""The columns that training reads: treated, with the derived columns that were asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import DTypeLike

from ...core.errors import UserError, unknown
from ...core.tree import PyTree, field
from ..arrays import OBSERVATION_COLUMNS, take
from ..chunks import row_wise
from ..dataset import Dataset
from .treatment import Fitted


class Columns(PyTree):
    """N transitions over M observation rows (M = N + E); leaves are NumPy arrays until someone puts them on a device.

    A transition starts at `obs[row]` and leads to `obs[row + 1]`; `mask` has the same rows.
    """

    obs: Any  # [M, *obs]
    row: Any  # [N] int32
    action: Any  # [N, A] in [-1, 1], or [N] int32 from 0
    reward: Any  # [N]
    terminated: Any  # [N] 1.0 at true ends
    truncated: Any  # [N] 1.0 at time limits
    mask: Any = None  # [M, A] bool: actions that are legal
    extra: dict[str, Any] = field(default_factory=dict)  # derived and stored columns by name, [N, ...]


Held = Columns | tuple[Columns, ...] | None  # training columns; of each agent of a team


class Given(NamedTuple):
    """What a derived column is computed from."""

    dataset: Dataset
    fitted: Fitted
    action: np.ndarray  # [N, ...] inside units
    reward: np.ndarray  # [N] treated, float64
    discount: float | None
    dtype: Any  # of observations


DERIVED: dict[str, Callable[[Given], np.ndarray]] = {}


def derived(compute: Callable[[Given], np.ndarray]) -> Callable[[Given], np.ndarray]:
    """Register a derived column under its function's name."""
    DERIVED[compute.__name__] = compute
    return compute


@derived
def mc_return(given: Given) -> np.ndarray:
    """Discounted return of treated rewards from each step to the end of its episode, [N]. Needs a discount.

    A logged column "discount" multiplies it step by step. Nothing is added for what lies beyond a time limit.
    """
    if given.discount is None:
        raise UserError("the column 'mc_return' needs a discount; pass discount= to prepare")
    if np.ndim(given.discount):
        raise UserError("the column 'mc_return' is computed for one discount; sweep another setting, or run one by one")
    logged = given.dataset.columns.get("discount", 1.0)
    return to_go(given.reward, given.dataset.offsets, given.discount * logged)


@derived
def sparse_return(given: Given) -> np.ndarray:
    """`mc_return` where rewards are of two kinds, success and not yet: episodes that failed do so for ever, [N]."""
    starts = given.dataset.offsets[:-1]
    returns = mc_return(given)  # refuses a missing discount
    return failed_for_ever(returns, given.reward, starts, cast(float, given.discount))


@derived
def return_to_go(given: Given) -> np.ndarray:
    """Undiscounted sum of treated rewards from each step to the end of its episode, [N]."""
    return to_go(given.reward, given.dataset.offsets, 1.0)


@derived
def next_action(given: Given) -> np.ndarray:
    """The action logged at the next step of the episode, [N, ...] inside units; a last row repeats its own."""
    return given.action[_following(given.dataset)]


@derived
def timestep(given: Given) -> np.ndarray:
    """Steps since the start of the episode, [N] int32."""
    return given.dataset.timesteps.astype(np.int32)


@derived
def initial_obs(given: Given) -> np.ndarray:
    """The first observation of each transition's episode, [N, *obs], normalised like the others."""
    data = given.dataset
    first = (data.offsets[:-1] + np.arange(data.n_episodes))[data.episode_of]
    return given.fitted.observe(take(data.observations, first), given.dtype)


@derived
def initial_mask(given: Given) -> np.ndarray:
    """Legal actions at the first observation of each transition's episode, [N, A]; all if the data do not say."""
    data = given.dataset
    first = (data.offsets[:-1] + np.arange(data.n_episodes))[data.episode_of]
    mask = data.columns.get("action_mask")
    return np.ones((data.n_steps, data.spec.action), bool) if mask is None else np.asarray(mask)[first]


@derived
def episode_steps(given: Given) -> np.ndarray:
    """Number of steps of each transition's episode, [N] int32."""
    return given.dataset.lengths[given.dataset.episode_of].astype(np.int32)


def column_names(dataset: Dataset) -> list[str]:
    """Every column that `prepare` can give for this data set: derived ones and those it stores."""
    return sorted({*DERIVED, *(c for c in dataset.columns if c not in OBSERVATION_COLUMNS)})


def prepare(
    dataset: Dataset,
    fitted: Fitted,
    columns: Sequence[str] = (),
    discount: float | None = None,
    dtype: DTypeLike = np.float32,
) -> Columns:
    """The treated columns of a data set, with those of `columns` in `extra`.

    Args:
        dataset: sound data (`checks.require_sound`).
        fitted: its treatment.
        columns: names of derived columns (`DERIVED`) or of stored ones (behaviour_log_prob, discount).
        discount: for mc_return and sparse_return.
        dtype: type of every float leaf.

    Raises:
        UserError: an unknown column, or one that needs what was not given.
    """
    for name in columns:
        if name not in column_names(dataset):
            raise unknown("column", name, column_names(dataset))
    action = row_wise(lambda actions: fitted.act_inside(actions, dtype), dataset.actions)
    extra = _extra(dataset, fitted, action, columns, discount, dtype) if columns else {}
    mask = dataset.columns.get("action_mask")
    return Columns(
        obs=row_wise(lambda observations: fitted.observe(observations, dtype), dataset.observations),
        row=_cast(dataset.observation_rows, np.int32),
        action=action,
        reward=row_wise(lambda rewards: fitted.rewards(rewards, dtype), dataset.rewards),
        terminated=_cast(dataset.terminations, dtype),
        truncated=_cast(dataset.truncations, dtype),
        mask=None if mask is None else _cast(mask, bool),
        extra={k: _cast(v, dtype if v.dtype.kind == "f" else v.dtype) for k, v in extra.items()},
    )


def _extra(
    dataset: Dataset,
    fitted: Fitted,
    action: np.ndarray,
    columns: Sequence[str],
    discount: float | None,
    dtype: DTypeLike,
) -> dict[str, np.ndarray]:
    """The named columns, derived or stored, in the types that they have there."""
    given = Given(dataset, fitted, action, fitted.rewards(dataset.rewards, np.float64), discount, dtype)
    return {name: dataset.columns[name] if name in dataset.columns else DERIVED[name](given) for name in columns}


def _cast(column: np.ndarray, dtype: DTypeLike) -> np.ndarray:
    """A new array, aligned as JAX needs it to take it without a copy."""
    return row_wise(lambda values: values.astype(dtype), column)


def stats(dataset: Dataset, fitted: Fitted) -> dict[str, float]:
    """Scalars of the treated data: extremes of episode returns and of rewards, sizes, and the factor of rewards."""
    reward = fitted.rewards(dataset.rewards, np.float64)
    returns = np.add.reduceat(reward, dataset.offsets[:-1])
    return {
        "return_max": float(returns.max()),
        "return_min": float(returns.min()),
        "reward_max": float(reward.max()),
        "reward_min": float(reward.min()),
        "n_steps": float(dataset.n_steps),
        "n_episodes": float(dataset.n_episodes),
        "reward_scale": fitted.reward_scale,
    }


def to_go(rewards: np.ndarray, offsets: np.ndarray, discount: float | np.ndarray) -> np.ndarray:
    """`g[i] = r[i] + discount[i] * g[i + 1]` within each episode, [N] float64; a discount for all, or one a row.

    Doubling: after k passes each row holds the sum over its next 2^k steps, so log2(longest episode) passes over the
    columns replace a loop over steps.
    """
    total = rewards.astype(np.float64)
    carry = np.full(len(total), discount, np.float64)
    carry[offsets[1:] - 1] = 0.0
    reach = 1
    longest = int(np.diff(offsets).max(initial=0))
    while reach < longest:
        total[:-reach] = total[:-reach] + carry[:-reach] * total[reach:]
        carry[:-reach] = carry[:-reach] * carry[reach:]
        reach *= 2
    return total


def failed_for_ever(
    returns: np.ndarray, rewards: np.ndarray, starts: np.ndarray, discount: float | np.ndarray
) -> np.ndarray:
    """The returns [N], but `r / (1 - discount)` throughout an episode whose rewards are all the same r < 0.

    Args:
        returns: return of each step.
        rewards: treated, [N].
        starts: first steps of the episodes, [E].
        discount: below 1.
    """
    low = np.minimum.reduceat(rewards, starts)
    high = np.maximum.reduceat(rewards, starts)
    failed = np.repeat((low == high) & (low < 0), np.diff(np.append(starts, len(rewards))))
    return np.where(failed, rewards / (1 - discount), returns)


def _following(dataset: Dataset) -> np.ndarray:
    rows = np.arange(dataset.n_steps) + 1
    rows[dataset.offsets[1:] - 1] -= 1
    return rows
