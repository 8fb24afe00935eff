"""Rollouts: R policies in R x n environments in step, one compiled call for all actions, episodes counted exactly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..core.errors import UserError
from ..environments.adapter import mask_of, name_of, one_line, require_match

SLOTS = 16  # environments a replica at most: enough to spread the cost of a call, few enough to make and hold
HELD = 128  # environments in all at most, or one a replica
ENDLESS = 100_000  # steps after which an episode counts as having no end


class Episodes(NamedTuple):
    """What R policies got in E episodes each."""

    returns: np.ndarray  # [R, E] float64, undiscounted sums of raw rewards
    lengths: np.ndarray  # [R, E] int64, steps
    seeds: np.ndarray  # [R, E] int64: `env.reset(seed=seeds[r, e])` began episode e of replica r


def episode_seeds(seed: int, episodes: int) -> np.ndarray:
    """The seed of each episode, [E] int64: a function of (seed, episode) alone, so more episodes add to the list."""
    if seed < 0 or episodes < 1:
        raise UserError(f"seed {seed} and {episodes} episodes: expected a seed of at least 0 and at least 1 episode")
    return np.array([np.random.SeedSequence([seed, e]).generate_state(1)[0] >> 1 for e in range(episodes)], np.int64)


class Arena:
    """R x n environments that are made once and used for any number of evaluations.

    Every episode is reset with a seed of its own, so what ran before leaves no trace. Each replica works off a list of
    E episodes; none is dropped or cut when others end sooner, so short episodes are not favoured.
    """

    def __init__(self, make: Callable[[], Any], replicas: int, episodes: int, slots: int = SLOTS) -> None:
        """
        Args:
            make: gives a new Gymnasium environment.
            replicas: R.
            episodes: E, how many for each replica.
            slots: n at most.
        """
        self.replicas, self.episodes = replicas, episodes
        self.slots = min(episodes, slots, max(1, HELD // replicas))
        self.envs: list[list[Any]] = [[make() for _ in range(self.slots)] for _ in range(replicas)]
        self.name = name_of(self.envs[0][0])

    def close(self) -> None:
        """Close every environment."""
        for row in self.envs:
            for env in row:
                env.close()

    def run(self, team: Any, seed: int | Sequence[int] = 0, mode: str = "best", max_steps: int = ENDLESS) -> Episodes:
        """Play the E episodes with every policy of `team`.

        Args:
            team: R policies, `policy.acting.Replicas`.
            seed: what the episodes' seeds and the noise of sampled actions are made from: one for the same episodes
                with every policy, or one a policy. The noise is made from the first.
            mode: "best" or "sample".
            max_steps: an episode of more steps is taken to have no end, and refused.

        Raises:
            UserError: spaces that do not match, an environment that fails, an observation, reward or action that is not
                finite, an episode without end; naming the seed of the episode and the step.
        """
        return _Run(self, team, seed, mode, max_steps).play()


class _Run:
    """One pass over the episodes: what stands in each slot, [R, n]."""

    def __init__(self, arena: Arena, team: Any, seed: int | Sequence[int], mode: str, max_steps: int) -> None:
        self.arena, self.spec, self.max_steps = arena, team.spec, max_steps
        rows, slots, episodes = arena.replicas, arena.slots, arena.episodes
        require_match(arena.envs[0][0], team.spec, team.fitted)
        each = [int(one) for one in np.broadcast_to(seed, rows)]
        self.seeds = np.stack([episode_seeds(one, episodes) for one in each])
        self.returns, self.lengths = np.zeros((rows, episodes)), np.zeros((rows, episodes), np.int64)
        self.obs = np.zeros((rows, slots, *team.spec.obs), arena.envs[0][0].observation_space.dtype)
        self.reward, self.start = np.zeros((rows, slots)), np.zeros((rows, slots), bool)
        self.mask: np.ndarray | None = None
        self.waiting = [slots] * rows  # the next episode that no slot has taken
        self.active = [(r, i, i) for r in range(rows) for i in range(slots)]  # (replica, slot, episode)
        self.act = team.start(slots, mode, each[0])

    def play(self) -> Episodes:
        for r, i, episode in self.active:
            self.reset(r, i, episode)
        while self.active:
            if not np.isfinite(self.obs).all():
                self.refuse_observation()
            actions = self.act(self.obs, self.reward, self.mask, self.start)
            if actions.dtype.kind == "f" and not np.isfinite(actions).all():
                r, i, e = next(a for a in self.active if not np.isfinite(actions[a[:2]]).all())
                raise UserError(
                    f"the policy gave the action {_show(actions[r, i])} {self.place(r, e)}: it has diverged"
                )
            self.start[:] = False
            self.active = [
                slot for r, i, e in self.active if (slot := self.advance(r, i, e, actions[r, i])) is not None
            ]
        return Episodes(self.returns, self.lengths, self.seeds)

    def advance(self, r: int, i: int, e: int, action: Any) -> tuple[int, int, int] | None:
        """Step one environment; the slot's next turn, or None where no episode waits."""
        try:
            obs, reward, terminated, truncated, info = self.arena.envs[r][i].step(
                int(action) if self.spec.discrete else action
            )
            reward = float(reward)
        except Exception as fault:
            what = f"failed {self.place(r, e)} on the action {_show(action)}"
            raise UserError(f"environment {self.arena.name} {what}: {one_line(fault)}") from fault
        self.lengths[r, e] += 1
        self.returns[r, e] += reward
        if not np.isfinite(reward):
            what = f"gave the reward {reward} {self.place(r, e)} for the action {_show(action)}"
            raise UserError(f"environment {self.arena.name} {what}, expected finite numbers")
        if not (terminated or truncated):
            if self.lengths[r, e] >= self.max_steps:
                raise UserError(
                    f"an episode of {self.arena.name} has no end after {self.max_steps} steps "
                    f"(seed {self.seeds[r, e]}): give it a time limit (gymnasium.make(..., max_episode_steps=...))"
                )
            self.see(r, i, obs, info)
            self.reward[r, i] = reward
            return r, i, e
        if self.waiting[r] == self.arena.episodes:
            return None
        e, self.waiting[r] = self.waiting[r], self.waiting[r] + 1
        self.reset(r, i, e)
        return r, i, e

    def reset(self, r: int, i: int, e: int) -> None:
        try:
            obs, info = self.arena.envs[r][i].reset(seed=int(self.seeds[r, e]))
        except Exception as fault:
            what = f"environment {self.arena.name} failed to reset with seed {self.seeds[r, e]}"
            raise UserError(f"{what}: {one_line(fault)}") from fault
        self.see(r, i, obs, info)
        self.reward[r, i], self.start[r, i] = 0.0, True

    def see(self, r: int, i: int, obs: Any, info: dict[str, Any]) -> None:
        self.obs[r, i] = obs
        if self.mask is not None:
            self.mask[r, i] = True  # what was legal a step ago says nothing of now
        mask = mask_of(info, self.spec)
        if mask is not None:
            if self.mask is None:
                self.mask = np.ones((*self.start.shape, self.spec.action), bool)
            self.mask[r, i] = mask

    def place(self, r: int, e: int) -> str:
        return f"at step {self.lengths[r, e]} of the episode with seed {self.seeds[r, e]}"

    def refuse_observation(self) -> None:
        for r, i, e in self.active:
            bad = np.argwhere(~np.isfinite(self.obs[r, i]))
            if len(bad):
                where = ", ".join(map(str, bad[0]))
                value = f"observation[{where}] = {self.obs[r, i][tuple(bad[0])]}"
                raise UserError(
                    f"environment {self.arena.name} gave {value} {self.place(r, e)}, expected finite numbers"
                )


def _show(action: Any) -> str:
    return np.array2string(np.asarray(action), precision=4, threshold=8, max_line_width=10_000)
