"""Rollouts: R policies in R x n environments, one compiled call for all actions, an exact number of episodes each."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..core.errors import UserError
from ..environments.gym.env_pool import NO_RESET, Action, EnvPool, LocalPool, Outcome, Shape, SlotFailed
from ..environments.gym.matching import name_of, require_match, spec_of
from ..policy.acting import Replicas

if TYPE_CHECKING:
    import gymnasium

SLOTS = 16  # environments a policy at most: enough to spread the cost of a call, few enough to make and keep
HELD = 128  # environments in all at most, or one a policy
ENDLESS = 100_000  # steps after which an episode is assumed to have no end

Slot = tuple[int, int]  # (policy r, environment i): an index into arrays [R, n]


class EpisodeReturns(NamedTuple):
    """The results of R policies in E episodes each."""

    returns: np.ndarray  # [R, E] float64, undiscounted sums of raw rewards
    lengths: np.ndarray  # [R, E] int64, steps
    seeds: np.ndarray  # [R, E] int64: episode e of policy r started with `env.reset(seed=seeds[r, e])`


def episode_seeds(seed: int, episodes: int) -> np.ndarray:
    """The seed of each episode, [E] int64: a function of (seed, episode), so that more episodes extend the list.

    Raises:
        UserError: a negative seed, or no episodes.
    """
    if seed < 0 or episodes < 1:
        raise UserError(f"seed {seed} and {episodes} episodes: expected a seed of at least 0 and at least 1 episode")
    return np.array([np.random.SeedSequence([seed, e]).generate_state(1)[0] >> 1 for e in range(episodes)], np.int64)


class Rollout:
    """R x n environments that are made once and used for any number of evaluations.

    Every episode is reset with its own seed, so earlier evaluations have no effect. Each policy plays a list of E
    episodes; none is dropped or cut when others end earlier, so short episodes are not favoured.
    """

    def __init__(
        self,
        make: Callable[[], gymnasium.Env],
        replicas: int,
        episodes: int,
        slots: int = SLOTS,
        pool: Callable[[int, Shape], EnvPool] | None = None,
    ) -> None:
        """
        Args:
            make: makes a new Gymnasium environment.
            replicas: R, the number of policies.
            episodes: E, the number of episodes of each policy.
            slots: the largest n.
            pool: makes a pool from the number of environments and their action space, for instance `Workers`; None:
                the environments are in this process.
        """
        self.replicas = replicas
        self.episodes = episodes
        self.n = min(episodes, slots, max(1, HELD // replicas))
        self.env = make()  # for its spaces; in this process also the first one that is played
        self.name = name_of(self.env)
        self.local = pool is None
        count = replicas * self.n
        try:
            spec = spec_of(self.env)
            shape = Shape(spec.discrete, spec.action)
            every = itertools.chain([self.env], iter(make, None))
            self.pool = LocalPool(lambda: next(every), count, shape) if pool is None else pool(count, shape)
        except BaseException:
            self.env.close()
            raise

    def close(self) -> None:
        """Close every environment."""
        self.pool.close()
        if not self.local:
            self.env.close()

    def run(
        self,
        policies: Replicas,
        seed: int | Sequence[int] = 0,
        mode: str = "best",
        max_steps: int = ENDLESS,
        ended: Callable[[int], None] | None = None,
        targets: Sequence[float] = (),
        before_step: Callable[[], None] | None = None,
    ) -> EpisodeReturns:
        """Play the E episodes with every policy.

        Args:
            policies: the R policies.
            seed: determines the seeds of the episodes: one for the same episodes with every policy, or one a policy.
                The first one also seeds the noise of sampled actions.
            mode: "best" or "sample".
            max_steps: an episode of more steps is refused, since it has no end.
            ended: is called after each episode, with the number of episodes that have ended.
            targets: raw returns to ask for, G. The episodes are then G times the same E / G: the first E / G are played
                with the first target, and so on. Empty: the policies' own.
            before_step: is called before each step of all environments. What it raises ends the evaluation.

        Raises:
            UserError: spaces that do not match, an environment that fails, an observation, reward or action that is not
                finite, or an episode without end; the line names the episode's seed and the step.
        """
        return _Run(self, policies, seed, mode, max_steps, ended, targets).play(before_step)


class _Run:
    """One evaluation: the state of each slot, as arrays [R, n]."""

    def __init__(
        self,
        rollout: Rollout,
        policies: Replicas,
        seed: int | Sequence[int],
        mode: str,
        max_steps: int,
        ended: Callable[[int], None] | None = None,
        targets: Sequence[float] = (),
    ) -> None:
        require_match(rollout.env, policies.spec, policies.fitted)
        rows = rollout.replicas
        n = rollout.n
        seeds = [int(one) for one in np.broadcast_to(seed, rows)]
        self.rollout = rollout
        self.spec = policies.spec
        self.max_steps = max_steps
        self.ended = ended
        self.count = 0  # episodes that have ended
        each = rollout.episodes // max(1, len(targets))  # episodes with one target
        self.seeds = np.stack([np.tile(episode_seeds(one, each), max(1, len(targets))) for one in seeds])
        self.targets = np.repeat(np.asarray(targets, np.float64), each)  # [E], or empty
        self.target = np.zeros((rows, n)) if len(targets) else None
        self.returns = np.zeros((rows, rollout.episodes))
        self.lengths = np.zeros((rows, rollout.episodes), np.int64)
        self.obs = np.zeros((rows, n, *policies.spec.obs_shape), rollout.pool.dtype)
        self.reward = np.zeros((rows, n))
        self.start = np.zeros((rows, n), bool)
        self.mask: np.ndarray | None = None
        self.waiting = [n] * rows  # the first episode of each policy that has not started
        self.playing: dict[Slot, int] = {(r, i): i for r in range(rows) for i in range(n)}  # slot -> its episode
        self.actions: dict[Slot, list[Action]] = {}  # slot -> the actions of its episode so far
        rollout.pool.history = self.history
        self.act = policies.start(n, mode, seeds[0])

    def play(self, before_step: Callable[[], None] | None = None) -> EpisodeReturns:
        for slot in self.playing:
            self.reset(slot)
        while self.playing:
            if before_step is not None:
                before_step()
            self.require_finite_observations()
            actions = self.act(self.obs, self.reward, self.mask, self.start, self.target)
            self.require_finite_actions(actions)
            self.start[:] = False
            self.step([actions[slot].item() if self.spec.discrete else actions[slot] for slot in self.playing])
        return EpisodeReturns(self.returns, self.lengths, self.seeds)

    def step(self, actions: list[Action]) -> None:
        """One step of every open episode. Where one ends, the next waiting episode starts."""
        slots = list(self.playing)
        try:
            found = self.rollout.pool.step([self.number(slot) for slot in slots], actions, [NO_RESET] * len(slots))
        except SlotFailed as fault:
            raise self.failed(fault) from fault
        for slot, action, outcome in zip(slots, actions, found, strict=True):
            if not self.rollout.local:  # an episode in this process is never replayed
                self.actions[slot].append(np.array(action))
            self.record(slot, action, outcome)

    def record(self, slot: Slot, action: Action, outcome: Outcome) -> None:
        """Count a step; start the next episode if it was the last one."""
        e = self.playing[slot]
        r = slot[0]
        self.lengths[r, e] += 1
        self.returns[r, e] += outcome.reward
        if not np.isfinite(outcome.reward):
            what = f"gave the reward {outcome.reward} {self.place(slot)} for the action {_show(action)}"
            raise UserError(f"environment {self.rollout.name} {what}, expected finite numbers")
        if not (outcome.terminated or outcome.truncated):
            if self.lengths[r, e] >= self.max_steps:
                raise UserError(
                    f"an episode of {self.rollout.name} has no end after {self.max_steps} steps "
                    f"(seed {self.seeds[r, e]}): give it a time limit (gymnasium.make(..., max_episode_steps=...))"
                )
            self.observe(slot, outcome.obs, outcome.mask)
            self.reward[slot] = outcome.reward
            return
        self.count += 1
        if self.ended is not None:
            self.ended(self.count)
        if self.waiting[r] == self.rollout.episodes:
            del self.playing[slot]
        else:
            self.playing[slot] = self.waiting[r]
            self.waiting[r] += 1
            self.reset(slot)

    def reset(self, slot: Slot) -> None:
        self.actions[slot] = []
        try:
            obs, mask = self.rollout.pool.reset(self.number(slot), self.seed(slot))
        except SlotFailed as fault:
            raise self.failed(fault) from fault
        self.observe(slot, obs, mask)
        if self.target is not None:
            self.target[slot] = self.targets[self.playing[slot]]
        self.reward[slot] = 0.0
        self.start[slot] = True

    def observe(self, slot: Slot, obs: np.ndarray, mask: np.ndarray | None) -> None:
        if np.shape(obs) != self.spec.obs_shape:
            what = f"gave an observation of shape {np.shape(obs)} {self.place(slot)}, expected {self.spec.obs_shape}"
            raise UserError(f"environment {self.rollout.name} {what}")
        self.obs[slot] = obs
        if self.mask is None and mask is not None:
            self.mask = np.ones((*self.start.shape, self.spec.action), bool)
        if self.mask is not None:
            self.mask[slot] = True if mask is None else mask  # the mask of the step before no longer holds

    def number(self, slot: Slot) -> int:
        """The slot's number in the pool."""
        return slot[0] * self.rollout.n + slot[1]

    def seed(self, slot: Slot) -> int:
        """The seed of the slot's episode."""
        return int(self.seeds[slot[0], self.playing[slot]])

    def history(self, number: int) -> tuple[int, list[Action], np.ndarray] | None:
        """What a new worker replays: seed, actions and observation of an open episode."""
        slot = divmod(number, self.rollout.n)
        if slot not in self.playing or slot not in self.actions:
            return None
        return self.seed(slot), self.actions[slot], self.obs[slot]

    def failed(self, fault: SlotFailed) -> UserError:
        place = self.place(divmod(fault.slot, self.rollout.n))
        return UserError(f"environment {self.rollout.name} {fault.what}, {place}")

    def place(self, slot: Slot) -> str:
        r = slot[0]
        e = self.playing[slot]
        return f"at step {self.lengths[r, e]} of the episode with seed {self.seeds[r, e]}"

    def require_finite_observations(self) -> None:
        if np.isfinite(self.obs).all():
            return
        for slot in self.playing:
            bad = np.argwhere(~np.isfinite(self.obs[slot]))
            if len(bad):
                where = ", ".join(map(str, bad[0]))
                value = f"observation[{where}] = {self.obs[slot][tuple(bad[0])]}"
                raise UserError(
                    f"environment {self.rollout.name} gave {value} {self.place(slot)}, expected finite numbers"
                )

    def require_finite_actions(self, actions: np.ndarray) -> None:
        if actions.dtype.kind != "f" or np.isfinite(actions).all():
            return
        slot = next(slot for slot in self.playing if not np.isfinite(actions[slot]).all())
        raise UserError(f"the policy gave the action {_show(actions[slot])} {self.place(slot)}: it has diverged")


def _show(action: Action) -> str:
    return np.array2string(np.asarray(action), precision=4, threshold=8, max_line_width=10_000)
