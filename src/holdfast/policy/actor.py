"""`Actor`: the part of a policy that acts: raw observations in, actions in the environment's units out."""

from __future__ import annotations

import dataclasses
import functools
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from ..core import config
from ..core.contract import Algorithm, Frozen
from ..core.errors import UserError
from ..core.spec import Cfg, Memory, Obs, Spec, State
from ..data.feed.treatment import Fitted, same_treatment
from ..environments.gym import joint_actions
from . import arguments
from .acting import Acting, Layout, Replicas, layout_of
from .reader import Reader


class Actor:
    """The networks of a policy that act, with the treatment of its data.

    Attributes:
        algorithm, cfg, spec: what it was trained with.
        fitted: normaliser of observations and bounds of actions, fitted on the training data.
        info: JSON-ready facts, see `Policy`.
        table: the roles of the columns as a `Schema`; None: it was not trained on a table.
    """

    def __init__(
        self,
        algorithm: Algorithm,
        cfg: Cfg,
        state: State,
        spec: Spec,
        fitted: Fitted,
        info: Mapping[str, Any] | None = None,
    ) -> None:
        self.algorithm = algorithm
        self.spec = spec
        self.fitted = fitted
        self.info = dict(info or {})
        self.cfg = _plain(cfg)
        arrays = config.as_arrays(self.cfg)
        self.layout: Layout = layout_of(algorithm, arrays, state, spec)
        self.state = _copied(state, tuple(self.layout.live))
        self.reader = Reader(algorithm.name, spec, fitted, self.info)
        self.table = self.reader.table
        self.raw_action_space = self.reader.action_space
        self._team: Replicas | None = None
        self._calls = 0
        self._lock = threading.Lock()  # of the number of calls: threads draw different numbers

    def __call__(
        self,
        obs: Obs,
        mode: str = "best",
        *,
        mask: ArrayLike | None = None,
        seed: int | None = None,
    ) -> np.ndarray | np.generic:
        """The action for each raw observation.

        Args:
            obs: one observation [*obs], or several [n, *obs]; a dict of arrays if observations have several. What was
                flattened for training (dictionaries, tuples, whole numbers), and images in another layout, may be given
                as the environment gives it. Images are bytes (uint8). A policy that was trained on a table also takes
                rows of it: a mapping from column to value, a list of them, or a data frame.
            mode: "best" (the most likely action) or "sample" (a draw).
            mask: legal actions [A] or [n, A], for discrete actions.
            seed: seed of the draw. None: another draw at each call, the same sequence for every new or loaded policy.

        Returns:
            Actions in the units and type of the environment's space: [A] or [n, A], integers [] or [n] where discrete,
            integers [K] or [n, K] where the space has K discrete actions at once (MultiDiscrete, MultiBinary). For rows
            of a table: the label or the number of the action, or an array of n; by column if there are several.

        Raises:
            UserError: a wrong shape, an entry that is not finite, no legal action, or a policy with memory (use `act`).
        """
        action, memory = self.act(obs, None, mode, mask=mask, seed=seed)
        if jax.tree.leaves(memory):
            raise UserError(
                f"a policy of {self.algorithm.name} remembers: use policy.act(obs, memory), which returns the memory"
                f"{'' if self.algorithm.target is None else ', with the reward of the step before (reward=...)'}"
            )
        return action

    def act(
        self,
        obs: Obs,
        memory: Memory | None = None,
        mode: str = "best",
        *,
        reward: ArrayLike | None = None,
        mask: ArrayLike | None = None,
        seed: int | None = None,
        target_return: ArrayLike | None = None,
    ) -> tuple[Any, Any]:
        """Like calling the policy, with a memory: `(actions, memory)`.

        Args:
            obs: one observation [*obs], or several [n, *obs].
            memory: what `act` returned for the step before; None at the start of an episode.
            mode: "best" or "sample".
            reward: raw reward of the step before, [] or [n]; needed only by policies that follow a return.
            mask: legal actions [A] or [n, A].
            seed: seed of the draw, as in a call of the policy.
            target_return: return that a policy which follows a return is asked for, [] or [n], as a sum of raw rewards
                of an episode. It is read at the start of an episode. None: `self.target_return`.

        Raises:
            UserError: as a call of the policy does, or a memory, a reward or a target that does not fit.
        """
        obs, mask, labelled = self.reader.from_table(obs, mask)
        rows, single = self.reader.rows(obs)
        n = len(jax.tree.leaves(rows)[0])
        legal = self.reader.mask(mask, n)
        self._require_reward(memory, reward)
        before = arguments.rewards(reward, n)
        if target_return is not None and self.algorithm.target is None:
            raise UserError(f"a policy of {self.algorithm.name} follows no return: leave target_return out")
        asked = None if target_return is None else arguments.targets(target_return, n)
        acting = self.start(n, mode, self._next_seed() if seed is None else seed)
        begin = np.full((1, n), memory is None)
        if memory is not None:
            acting.memory = arguments.require_memory(memory, acting.memory, n)
        given = jax.tree.map(lambda x: x[None], rows)
        with np.errstate(over="ignore", invalid="ignore"):  # the check below names the row
            actions = acting(given, before.reshape(1, n), legal, begin, asked)[0]
        bad = ~np.isfinite(actions.reshape(n, int(np.prod(actions.shape[1:])))).all(1)
        if bad.any():
            row = int(np.argmax(bad))
            raise UserError(f"the action for observation {row} is not finite: the observation is outside of what the "
                            "policy can calculate with")  # fmt: skip
        if self.raw_action_space is not None:
            actions = joint_actions.parts(self.raw_action_space, actions)
        return self.reader.answer(actions, single, labelled), acting.memory

    @property
    def target_return(self) -> float | None:
        """The return that the policy aims at, as a sum of raw rewards of an episode; None: it follows no return."""
        if self.algorithm.target is None:
            return None
        return float(self.algorithm.target(config.as_arrays(self.cfg), self.state)) / self.fitted.reward_scale

    def numbers(self, obs: Obs) -> Any:
        """One observation as an array [*obs] of the policy's numbers, from the forms that a call takes.

        Raises:
            UserError: several observations, or what a call refuses.
        """
        rows, single = self.reader.rows(self.reader.from_table(obs, None)[0])
        if not single:
            raise UserError("several observations, expected one")
        return rows[0]

    def to_inside(self, action: ArrayLike, n: int = 1) -> np.ndarray:
        """Actions of the environment as n rows in inside units, see `Reader.to_inside`."""
        return self.reader.to_inside(action, n)

    def start(self, n: int, mode: str = "best", seed: int = 0) -> Acting:
        """Begin to act in n environments at once; see `Acting`, which counts one replica."""
        if self._team is None:
            self._team = Actor.stacked([self])
        return self._team.start(n, mode, seed)

    def frozen(self) -> Frozen:
        """This policy as the input of another algorithm; it then takes treated observations."""
        algorithm = self.algorithm
        return Frozen(
            self.spec, algorithm.act, algorithm.memory, config.as_arrays(self.cfg), self.state, algorithm.dist
        )

    def acts_with(self, other: Actor) -> bool:
        """Whether the two differ in nothing but weights and the config's floats, so that one program serves both."""
        same = self.algorithm.name == other.algorithm.name and self.layout == other.layout and self.spec == other.spec
        return same and same_treatment(self.fitted, other.fitted)

    @staticmethod
    def stacked(policies: Sequence[Actor]) -> Replicas:
        """Several policies as replicas that act in one program.

        Raises:
            UserError: they are not of one algorithm, static configuration, problem and treatment.
        """
        first = policies[0]
        if not all(first.acts_with(policy) for policy in policies):
            what = "policies of different algorithms, network sizes or treatments"
            raise UserError(f"{what} cannot act in one program: take them one by one")
        states = jax.tree.map(lambda *xs: jnp.stack(xs), *[p.state for p in policies])
        cfgs = jax.tree.map(lambda *xs: jnp.stack(xs), *[config.as_arrays(p.cfg) for p in policies])
        return Replicas(first.algorithm, cfgs, states, first.spec, first.fitted, int(first.info.get("step", 0)))

    def _require_reward(self, memory: Memory | None, reward: ArrayLike | None) -> None:
        """Refuse a later step of a policy that follows a return without the reward of the step before."""
        if self.algorithm.target is None or memory is None or reward is not None:
            return
        if not getattr(self.cfg, "delayed", False):
            raise UserError(
                f"a policy of {self.algorithm.name} subtracts rewards from the return that it is asked for: give the "
                "reward of the step before, policy.act(obs, memory, reward=...)"
            )

    def _next_seed(self) -> int:
        with self._lock:
            self._calls += 1
            return self._calls - 1


@functools.partial(jax.jit, static_argnums=1)
def _copied(state: State, live: tuple[bool, ...]) -> Any:
    """A copy of a state, because training donates its own to the next block, with zeros for the leaves not live."""
    leaves, tree = jax.tree.flatten(state)
    copied = [jnp.copy(x) if kept else jnp.zeros_like(x) for x, kept in zip(leaves, live, strict=True)]
    return jax.tree.unflatten(tree, copied)


def _plain(cfg: Cfg) -> Any:
    """A config whose traced floats are Python floats, from one whose are arrays."""
    return dataclasses.replace(cfg, **{name: float(getattr(cfg, name)) for name in config.traced_fields(cfg)})
