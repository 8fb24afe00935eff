"""Collecting transitions in Gymnasium environments, so that a killed run finds every environment as it left it.

An environment's state cannot be saved in general. Instead each episode is reset with a seed of its own, a function of
the replica's seed, the environment and the episode's number; what is saved are that number and the actions since the
reset, and restoring plays them again. An environment that does not repeat itself is noticed, and the run says so.
"""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ...core.errors import UserError
from .env_pool import Broke, Local, Outcome, Shape, shown


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
    """R x n environments stepped together, each reset by itself when its episode ends.

    A step either happens in all of them or, where one fails, in none: what `log` gives is always a whole step.
    """

    def __init__(
        self, make: Callable[[], Any] | None, seeds: Sequence[int], n: int, spec: Any, slots: Any = None
    ) -> None:
        """
        Args:
            make: gives a new Gymnasium environment; not needed where `slots` are given.
            seeds: of the replicas, [R].
            n: environments of each replica.
            spec: shapes of the problem.
            slots: the environments by number, as `slots.Local` has them; these in the processes of `Workers`, say.
        """
        self.seeds, self.n, self.spec = list(seeds), n, spec
        rows, count = (len(self.seeds), n), len(self.seeds) * n
        if slots is None and make is not None:
            slots = Local(make, count, Shape(spec.discrete, spec.action))
        self.slots = slots
        self.slots.history = self._history
        self.repeatable = True  # whether every episode that was played again came out the same
        self.episode = np.zeros(rows, np.int64)  # number of the episode that each environment plays
        self.actions: list[list[Any]] = [[] for _ in range(count)]  # since the reset
        self.begun = [False] * count
        self.obs = np.zeros((*rows, *spec.obs), self.slots.dtype)
        self.mask: np.ndarray | None = None
        self.reward = np.zeros(rows)  # of the step before, 0 at an episode's start
        self.start = np.ones(rows, bool)  # whether the observation at hand begins an episode
        self.returns = np.zeros(rows)  # of the episode so far
        self.lengths = np.zeros(rows, np.int64)
        self.finished: list[tuple[int, float, int]] = []  # (replica, return, length) of ended episodes, until taken
        self._following = [0] * count  # seeds of the next episodes
        self._dtype = "<f4"  # of actions, in the environments' units

    def begin(self) -> None:
        """Reset every environment to its first episode, after a look at whether the first one repeats itself."""
        with contextlib.suppress(Broke):  # what fails on actions of this look may do well on the run's own
            self.repeatable = self.slots.repeats(episode_seed(self.seeds[0], 0, 0))
        for k in range(len(self.actions)):
            self._reset(k)

    def step(self, actions: np.ndarray) -> Steps:
        """Step every environment; those whose episode ends are reset, and `obs` then holds the new episode's.

        Args:
            actions: in the environments' units, [R, n, ...].

        Raises:
            EnvironmentFailed: an environment raised or gave NaN; the line names seed, step and action.
        """
        actions = np.asarray(actions)
        flat = actions.reshape(len(self.actions), *actions.shape[2:])
        given, self._dtype = flat.tolist() if self.spec.discrete else list(flat), flat.dtype.str
        try:
            found = self.slots.step(range(len(given)), given, self._following)
        except Broke as fault:
            raise self._failed(fault) from fault
        for k, outcome in enumerate(found):
            if np.shape(outcome.obs) != self.spec.obs:
                what = f"gave an observation of shape {np.shape(outcome.obs)}, expected {self.spec.obs}"
                raise self._failed(Broke(k, f"{what}, for the action {shown(given[k])}"))
        rows = self.start.shape
        next_obs = (
            np.stack([outcome.obs for outcome in found]).astype(self.obs.dtype, copy=False).reshape(self.obs.shape)
        )
        reward = np.array([outcome.reward for outcome in found])
        self._require_finite(next_obs, reward, given)
        obs, mask = self.obs.copy(), None if self.mask is None else self.mask.copy()
        next_mask = None if mask is None else mask.copy()
        self.start[:] = False
        self.obs[:] = next_obs
        self.reward[:] = reward.reshape(rows)
        self.returns += self.reward
        self.lengths += 1
        for k, outcome in enumerate(found):
            self.actions[k].append(given[k])
            if next_mask is not None and self.mask is not None:
                legal = True if outcome.mask is None else outcome.mask
                next_mask[divmod(k, self.n)] = self.mask[divmod(k, self.n)] = legal
            if outcome.begun is not None:
                self._turn(k, outcome)
        terminated, truncated = (np.array([getattr(o, name) for o in found]).reshape(rows) for name in ENDS)
        return Steps(obs, actions, reward.reshape(rows), next_obs, terminated, truncated, mask, next_mask)

    def take_finished(self) -> list[tuple[int, float, int]]:
        """(replica, return, length) of the episodes that ended since the last call."""
        found, self.finished = self.finished, []
        return found

    def log(self) -> dict[str, Any]:
        """What restores the environments, JSON-ready: episode numbers, the actions since each reset, and checksums of
        the observations that they led to."""
        return {
            "episode": self.episode.tolist(),
            "actions": [[shown(a) for a in env] for env in self.actions],
            "checksums": [_checksum(obs) for obs in self._flat(self.obs)],
            "dtype": self._dtype,
            "repeatable": self.exact,
        }

    def restore(self, log: dict[str, Any], watch: Callable[[int, int, int, Steps], None] | None = None) -> bool:
        """Bring every environment to where `log` left it, by playing its episode again.

        Args:
            log: what `log` gave.
            watch: is shown each step of the open episodes again: replica, environment, its number and one row.

        Returns:
            Whether they came to the same observations. Where not, the run goes on from what they came to.

        Raises:
            EnvironmentFailed: one fails.
        """
        self.repeatable, same = bool(log["repeatable"]), True
        self.episode, self._dtype = np.asarray(log["episode"], np.int64), str(log["dtype"])
        for k, actions in enumerate(log["actions"]):
            self._reset(k)
            for t, action in enumerate(actions):
                if not self._again(k, t, action if self.spec.discrete else np.asarray(action, self._dtype), watch):
                    same = False  # it ended sooner than it had: a new episode stands there
                    break
            same &= _checksum(self._flat(self.obs)[k]) == log["checksums"][k]
        self.repeatable &= same
        return same

    @property
    def exact(self) -> bool:
        """Whether every episode that was played again came out the same."""
        return self.repeatable and self.slots.exact

    def close(self) -> None:
        """Close every environment."""
        self.slots.close()

    def _again(self, k: int, t: int, action: Any, watch: Any) -> bool:
        """One step of a replayed episode; False where it was the last, though it had not been."""
        r, e = divmod(k, self.n)
        before, mask = self.obs[r, e].copy(), None if self.mask is None else self.mask[r, e].copy()
        try:
            outcome = self.slots.step([k], [action], [self._following[k]])[0]
        except Broke as fault:
            raise self._failed(fault) from fault
        self.actions[k].append(action)
        self.start[r, e] = False
        self.obs[r, e], self.reward[r, e] = outcome.obs, outcome.reward
        self.returns[r, e] += outcome.reward
        self.lengths[r, e] += 1
        if self.mask is not None:
            self.mask[r, e] = True if outcome.mask is None else outcome.mask
        if watch is not None:
            row = (
                before,
                action,
                outcome.reward,
                outcome.obs,
                outcome.terminated,
                outcome.truncated,
                mask,
                outcome.mask,
            )
            watch(r, e, t, Steps(*(None if x is None else np.asarray(x) for x in row)))  # type: ignore[arg-type]
        if outcome.begun is not None:
            self._turn(k, outcome)
        return outcome.begun is None

    def _reset(self, k: int) -> None:
        try:
            obs, legal = self.slots.reset(k, self._seed(k))
        except Broke as fault:
            raise self._failed(fault) from fault
        self._open(k, obs, legal)

    def _turn(self, k: int, outcome: Outcome) -> None:
        """An episode has ended and the next one begun."""
        r, e = divmod(k, self.n)
        self.finished.append((r, float(self.returns[r, e]), int(self.lengths[r, e])))
        self.episode[r, e] += 1
        self._open(k, outcome.begun, outcome.begun_mask)

    def _open(self, k: int, obs: Any, legal: Any) -> None:
        r, e = divmod(k, self.n)
        self.obs[r, e], self.actions[k], self.begun[k] = obs, [], True
        self.start[r, e], self.reward[r, e], self.returns[r, e], self.lengths[r, e] = True, 0.0, 0.0, 0
        self._following[k] = episode_seed(self.seeds[r], e, int(self.episode[r, e]) + 1)
        if legal is not None and self.mask is None:
            self.mask = np.ones((*self.episode.shape, self.spec.action), bool)
        if self.mask is not None:
            self.mask[r, e] = True if legal is None else legal

    def _history(self, k: int) -> tuple[int, list[Any], np.ndarray] | None:
        return (self._seed(k), self.actions[k], self._flat(self.obs)[k]) if self.begun[k] else None

    def _seed(self, k: int) -> int:
        r, e = divmod(k, self.n)
        return episode_seed(self.seeds[r], e, int(self.episode[r, e]))

    def _flat(self, x: np.ndarray) -> np.ndarray:
        return x.reshape(len(self.actions), *x.shape[2:])

    def _require_finite(self, next_obs: np.ndarray, reward: np.ndarray, given: Sequence[Any]) -> None:
        if np.isfinite(reward).all() and (next_obs.dtype.kind != "f" or np.isfinite(next_obs).all()):
            return
        for k, obs in enumerate(self._flat(next_obs)):
            if not np.isfinite(obs).all() or not np.isfinite(reward[k]):
                what = f"{'an observation' if np.isfinite(reward[k]) else 'a reward'} that is not finite"
                raise self._failed(Broke(k, f"gave {what} for the action {shown(given[k])}"))

    def _failed(self, fault: Broke) -> EnvironmentFailed:
        step = len(self.actions[fault.slot])
        return EnvironmentFailed(
            f"the environment, reset with seed {self._seed(fault.slot)}, at step {step}, {fault.what}"
        )


ENDS = ("terminated", "truncated")


def episode_seed(seed: int, env: int, episode: int) -> int:
    """The seed of an episode: a function of the replica's seed, the environment's number and the episode's."""
    return int(np.random.SeedSequence([seed, env, episode]).generate_state(1)[0])


def _checksum(obs: np.ndarray) -> int:
    return zlib.crc32(np.ascontiguousarray(obs).tobytes())
