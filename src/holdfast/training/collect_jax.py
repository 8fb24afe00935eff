"""Collecting in an environment written in JAX: act, step, store and update in one compiled loop, without Python."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..core.contract import Collect
from ..core.spec import Batch, Cfg, Seen, Spec, Step
from ..data.feed import buffer
from ..data.feed.treatment import Fitted, Numbers
from ..environments.gym.collector import EnvironmentFailed
from ..environments.jax import env as jax_env
from ..environments.jax.env import JaxEnv, Transition, World
from .carry import Carry, Partial, Sources, Sums, means, sums_of
from .compilation import options
from .devices import ALL, EACH
from .exploring import explore
from .loop import Program
from .plan.schedule import updates_by
from .play import PlayResult
from .stopping import Pace


class EpisodeSums(NamedTuple):
    """What a block's episodes came to, [R]."""

    episodes: Any  # that ended
    total: Any  # their returns, summed
    length: Any
    bad: Any  # first environment step that gave what is not finite; -1: none


class JaxCollection:
    """The interface of `collect_gym.GymCollection`; environments are part of the carry, and saved with it."""

    exact = True

    def __init__(self, program: Program, env: JaxEnv, fitted: Fitted, name: str, pace: Pace | None = None) -> None:
        """
        Args:
            program: program of a phase that collects in `env`.
            env: the environment.
            fitted: treatment of observations, rewards and actions.
            name: name of the environment, for messages.
            pace: cuts blocks into pieces. None: a block is one piece.
        """
        self.pace = pace
        self.program, self.env, self.spec, self.name = program, env, env.spec, name
        self.collect = program.phase.collect or Collect()
        self.numbers: Numbers = jax.tree.map(jnp.asarray, fitted.numbers())
        self._block: Any = None

    def start(self, carry: Carry) -> None:
        """Compile the block. The carry already holds the environments at the start of their episodes."""
        self.compile(carry)

    def compile(self, carry: Carry, updates: int = 0) -> None:
        """Compile the block for carries of this shape, once, whatever its number of updates."""
        if self._block is not None:
            return
        with self.program.compiling:
            count = len(self.program.keys)
            zeros = np.zeros(count, np.float32)
            sums = EpisodeSums(np.zeros(count, np.int32), zeros, zeros, np.full(count, -1, np.int32))
            self._nothing = (self.program.nothing(), sums)
            shapes = jax.tree.map(
                lambda x: jax.ShapeDtypeStruct(jnp.shape(x), jnp.result_type(x)), (carry, self._nothing)
            )
            fixed = (self.program.cfgs, self.program.keys, self.program.sources, self.numbers)
            taken = (*[EACH] * 4, *[ALL] * 4)
            run = self.program.hardware.jit(self._run, taken, donate=0)
            self._block = run.lower(*shapes, *fixed, 0, 0).compile(options())

    def restore(self, log: dict[str, Any], carry: Carry) -> Carry:
        """Nothing but `start`: all is in the carry."""
        self.start(carry)
        return carry

    def run(self, carry: Carry, lo: int, hi: int, partial: Partial | None = None) -> PlayResult:
        """Environment steps lo <= step < hi of each replica, with the updates that they bring.

        The block ends earlier if the pace asks for a pause.

        Raises:
            EnvironmentFailed: it gave what is not finite, which the block's updates have learned from.
        """
        fixed = (self.program.cfgs, self.program.keys, self.program.sources, self.numbers)
        n = self.collect.envs
        end = -(-hi // n) * n  # whole steps of all environments
        open_ = self._nothing
        if partial is not None:
            pairs = zip(partial.episodes, self._nothing[1], strict=True)
            open_ = (sums_of(partial.sums), EpisodeSums(*(np.asarray(x, y.dtype) for x, y in pairs)))
        at = lo
        for piece in [end] if self.pace is None else self.pace.ends(lo, end, n):
            carry, open_ = self._block(carry, open_, *fixed, at, piece)
            jax.block_until_ready(open_)
            at = piece
        found = open_[0]
        sums = EpisodeSums(*(np.asarray(x) for x in open_[1]))
        if (sums.bad >= 0).any():
            r = int(np.argmax(sums.bad >= 0))
            raise EnvironmentFailed(
                f"{self.name} gave an observation or a reward that is not finite at step {sums.bad[r]} of replica {r}"
            )
        some = np.where(sums.episodes > 0, sums.episodes, np.nan)
        ended = {
            "collect/return": sums.total / some,
            "collect/length": sums.length / some,
            "collect/episodes": sums.episodes.astype(float),
        }
        made = updates_by(self.collect, at) - updates_by(self.collect, lo)
        metrics = means(found)
        if at < end:
            kept = ([np.asarray(x).tolist() for x in found], [x.tolist() for x in sums])
            return PlayResult(carry, metrics, ended, made, at, None, kept)
        return PlayResult(carry, metrics, ended, made, hi, None)

    def log(self) -> None:
        """What a checkpoint keeps in addition to the carry: nothing."""

    def close(self) -> None:
        """Nothing to close."""

    def _run(
        self,
        carry: Carry,
        found: Sums,
        cfgs: Cfg,
        keys: jax.Array,
        sources: Sources,
        numbers: Numbers,
        lo: Step,
        hi: Step,
    ) -> Any:
        n = self.collect.envs
        program = self.program
        turn = jax.vmap(self._turn, (0, 0, 0, 0, None, None))

        def body(i: Step, both: tuple) -> Any:
            carry, (metrics, sums) = both
            step = i * n
            carry, sums = turn(cfgs, keys, carry, sums, numbers, step)
            first = updates_by(self.collect, step)
            last = updates_by(self.collect, step + n)
            carry, metrics = program.updates(carry, metrics, cfgs, keys, sources, first, last)
            return carry, (metrics, sums)

        return jax.lax.fori_loop(lo // n, hi // n, body, (carry, found))

    def _turn(
        self, cfg: Cfg, key: jax.Array, carry: Carry, sums: EpisodeSums, numbers: Numbers, step: Step
    ) -> tuple[Carry, EpisodeSums]:
        """One step of one replica's environments: act, step, store."""
        world: World = carry.world
        name = self.collect.to
        reward = jnp.where(world.start, 0, numbers.rewards(world.reward))
        seen = Seen(numbers.observe(world.obs), reward, None, updates_by(self.collect, step))
        given = (cfg, key, carry.state, seen, carry.memory, world.start)
        action, memory = explore(self.program, self.spec, *given, step)
        noise = self.program.noise(key, "environment", step)
        world, turn = jax_env.advance(self.env, world, numbers.act_outside(action), noise)
        ring = buffer.add(carry.rings[name], self._row(turn, action, numbers), jnp.ones(len(reward), bool))
        carry = carry._replace(world=world, memory=memory, rings={**carry.rings, name: ring})
        ends = turn.terminated | turn.truncated
        fine = jnp.isfinite(turn.next_obs).all() & jnp.isfinite(turn.reward).all()
        return carry, EpisodeSums(
            sums.episodes + ends.sum(dtype=jnp.int32),
            sums.total + jnp.where(ends, turn.total, 0).sum(),
            sums.length + jnp.where(ends, turn.time, 0).sum().astype(jnp.float32),
            jnp.where((sums.bad < 0) & ~fine, step, sums.bad),
        )

    def _row(self, turn: Transition, action: jax.Array, numbers: Numbers) -> Batch:
        ended = turn.terminated.astype(jnp.float32)
        cut = turn.truncated.astype(jnp.float32)
        following = numbers.observe(turn.next_obs)
        return Batch(numbers.observe(turn.obs), action, numbers.rewards(turn.reward), following, ended, cut)


def fits(env: JaxEnv | None, spec: Spec, collect: Collect) -> bool:
    """Whether a phase can collect in the compiled loop: rows of whole episodes are put together on the host."""
    return env is not None and not spec.masked and not collect.whole
