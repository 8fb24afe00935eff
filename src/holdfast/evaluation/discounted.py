"""Discounted returns of policies, played past time limits: what a critic that bootstraps there estimates."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from ..core.errors import UserError
from ..environments.gym.adapter import make_env, mask_of, name_of, one_line, require_match
from .rollout import episode_seeds

REST = 0.01  # what is left of a constant reward's value where a rollout is cut


class Discounted(NamedTuple):
    """What R policies got from the same n first observations."""

    obs: np.ndarray  # [n, *obs] raw, the first of each episode
    mask: np.ndarray | None  # [n, A] legal actions there
    returns: np.ndarray  # [R, n] float64, in units of treated rewards


def horizon(discount: float) -> int:
    """Steps after which all but `REST` of a constant reward's value has been counted.

    Raises:
        UserError: a discount of 1, which has no such number.
    """
    if not 0 <= discount < 1:
        raise UserError(f"discount is {discount}, expected in [0, 1) for a return without time limit")
    return max(1, math.ceil(math.log(REST) / math.log(discount))) if discount > 0 else 1


def discounted_returns(env: str, team: Any, episodes: int, discount: float, seed: int = 0) -> Discounted:
    """Play R policies from the same `episodes` first observations until the end or the `horizon`, time limits aside.

    Args:
        env: environment id, or EnvSpec as JSON.
        team: R policies, `policy.acting.Replicas`; its treatment turns rewards into those that were learned from.
        episodes: n.
        discount: gamma.
        seed: of the episodes.

    Raises:
        UserError: spaces that do not match, or an environment that fails.
    """
    steps, endless = horizon(discount), -1  # Gymnasium's way to leave the time limit out
    envs = [[make_env(env, max_episode_steps=endless) for _ in range(episodes)] for _ in range(team.count)]
    try:
        require_match(envs[0][0], team.spec, team.fitted)
        return _play(envs, team, steps, discount, seed)
    except UserError:
        raise
    except Exception as fault:
        raise UserError(f"environment {name_of(envs[0][0])} failed: {one_line(fault)}") from fault
    finally:
        for env_ in (e for row in envs for e in row):
            env_.close()


def _play(envs: list[list[Any]], team: Any, steps: int, discount: float, seed: int) -> Discounted:
    count, episodes = len(envs), len(envs[0])
    obs = np.zeros((count, episodes, *team.spec.obs), envs[0][0].observation_space.dtype)
    masks: np.ndarray | None = None

    def see(r: int, i: int, seen: Any, info: dict[str, Any]) -> None:
        nonlocal masks
        obs[r, i], legal = seen, mask_of(info, team.spec)
        if masks is not None:
            masks[r, i] = True
        if legal is not None:
            masks = np.ones((count, episodes, team.spec.action), bool) if masks is None else masks
            masks[r, i] = legal

    for r, row in enumerate(envs):
        for i, (env, one) in enumerate(zip(row, episode_seeds(seed, episodes), strict=True)):
            see(r, i, *env.reset(seed=int(one)))
    first, first_mask = obs[0].copy(), None if masks is None else masks[0].copy()
    act, total = team.start(episodes, "best", seed), np.zeros((count, episodes))
    reward, start, alive = np.zeros((count, episodes)), np.ones((count, episodes), bool), np.ones_like(total, bool)
    for t in range(steps):
        actions = act(obs, reward, masks, start)
        start[:] = False
        for r, i in np.argwhere(alive):
            action = int(actions[r, i]) if team.spec.discrete else actions[r, i]
            seen, reward[r, i], terminated, truncated, info = envs[r][i].step(action)
            total[r, i] += discount**t * float(team.fitted.rewards(reward[r, i], np.float64))
            alive[r, i] = not (terminated or truncated)
            if alive[r, i]:
                see(r, i, seen, info)
        if not alive.any():
            break
    return Discounted(first, first_mask, total)
