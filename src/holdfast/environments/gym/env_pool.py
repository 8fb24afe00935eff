"""A pool of environments, numbered by slot, stepped and reset one by one. Nothing here imports jax: workers use it."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike

from ...core.errors import UserError, one_line
from .matching import mask_of, name_of

if TYPE_CHECKING:
    import gymnasium

NO_RESET = -1  # instead of a seed: do not reset the environment when its episode ends
REPEATED = 8  # steps that are played twice to check whether an environment is deterministic

RESET = "(observation, info)"
STEP = "(observation, reward, terminated, truncated, info)"
OLD = "; environments of the old Gym interface need an adapter, for example shimmy"

Action = np.ndarray | int | float | list  # one action, in the environment's units
# slot -> seed, actions and last observation of its open episode; None if no episode is open
History = Callable[[int], "tuple[int, list[Action], np.ndarray] | None"]


class Shape(NamedTuple):
    """The action space: discrete or continuous, and its size."""

    discrete: bool
    action: int  # dimensions of an action, or the number of discrete actions


class Outcome(NamedTuple):
    """One step of one environment. If it ended the episode, the next one has started, unless `NO_RESET` was given."""

    obs: np.ndarray  # after the step, of the episode that the step belongs to
    reward: float
    terminated: bool
    truncated: bool
    mask: np.ndarray | None
    first_obs: np.ndarray | None = None  # the first observation of the next episode
    first_mask: np.ndarray | None = None

    @property
    def started(self) -> bool:
        """Whether the next episode has started."""
        return self.first_obs is not None


class SlotFailed(Exception):
    """Raised when an environment raises or its process dies. `what` completes the sentence "<env> ..."."""

    def __init__(self, slot: int, what: str) -> None:
        super().__init__(what)
        self.slot = slot
        self.what = what


class EnvPool(Protocol):
    """Environments by slot: in this process (`LocalPool`) or in others (`workers.Workers`)."""

    dtype: np.dtype  # of observations
    exact: bool  # whether every episode that was replayed gave the same observations
    history: History  # the open episodes, to replay them in a new process

    def reset(self, slot: int, seed: int) -> tuple[np.ndarray, np.ndarray | None]:
        """The first observation of an episode, and its legal actions."""

    def step(self, slots: Sequence[int], actions: Sequence[Action], seeds: Sequence[int]) -> list[Outcome]:
        """Step some environments. One whose episode ends is reset with its seed in `seeds`, unless it is `NO_RESET`.

        Raises:
            SlotFailed: one of them failed.
        """

    def repeats(self, seed: int) -> bool:
        """Whether the first environment gives the same episode twice."""

    def close(self) -> None:
        """Close every environment."""


class LocalPool:
    """Environments in this process."""

    def __init__(self, make: Callable[[], gymnasium.Env], count: int, shape: Shape) -> None:
        """
        Args:
            make: makes a new Gymnasium environment.
            count: number of environments.
            shape: their action space.

        Raises:
            UserError: `make` returned the same environment twice.
        """
        self.envs = [make() for _ in range(count)]
        if len({id(env.unwrapped) for env in self.envs}) < count:
            raise UserError(
                f"the function that makes {name_of(self.envs[0])} returned the same environment twice: make a new one "
                "in each call"
            )
        self.shape = shape
        self.dtype = np.dtype(self.envs[0].observation_space.dtype)
        self.exact = True  # no episode is replayed in this process
        self.history: History = lambda slot: None

    def reset(self, slot: int, seed: int) -> tuple[np.ndarray, np.ndarray | None]:
        """The first observation of an episode, and its legal actions."""
        return begin(self.envs[slot], slot, seed, self.shape)

    def step(self, slots: Sequence[int], actions: Sequence[Action], seeds: Sequence[int]) -> list[Outcome]:
        """Step some environments. One whose episode ends is reset with its seed in `seeds`, unless it is `NO_RESET`.

        Raises:
            SlotFailed: one of them failed.
        """
        return [play(self.envs[k], k, a, s, self.shape) for k, a, s in zip(slots, actions, seeds, strict=True)]

    def repeats(self, seed: int) -> bool:
        """Whether the first environment gives the same episode twice."""
        return repeats(self.envs[0], seed, self.shape)

    def close(self) -> None:
        """Close every environment."""
        for env in self.envs:
            env.close()


def begin(env: gymnasium.Env, slot: int, seed: int, shape: Shape) -> tuple[np.ndarray, np.ndarray | None]:
    """Reset an environment: its first observation, and the legal actions if its info has a mask.

    Raises:
        SlotFailed: the environment raised.
    """
    try:
        obs, info = _returned(env.reset(seed=seed), RESET, "reset")
        require_numbers(obs)
        return obs, mask_of(info, shape)
    except (Exception, SystemExit) as fault:
        raise SlotFailed(slot, f"failed to reset: {_reason(fault, RESET, 'reset')}") from fault


def gives_mask(env: gymnasium.Env, shape: Shape, seed: int) -> bool:
    """Whether an environment gives a mask of its actions when it is reset.

    Raises:
        UserError: the environment failed to reset.
    """
    try:
        return begin(env, 0, seed, shape)[1] is not None
    except SlotFailed as fault:
        raise UserError(f"environment {name_of(env)} {fault.what}") from fault


def play(env: gymnasium.Env, slot: int, action: Action, seed: int, shape: Shape) -> Outcome:
    """One step, and a reset with `seed` if the episode ended (no reset for `NO_RESET`).

    Raises:
        SlotFailed: the environment raised.
    """
    try:
        obs, reward, terminated, truncated, info = _returned(env.step(action), STEP, "step")
        require_numbers(obs)
        mask = mask_of(info, shape)
        if np.ndim(reward):
            raise UserError(f"step returned a reward of shape {np.shape(reward)}, expected a single number")
        reward = float(reward)
        terminated = bool(terminated)
        truncated = bool(truncated)
    except (Exception, SystemExit) as fault:
        raise SlotFailed(slot, f"failed on the action {shown(action)}: {_reason(fault, STEP, 'step')}") from fault
    if not (terminated or truncated):
        return Outcome(obs, reward, False, False, mask)
    obs = np.array(obs)  # some environments write the next episode into the same array
    following = () if seed == NO_RESET else begin(env, slot, seed, shape)
    return Outcome(obs, reward, terminated, truncated, mask, *following)


def _returned(values: Any, expected: str, method: str) -> tuple[Any, ...]:
    """What an environment's method returned, after a check of its form.

    Raises:
        UserError: not as many values as expected, or an info that is not a dict.
    """
    count = expected.count(",") + 1
    if not isinstance(values, tuple | list) or len(values) != count:
        found = f"{len(values)} values" if isinstance(values, tuple | list) else f"a single {type(values).__name__}"
        raise UserError(f"{method} returned {found}, expected {count}: {expected}{OLD}")
    if not isinstance(values[-1], Mapping):
        raise UserError(f"{method} returned an info of type {type(values[-1]).__name__}, expected a dict")
    return tuple(values)


def repeats(env: gymnasium.Env, seed: int, shape: Shape) -> bool:
    """Whether the same seed and actions give the same observations and rewards, over `REPEATED` steps."""
    one = _walk(env, seed, shape)
    other = _walk(env, seed, shape)
    return len(one) == len(other) and all(np.array_equal(a, b, equal_nan=True) for a, b in zip(one, other, strict=True))


def _walk(env: gymnasium.Env, seed: int, shape: Shape) -> list[np.ndarray]:
    """Observations and rewards of some steps with seeded random actions."""
    obs, mask = begin(env, 0, seed, shape)
    seen = [np.array(obs)]
    env.action_space.seed(0)
    for _ in range(REPEATED):
        legal = None if mask is None else mask.astype(np.int8)
        outcome = play(env, 0, env.action_space.sample(legal), seed, shape)
        mask = outcome.mask
        seen += [np.array(outcome.obs), np.array(outcome.reward)]
        if outcome.started:
            break
    return seen


def require_numbers(obs: ArrayLike) -> None:
    """Refuse an observation that is not an array of numbers.

    Raises:
        UserError: naming its type.
    """
    try:
        numbers = np.asarray(obs).dtype.kind in "fiub"
    except ValueError:  # lists of different lengths
        numbers = False
    if not numbers:
        raise UserError(f"its observation is not an array of numbers but {type(obs).__name__}")


def _reason(fault: BaseException, expected: str, method: str) -> str:
    """Why an environment failed; the wrappers of Gymnasium cannot unpack what an old environment returns."""
    if isinstance(fault, SystemExit):
        return f"it called sys.exit({fault.code!r})"
    text = one_line(fault)
    frames = traceback.extract_tb(fault.__traceback__)
    if "values to unpack" in text and frames and "gymnasium" in frames[-1].filename:
        return f"{method} returned another number of values than {expected.count(',') + 1}: expected {expected}{OLD}"
    return text


def shown(action: Action) -> Action:
    """An action as plain numbers, for error messages and logs."""
    return np.asarray(action).tolist()
