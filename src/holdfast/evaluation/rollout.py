"""Rollouts: R policies in R x n environments in step, one compiled call for all actions, episodes counted exactly."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..core.errors import UserError
from ..environments.gym.adapter import name_of, require_match, spec_of
from ..environments.gym.env_pool import NO_RESET, Broke, Local, Outcome, Shape

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

    def __init__(
        self,
        make: Callable[[], Any],
        replicas: int,
        episodes: int,
        slots: int = SLOTS,
        elsewhere: Callable[[int, Shape], Any] | None = None,
    ) -> None:
        """
        Args:
            make: gives a new Gymnasium environment.
            replicas: R.
            episodes: E, how many for each replica.
            slots: n at most.
            elsewhere: from how many and the shape of their actions, the environments by number as `slots.Local` has
                them, in the processes of `Workers`, say; in this one where None.
        """
        self.replicas, self.episodes = replicas, episodes
        self.n = min(episodes, slots, max(1, HELD // replicas))
        self.env = make()  # for its spaces; the first of those that are played, where they are here
        self.name, self.here = name_of(self.env), elsewhere is None
        count = replicas * self.n
        try:
            spec = spec_of(self.env)
            shape = Shape(spec.discrete, spec.action)
            every = itertools.chain([self.env], iter(make, None))
            self.slots = Local(lambda: next(every), count, shape) if elsewhere is None else elsewhere(count, shape)
        except BaseException:
            self.env.close()
            raise

    def close(self) -> None:
        """Close every environment."""
        self.slots.close()
        if not self.here:
            self.env.close()

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
        rows, n, episodes = arena.replicas, arena.n, arena.episodes
        require_match(arena.env, team.spec, team.fitted)
        each = [int(one) for one in np.broadcast_to(seed, rows)]
        self.seeds = np.stack([episode_seeds(one, episodes) for one in each])
        self.returns, self.lengths = np.zeros((rows, episodes)), np.zeros((rows, episodes), np.int64)
        self.obs = np.zeros((rows, n, *team.spec.obs), arena.slots.dtype)
        self.reward, self.start = np.zeros((rows, n)), np.zeros((rows, n), bool)
        self.mask: np.ndarray | None = None
        self.waiting = [n] * rows  # the next episode that no slot has taken
        self.playing = {(r, i): i for r in range(rows) for i in range(n)}  # slot -> its episode
        self.given: dict[tuple[int, int], list[Any]] = {}  # slot -> the actions of its episode so far
        arena.slots.history = self.history
        self.act = team.start(n, mode, each[0])

    def play(self) -> Episodes:
        for r, i in self.playing:
            self.reset(r, i)
        while self.playing:
            if not np.isfinite(self.obs).all():
                self.refuse_observation()
            actions = self.act(self.obs, self.reward, self.mask, self.start)
            if actions.dtype.kind == "f" and not np.isfinite(actions).all():
                r, i = next(slot for slot in self.playing if not np.isfinite(actions[slot]).all())
                raise UserError(
                    f"the policy gave the action {_show(actions[r, i])} {self.place(r, i)}: it has diverged"
                )
            self.start[:] = False
            self.step([actions[slot].item() if self.spec.discrete else actions[slot] for slot in self.playing])
        return Episodes(self.returns, self.lengths, self.seeds)

    def step(self, actions: list[Any]) -> None:
        """One step of every open episode; what waits begins where one ends."""
        slots = list(self.playing)
        try:
            found = self.arena.slots.step([self.number(*slot) for slot in slots], actions, [NO_RESET] * len(slots))
        except Broke as fault:
            raise self.failed(fault) from fault
        for (r, i), action, outcome in zip(slots, actions, found, strict=True):
            if not self.arena.here:  # nothing of this process is ever played again
                self.given[r, i].append(np.array(action))
            self.take(r, i, action, outcome)

    def take(self, r: int, i: int, action: Any, outcome: Outcome) -> None:
        e = self.playing[r, i]
        self.lengths[r, e] += 1
        self.returns[r, e] += outcome.reward
        if not np.isfinite(outcome.reward):
            what = f"gave the reward {outcome.reward} {self.place(r, i)} for the action {_show(action)}"
            raise UserError(f"environment {self.arena.name} {what}, expected finite numbers")
        if not (outcome.terminated or outcome.truncated):
            if self.lengths[r, e] >= self.max_steps:
                raise UserError(
                    f"an episode of {self.arena.name} has no end after {self.max_steps} steps "
                    f"(seed {self.seeds[r, e]}): give it a time limit (gymnasium.make(..., max_episode_steps=...))"
                )
            self.see(r, i, outcome.obs, outcome.mask)
            self.reward[r, i] = outcome.reward
        elif self.waiting[r] == self.arena.episodes:
            del self.playing[r, i]
        else:
            self.playing[r, i], self.waiting[r] = self.waiting[r], self.waiting[r] + 1
            self.reset(r, i)

    def reset(self, r: int, i: int) -> None:
        self.given[r, i] = []
        try:
            obs, mask = self.arena.slots.reset(self.number(r, i), self.seed(r, i))
        except Broke as fault:
            raise self.failed(fault) from fault
        self.see(r, i, obs, mask)
        self.reward[r, i], self.start[r, i] = 0.0, True

    def see(self, r: int, i: int, obs: Any, mask: np.ndarray | None) -> None:
        if np.shape(obs) != self.spec.obs:
            what = f"gave an observation of shape {np.shape(obs)} {self.place(r, i)}, expected {self.spec.obs}"
            raise UserError(f"environment {self.arena.name} {what}")
        self.obs[r, i] = obs
        if self.mask is None and mask is not None:
            self.mask = np.ones((*self.start.shape, self.spec.action), bool)
        if self.mask is not None:
            self.mask[r, i] = True if mask is None else mask  # what was legal a step ago says nothing of now

    def number(self, r: int, i: int) -> int:
        return r * self.arena.n + i

    def seed(self, r: int, i: int) -> int:
        return int(self.seeds[r, self.playing[r, i]])

    def history(self, slot: int) -> tuple[int, list[Any], np.ndarray] | None:
        """What a worker's successor plays again: seed, actions and observation of an open episode that has begun."""
        r, i = divmod(slot, self.arena.n)
        if (r, i) not in self.playing or (r, i) not in self.given:
            return None
        return self.seed(r, i), self.given[r, i], self.obs[r, i]

    def failed(self, fault: Broke) -> UserError:
        return UserError(f"environment {self.arena.name} {fault.what}, {self.place(*divmod(fault.slot, self.arena.n))}")

    def place(self, r: int, i: int) -> str:
        e = self.playing[r, i]
        return f"at step {self.lengths[r, e]} of the episode with seed {self.seeds[r, e]}"

    def refuse_observation(self) -> None:
        for r, i in self.playing:
            bad = np.argwhere(~np.isfinite(self.obs[r, i]))
            if len(bad):
                where = ", ".join(map(str, bad[0]))
                value = f"observation[{where}] = {self.obs[r, i][tuple(bad[0])]}"
                raise UserError(
                    f"environment {self.arena.name} gave {value} {self.place(r, i)}, expected finite numbers"
                )


def _show(action: Any) -> str:
    return np.array2string(np.asarray(action), precision=4, threshold=8, max_line_width=10_000)
