"""Discounted returns of policies, played past time limits: the quantity that a critic with bootstrapping estimates."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..core.errors import UserError, one_line
from ..environments.gym.adapter import make_env
from ..environments.gym.matching import mask_of, name_of, require_match
from ..policy.acting import Replicas
from .rollout import episode_seeds

if TYPE_CHECKING:
    import gymnasium

REST = 0.01  # share of a constant reward's value that is missing where a rollout is cut
ENDLESS = -1  # Gymnasium's value of max_episode_steps for no time limit


class Discounted(NamedTuple):
    """Discounted returns of R policies from the same n first observations."""

    obs: np.ndarray  # [n, *obs] raw, the first one of each episode
    mask: np.ndarray | None  # [n, A] legal actions there
    returns: np.ndarray  # [R, n] float64, sums of treated rewards


def horizon(discount: float) -> int:
    """Steps after which all but `REST` of a constant reward's value has been counted.

    Raises:
        UserError: a discount outside [0, 1).
    """
    if not 0 <= discount < 1:
        raise UserError(f"discount is {discount}, expected in [0, 1) for a return without time limit")
    return max(1, math.ceil(math.log(REST) / math.log(discount))) if discount > 0 else 1


def discounted_returns(env: str, policies: Replicas, episodes: int, discount: float, seed: int = 0) -> Discounted:
    """Play R policies from the same first observations, without time limit, until the end or the `horizon`.

    Args:
        env: environment id, or EnvSpec as JSON.
        policies: the R policies. Rewards are treated as they were for training.
        episodes: n.
        discount: gamma in [0, 1).
        seed: seed of the episodes.

    Raises:
        UserError: spaces that do not match, or an environment that fails.
    """
    steps = horizon(discount)
    count = policies.count
    envs = [[make_env(env, max_episode_steps=ENDLESS) for _ in range(episodes)] for _ in range(count)]
    try:
        require_match(envs[0][0], policies.spec, policies.fitted)
        return _play(_Slots(envs, policies), policies, steps, discount, seed)
    except UserError:
        raise
    except Exception as fault:
        raise UserError(f"environment {name_of(envs[0][0])} failed: {one_line(fault)}") from fault
    finally:
        for row in envs:
            for one in row:
                one.close()


class _Slots:
    """R x n environments and what they gave last, [R, n, ...]."""

    def __init__(self, envs: list[list[gymnasium.Env]], policies: Replicas) -> None:
        self.envs = envs
        self.spec = policies.spec
        self.shape = (len(envs), len(envs[0]))
        self.obs = np.zeros((*self.shape, *self.spec.obs_shape), envs[0][0].observation_space.dtype)
        self.mask: np.ndarray | None = None

    def reset(self, seeds: np.ndarray) -> None:
        for r, row in enumerate(self.envs):
            for i, (env, seed) in enumerate(zip(row, seeds, strict=True)):
                self.observe(r, i, *env.reset(seed=int(seed)))

    def observe(self, r: int, i: int, obs: np.ndarray, info: Mapping[str, Any]) -> None:
        self.obs[r, i] = obs
        legal = mask_of(info, self.spec)
        if legal is not None and self.mask is None:
            self.mask = np.ones((*self.shape, self.spec.action), bool)
        if self.mask is not None:
            self.mask[r, i] = True if legal is None else legal


def _play(slots: _Slots, policies: Replicas, steps: int, discount: float, seed: int) -> Discounted:
    slots.reset(episode_seeds(seed, slots.shape[1]))
    first = slots.obs[0].copy()
    first_mask = None if slots.mask is None else slots.mask[0].copy()
    act = policies.start(slots.shape[1], "best", seed)
    returns = np.zeros(slots.shape)
    reward = np.zeros(slots.shape)
    start = np.ones(slots.shape, bool)
    alive = np.ones(slots.shape, bool)
    for t in range(steps):
        actions = act(slots.obs, reward, slots.mask, start)
        start[:] = False
        for r, i in np.argwhere(alive):
            action = int(actions[r, i]) if slots.spec.discrete else actions[r, i]
            obs, reward[r, i], terminated, truncated, info = slots.envs[r][i].step(action)
            returns[r, i] += discount**t * float(policies.fitted.rewards(reward[r, i], np.float64))
            alive[r, i] = not (terminated or truncated)
            if alive[r, i]:
                slots.observe(r, i, obs, info)
        if not alive.any():
            break
    return Discounted(first, first_mask, returns)
