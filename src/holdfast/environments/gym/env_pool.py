"""Environments by number, stepped and reset one by one. Nothing here imports jax: worker processes live on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from .adapter import mask_of, one_line

NO_RESET = -1  # in place of a seed: an environment whose episode ends stays as it is
REPEATED = 8  # steps that are played twice to see whether an environment repeats itself


class Shape(NamedTuple):
    """What is to be known of actions."""

    discrete: bool
    action: int  # dimensions, or how many there are


class Outcome(NamedTuple):
    """One step of one environment; where it ended the episode, the next one has begun, unless none was to."""

    obs: np.ndarray  # after the step, of the episode that it belongs to
    reward: float
    terminated: bool
    truncated: bool
    mask: np.ndarray | None
    begun: np.ndarray | None = None  # the next episode's first observation
    begun_mask: np.ndarray | None = None


class Broke(Exception):
    """An environment raised, or its process is gone: its number and what happened, to follow its name in a sentence."""

    def __init__(self, slot: int, what: str) -> None:
        super().__init__(what)
        self.slot, self.what = slot, what


class Local:
    """Environments of this process."""

    exact = True  # nothing here is ever played again
    history: Any = None  # so nobody asks for what was played

    def __init__(self, make: Callable[[], Any], count: int, shape: Shape) -> None:
        """
        Args:
            make: gives a new Gymnasium environment.
            count: how many.
            shape: of their actions.
        """
        self.envs, self.shape = [make() for _ in range(count)], shape
        self.dtype = np.dtype(self.envs[0].observation_space.dtype)

    def reset(self, slot: int, seed: int) -> tuple[np.ndarray, np.ndarray | None]:
        """The first observation of an episode, and its legal actions."""
        return begin(self.envs[slot], slot, seed, self.shape)

    def step(self, slots: Sequence[int], actions: Sequence[Any], seeds: Sequence[int]) -> list[Outcome]:
        """Step some environments; one whose episode ends is reset with its seed of `seeds`, or not for `NO_RESET`.

        Raises:
            Broke: one of them failed.
        """
        return [play(self.envs[k], k, a, s, self.shape) for k, a, s in zip(slots, actions, seeds, strict=True)]

    def repeats(self, seed: int) -> bool:
        """Whether the first environment does the same twice."""
        return repeats(self.envs[0], seed, self.shape)

    def close(self) -> None:
        """Close every environment."""
        for env in self.envs:
            env.close()


def begin(env: Any, slot: int, seed: int, shape: Shape) -> tuple[np.ndarray, np.ndarray | None]:
    """Reset: the first observation, and the legal actions where the environment says so."""
    try:
        obs, info = env.reset(seed=seed)
        return obs, mask_of(info, shape) if "action_mask" in info else None
    except Exception as fault:
        raise Broke(slot, f"failed to reset: {one_line(fault)}") from fault


def play(env: Any, slot: int, action: Any, seed: int, shape: Shape) -> Outcome:
    """One step, and the reset that follows an episode's end; none for `NO_RESET`."""
    try:
        obs, reward, terminated, truncated, info = env.step(action)
        mask = mask_of(info, shape) if "action_mask" in info else None
        reward = float(reward)
    except Exception as fault:
        raise Broke(slot, f"failed on the action {shown(action)}: {one_line(fault)}") from fault
    if not (terminated or truncated):
        return Outcome(obs, reward, False, False, mask)
    obs = np.array(obs)  # some environments write the next episode into the same array
    following = () if seed == NO_RESET else begin(env, slot, seed, shape)
    return Outcome(obs, reward, bool(terminated), bool(truncated), mask, *following)


def repeats(env: Any, seed: int, shape: Shape) -> bool:
    """Whether the same seed and actions lead to the same observations and rewards, over a few steps."""
    one, other = (_walk(env, seed, shape) for _ in range(2))
    return len(one) == len(other) and all(np.array_equal(a, b, equal_nan=True) for a, b in zip(one, other, strict=True))


def _walk(env: Any, seed: int, shape: Shape) -> list[np.ndarray]:
    obs, mask = begin(env, 0, seed, shape)
    seen = [np.array(obs)]
    env.action_space.seed(0)
    for _ in range(REPEATED):
        legal = None if mask is None else mask.astype(np.int8)
        outcome = play(env, 0, env.action_space.sample(legal), seed, shape)
        mask = outcome.mask
        seen += [np.array(outcome.obs), np.array(outcome.reward)]
        if outcome.begun is not None:
            break
    return seen


def shown(action: Any) -> Any:
    """An action as it stands in an error's line."""
    return np.asarray(action).tolist()
