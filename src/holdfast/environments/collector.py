"""Collecting transitions in Gymnasium environments, so that a killed run finds every environment as it left it.

An environment's state cannot be saved in general. Instead each episode is reset with a seed of its own, a function of
the replica's seed, the environment and the episode's number; what is saved are that number and the actions since the
reset, and restoring plays them again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..core.errors import UserError
from .adapter import mask_of, one_line


class Steps(NamedTuple):
    """One step in every environment, in the environment's own units: leaves [R, n, ...]."""

    obs: np.ndarray
    action: np.ndarray
    reward: np.ndarray
    next_obs: np.ndarray  # of the episode that the step belongs to, also where it ended
    terminated: np.ndarray
    truncated: np.ndarray
    mask: np.ndarray | None
    next_mask: np.ndarray | None


class EnvironmentFailed(UserError):
    """An environment raised, or gave what is not finite."""


class Collector:
    """R x n environments stepped together, each reset by itself when its episode ends."""

    def __init__(self, make: Callable[[], Any], seeds: Sequence[int], n: int, spec: Any) -> None:
        """
        Args:
            make: gives a new Gymnasium environment.
            seeds: of the replicas, [R].
            n: environments of each replica.
            spec: shapes of the problem.
        """
        self.seeds, self.n, self.spec = list(seeds), n, spec
        self.envs = [[make() for _ in range(n)] for _ in self.seeds]
        rows = (len(self.seeds), n)
        self.episode = np.zeros(rows, np.int64)  # number of the episode that each environment plays
        self.actions: list[list[list[Any]]] = [[[] for _ in range(n)] for _ in self.seeds]  # since the reset
        self.obs = np.zeros((*rows, *spec.obs), self.envs[0][0].observation_space.dtype)
        self.mask: np.ndarray | None = None
        self.reward = np.zeros(rows)  # of the step before, 0 at an episode's start
        self.start = np.ones(rows, bool)  # whether the observation at hand begins an episode
        self.returns = np.zeros(rows)  # of the episode so far
        self.finished: list[tuple[int, float, int]] = []  # (replica, return, length) of ended episodes, until taken
        self.lengths = np.zeros(rows, np.int64)

    def begin(self) -> None:
        """Reset every environment to its first episode."""
        for r, e in np.ndindex(self.episode.shape):
            self._reset(r, e)

    def step(self, actions: np.ndarray) -> Steps:
        """Step every environment; those whose episode ends are reset, and `obs` then holds the new episode's.

        Args:
            actions: in the environments' units, [R, n, ...].

        Raises:
            EnvironmentFailed: an environment raised or gave NaN; the line names seed, step and action.
        """
        obs, mask = self.obs.copy(), None if self.mask is None else self.mask.copy()
        next_obs = np.empty_like(obs)
        next_mask = None if mask is None else mask.copy()
        reward = np.zeros(self.reward.shape)
        terminated, truncated = np.zeros(self.start.shape, bool), np.zeros(self.start.shape, bool)
        self.start[:] = False
        for r, e in np.ndindex(self.episode.shape):
            action = int(actions[r, e]) if self.spec.discrete else actions[r, e]
            found = self._advance(r, e, action)
            next_obs[r, e], reward[r, e], terminated[r, e], truncated[r, e], legal = found
            if next_mask is not None and legal is not None:
                next_mask[r, e] = legal
            self.returns[r, e] += reward[r, e]
            self.lengths[r, e] += 1
            if terminated[r, e] or truncated[r, e]:
                self.finished.append((r, float(self.returns[r, e]), int(self.lengths[r, e])))
                self.episode[r, e] += 1
                self._reset(r, e)
            else:
                self.obs[r, e] = next_obs[r, e]
                self.reward[r, e] = reward[r, e]
                if self.mask is not None and next_mask is not None:
                    self.mask[r, e] = next_mask[r, e]
        return Steps(obs, np.asarray(actions), reward, next_obs, terminated, truncated, mask, next_mask)

    def take_finished(self) -> list[tuple[int, float, int]]:
        """(replica, return, length) of the episodes that ended since the last call."""
        found, self.finished = self.finished, []
        return found

    def log(self) -> dict[str, Any]:
        """What restores the environments, JSON-ready: episode numbers and the actions since each reset."""
        actions = [[[np.asarray(a).tolist() for a in env] for env in row] for row in self.actions]
        return {"episode": self.episode.tolist(), "actions": actions}

    def restore(self, log: dict[str, Any], watch: Callable[[int, int, int, Steps], None] | None = None) -> None:
        """Bring every environment to where `log` left it, by playing its episode again.

        Args:
            log: what `log` gave.
            watch: is shown each step of the open episodes again: replica, environment, its number and one row.

        Raises:
            EnvironmentFailed: it fails, or ends sooner than it did: it is not deterministic.
        """
        self.episode = np.asarray(log["episode"], np.int64)
        dtype = self.envs[0][0].action_space.dtype
        for r, e in np.ndindex(self.episode.shape):
            self._reset(r, e)
            for t, action in enumerate(log["actions"][r][e]):
                self.start[r, e] = False
                before, mask = self.obs[r, e].copy(), None if self.mask is None else self.mask[r, e].copy()
                action = int(action) if self.spec.discrete else np.asarray(action, dtype)
                obs, reward, terminated, truncated, legal = self._advance(r, e, action)
                if terminated or truncated:
                    raise EnvironmentFailed(
                        f"{self._where(r, e)} ended sooner than before the interruption: the environment is not "
                        "deterministic, so the run cannot go on exactly; start a new run"
                    )
                self.obs[r, e], self.reward[r, e] = obs, reward
                self.returns[r, e] += reward
                self.lengths[r, e] += 1
                if self.mask is not None and legal is not None:
                    self.mask[r, e] = legal
                if watch is not None:
                    row = (before, action, reward, obs, False, False, mask, legal)
                    watch(r, e, t, Steps(*(None if x is None else np.asarray(x) for x in row)))  # type: ignore[arg-type]

    def close(self) -> None:
        """Close every environment."""
        for row in self.envs:
            for env in row:
                env.close()

    def _reset(self, r: int, e: int) -> None:
        try:
            obs, info = self.envs[r][e].reset(seed=episode_seed(self.seeds[r], e, int(self.episode[r, e])))
        except Exception as fault:
            raise EnvironmentFailed(f"{self._where(r, e)} failed to reset: {one_line(fault)}") from fault
        self.obs[r, e], self.actions[r][e] = obs, []
        self.start[r, e], self.reward[r, e], self.returns[r, e], self.lengths[r, e] = True, 0.0, 0.0, 0
        legal = mask_of(info, self.spec)
        if legal is not None:
            if self.mask is None:
                self.mask = np.ones((*self.episode.shape, self.spec.action), bool)
            self.mask[r, e] = legal

    def _advance(self, r: int, e: int, action: Any) -> tuple[Any, float, bool, bool, Any]:
        try:
            obs, reward, terminated, truncated, info = self.envs[r][e].step(action)
        except Exception as fault:
            what = f"failed on the action {np.asarray(action).tolist()}: {one_line(fault)}"
            raise EnvironmentFailed(f"{self._where(r, e)} {what}") from fault
        self.actions[r][e].append(action)
        if not np.isfinite(obs).all() or not np.isfinite(reward):
            what = f"gave {'an observation' if np.isfinite(reward) else 'a reward'} that is not finite"
            raise EnvironmentFailed(f"{self._where(r, e)} {what} for the action {np.asarray(action).tolist()}")
        return obs, float(reward), bool(terminated), bool(truncated), mask_of(info, self.spec)

    def _where(self, r: int, e: int) -> str:
        seed = episode_seed(self.seeds[r], e, int(self.episode[r, e]))
        return f"the environment, reset with seed {seed}, at step {len(self.actions[r][e])},"


def episode_seed(seed: int, env: int, episode: int) -> int:
    """The seed of an episode: a function of the replica's seed, the environment's number and the episode's."""
    return int(np.random.SeedSequence([seed, env, episode]).generate_state(1)[0])
