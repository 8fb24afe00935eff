"""Collects transitions in Gymnasium environments, such that a resumed run continues the same episodes.

The state of an environment cannot be saved in general. Instead, each episode has its own seed: a function of the
replica's seed, the number of the environment and the number of the episode. `log` saves that number and the actions
since the reset; `restore` replays them. An environment that is not deterministic is detected, and the run reports it.
"""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ...core.errors import UserError
from .env_pool import Action, EnvPool, LocalPool, Outcome, Shape, SlotFailed, shown

if TYPE_CHECKING:
    import gymnasium

    from ...core.spec import Spec


class Steps(NamedTuple):
    """One step of every environment, in the environment's units: leaves [R, n, ...]."""

    obs: np.ndarray
    action: np.ndarray
    reward: np.ndarray
    next_obs: np.ndarray  # of the episode that the step belongs to, also if it ended
    terminated: np.ndarray
    truncated: np.ndarray
    mask: np.ndarray | None
    next_mask: np.ndarray | None


Watch = Callable[[int, int, int, Steps], None]  # (replica, environment, number of the step, one row)


class EnvironmentFailed(UserError):
    """An environment raised an exception, or gave NaN or infinite numbers."""


class Collector:
    """R x n environments that are stepped together. Each one is reset when its episode ends.

    If one environment fails, no environment's step counts: `log` always describes whole steps.
    """

    def __init__(
        self,
        make: Callable[[], gymnasium.Env] | None,
        seeds: Sequence[int],
        n: int,
        spec: Spec,
        pool: EnvPool | None = None,
    ) -> None:
        """
        Args:
            make: makes a new Gymnasium environment; not used if `pool` is given.
            seeds: seeds of the replicas, [R].
            n: number of environments of each replica.
            spec: shapes of the problem.
            pool: the R x n environments, for instance in worker processes; None: in this process.
        """
        self.seeds = list(seeds)
        self.n = n
        self.spec = spec
        rows = (len(self.seeds), n)
        count = len(self.seeds) * n
        if pool is None:
            assert make is not None, "a Collector needs environments or a way to make them"
            pool = LocalPool(make, count, Shape(spec.discrete, spec.action))
        self.pool = pool
        self.pool.history = self._history
        self.repeatable = True  # whether every replayed episode gave the same observations
        self.episode = np.zeros(rows, np.int64)  # number of the open episode
        self.actions: list[list[Action]] = [[] for _ in range(count)]  # since the reset
        self.started = [False] * count
        self.obs = np.zeros((*rows, *spec.obs_shape), self.pool.dtype)
        self.mask: np.ndarray | None = None
        self.reward = np.zeros(rows)  # of the last step, 0 at the start of an episode
        self.start = np.ones(rows, bool)  # whether `obs` is the first observation of an episode
        self.returns = np.zeros(rows)  # of the open episode
        self.lengths = np.zeros(rows, np.int64)
        self.finished: list[tuple[int, float, int]] = []  # see `take_finished`
        self._following = [0] * count  # seeds of the next episodes
        self._dtype = "<f4"  # of actions, in the environments' units

    def begin(self) -> None:
        """Check whether the first environment is deterministic, then reset every environment to its first episode."""
        with contextlib.suppress(SlotFailed):  # the actions of this check may fail although the run's own do not
            self.repeatable = self.pool.repeats(episode_seed(self.seeds[0], 0, 0))
        for k in range(len(self.actions)):
            self._reset(k)

    def step(self, actions: np.ndarray) -> Steps:
        """Step every environment. One whose episode ends is reset, and `obs` then holds its new first observation.

        Args:
            actions: in the environments' units, [R, n, ...].

        Raises:
            EnvironmentFailed: an environment raised, or gave NaN or infinite numbers; the line names the seed, the step
                and the action.
        """
        actions = np.asarray(actions)
        flat = actions.reshape(len(self.actions), *actions.shape[2:])
        given = flat.tolist() if self.spec.discrete else list(flat)
        self._dtype = flat.dtype.str
        try:
            found = self.pool.step(range(len(given)), given, self._following)
        except SlotFailed as fault:
            raise self._failed(fault) from fault
        for k, outcome in enumerate(found):
            if np.shape(outcome.obs) != self.spec.obs_shape:
                what = f"gave an observation of shape {np.shape(outcome.obs)}, expected {self.spec.obs_shape}"
                raise self._failed(SlotFailed(k, f"{what}, for the action {shown(given[k])}"))
        rows = self.start.shape
        stacked = np.stack([outcome.obs for outcome in found])
        next_obs = stacked.astype(self.obs.dtype, copy=False).reshape(self.obs.shape)
        reward = np.array([outcome.reward for outcome in found])
        self._require_finite(next_obs, reward, given)
        obs = self.obs.copy()
        mask = None if self.mask is None else self.mask.copy()
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
            if outcome.started:
                self._next_episode(k, outcome)
        terminated = np.array([outcome.terminated for outcome in found]).reshape(rows)
        truncated = np.array([outcome.truncated for outcome in found]).reshape(rows)
        return Steps(obs, actions, reward.reshape(rows), next_obs, terminated, truncated, mask, next_mask)

    def take_finished(self) -> list[tuple[int, float, int]]:
        """(replica, return, length) of the episodes that ended since the last call."""
        found = self.finished
        self.finished = []
        return found

    def log(self) -> dict[str, Any]:
        """What `restore` needs, JSON-ready.

        For each environment: the number of its episode, the actions since the reset, and a checksum of the observation.
        """
        return {
            "episode": self.episode.tolist(),
            "actions": [[shown(a) for a in env] for env in self.actions],
            "checksums": [_checksum(obs) for obs in self._flat(self.obs)],
            "dtype": self._dtype,
            "repeatable": self.exact,
        }

    def restore(self, log: dict[str, Any], watch: Watch | None = None) -> bool:
        """Replay the open episode of every environment.

        Args:
            log: the return value of `log`.
            watch: called with each replayed step: replica, environment, number of the step, and one row.

        Returns:
            Whether the replays gave the same observations. If not, the run continues from the new ones.

        Raises:
            EnvironmentFailed: an environment failed.
        """
        same = True
        self.repeatable = bool(log["repeatable"])
        self.episode = np.asarray(log["episode"], np.int64)
        self._dtype = str(log["dtype"])
        for k, actions in enumerate(log["actions"]):
            self._reset(k)
            for t, action in enumerate(actions):
                if not self._replay(k, t, action if self.spec.discrete else np.asarray(action, self._dtype), watch):
                    same = False  # the episode ended earlier than before, and the next one has started
                    break
            same &= _checksum(self._flat(self.obs)[k]) == log["checksums"][k]
        self.repeatable &= same
        return same

    @property
    def exact(self) -> bool:
        """Whether every replayed episode gave the same observations."""
        return self.repeatable and self.pool.exact

    def close(self) -> None:
        """Close every environment."""
        self.pool.close()

    def _replay(self, k: int, t: int, action: Action, watch: Watch | None) -> bool:
        """Replay step t of an open episode. False if it ended the episode, which it had not done before."""
        r, e = divmod(k, self.n)
        before = self.obs[r, e].copy()
        mask = None if self.mask is None else self.mask[r, e].copy()
        try:
            outcome = self.pool.step([k], [action], [self._following[k]])[0]
        except SlotFailed as fault:
            raise self._failed(fault) from fault
        self.actions[k].append(action)
        self.start[r, e] = False
        self.obs[r, e] = outcome.obs
        self.reward[r, e] = outcome.reward
        self.returns[r, e] += outcome.reward
        self.lengths[r, e] += 1
        if self.mask is not None:
            self.mask[r, e] = True if outcome.mask is None else outcome.mask
        if watch is not None:
            end = (outcome.terminated, outcome.truncated)
            row = (before, action, outcome.reward, outcome.obs, *end, mask, outcome.mask)
            watch(r, e, t, Steps(*(None if x is None else np.asarray(x) for x in row)))  # type: ignore[arg-type]
        if outcome.started:
            self._next_episode(k, outcome)
        return not outcome.started

    def _reset(self, k: int) -> None:
        try:
            obs, legal = self.pool.reset(k, self._seed(k))
        except SlotFailed as fault:
            raise self._failed(fault) from fault
        self._open(k, obs, legal)

    def _next_episode(self, k: int, outcome: Outcome) -> None:
        """Record the end of an episode, and open the next one."""
        r, e = divmod(k, self.n)
        self.finished.append((r, float(self.returns[r, e]), int(self.lengths[r, e])))
        self.episode[r, e] += 1
        self._open(k, np.asarray(outcome.first_obs), outcome.first_mask)

    def _open(self, k: int, obs: np.ndarray, legal: np.ndarray | None) -> None:
        r, e = divmod(k, self.n)
        self.obs[r, e] = obs
        self.actions[k] = []
        self.started[k] = True
        self.start[r, e] = True
        self.reward[r, e] = 0.0
        self.returns[r, e] = 0.0
        self.lengths[r, e] = 0
        self._following[k] = episode_seed(self.seeds[r], e, int(self.episode[r, e]) + 1)
        if legal is not None and self.mask is None:
            self.mask = np.ones((*self.episode.shape, self.spec.action), bool)
        if self.mask is not None:
            self.mask[r, e] = True if legal is None else legal

    def _history(self, k: int) -> tuple[int, list[Action], np.ndarray] | None:
        return (self._seed(k), self.actions[k], self._flat(self.obs)[k]) if self.started[k] else None

    def _seed(self, k: int) -> int:
        r, e = divmod(k, self.n)
        return episode_seed(self.seeds[r], e, int(self.episode[r, e]))

    def _flat(self, x: np.ndarray) -> np.ndarray:
        return x.reshape(len(self.actions), *x.shape[2:])

    def _require_finite(self, next_obs: np.ndarray, reward: np.ndarray, given: Sequence[Action]) -> None:
        if np.isfinite(reward).all() and (next_obs.dtype.kind != "f" or np.isfinite(next_obs).all()):
            return
        for k, obs in enumerate(self._flat(next_obs)):
            if not np.isfinite(obs).all() or not np.isfinite(reward[k]):
                what = f"{'an observation' if np.isfinite(reward[k]) else 'a reward'} that is not finite"
                raise self._failed(SlotFailed(k, f"gave {what} for the action {shown(given[k])}"))

    def _failed(self, fault: SlotFailed) -> EnvironmentFailed:
        step = len(self.actions[fault.slot])
        return EnvironmentFailed(
            f"the environment, reset with seed {self._seed(fault.slot)}, at step {step}, {fault.what}"
        )


def episode_seed(seed: int, env: int, episode: int) -> int:
    """The seed of an episode: a function of the replica's seed, the environment's number and the episode's number."""
    return int(np.random.SeedSequence([seed, env, episode]).generate_state(1)[0])


def _checksum(obs: np.ndarray) -> int:
    return zlib.crc32(np.ascontiguousarray(obs).tobytes())
