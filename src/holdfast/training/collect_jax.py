"""Collecting in an environment written in JAX: act, step, store and update in one compiled loop, without Python."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..core.contract import Collect
from ..core.noise import Noise
from ..core.spec import Batch, Seen, Spec
from ..data.feed import buffer
from ..environments.gym.collector import EnvironmentFailed
from ..environments.jax import env as jax_env
from ..environments.jax.env import JaxEnv, Transition, World
from .collect_gym import COLLECTED, Ran, explore, updates_by
from .loop import Carry, Program, options


class Told(NamedTuple):
    """What a block's episodes came to, [R]."""

    episodes: Any  # that ended
    total: Any  # their returns, summed
    length: Any
    bad: Any  # first environment step that gave what is not finite; -1: none


class CompiledRounds:
    """The interface of `rounds.Rounds`; environments are part of the carry, and saved with it."""

    exact = True

    def __init__(self, program: Program, env: JaxEnv, fitted: Any, name: str) -> None:
        """
        Args:
            program: of a phase with `collect`, whose `env` this is.
            env: the environment.
            fitted: treatment of observations, rewards and actions.
            name: of the environment, for messages.
        """
        self.program, self.env, self.spec, self.name = program, env, env.spec, name
        self.collect = program.phase.collect or Collect()
        self.treatment = Scale(fitted)
        self._block: Any = None

    def start(self, carry: Carry) -> None:
        """Compile the block; the environments have begun with the carry."""
        began, count = time.perf_counter(), len(self.program.keys)
        zeros = np.zeros(count, np.float32)
        told = Told(np.zeros(count, np.int32), zeros, zeros, np.full(count, -1, np.int32))
        self._nothing = (self.program.nothing(), told)
        shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(jnp.shape(x), jnp.result_type(x)), (carry, self._nothing))
        fixed = (self.program.cfgs, self.program.keys, self.program.sources)
        self._block = jax.jit(self._run, donate_argnums=0).lower(*shapes, *fixed, 0, 0).compile(options())
        self.program.compile_seconds += time.perf_counter() - began

    def restore(self, log: Any, carry: Carry) -> Carry:
        """Nothing but `start`: all is in the carry."""
        self.start(carry)
        return carry

    def run(self, carry: Carry, lo: int, hi: int) -> Ran:
        """Environment steps lo <= step < hi of each replica, with the updates that they bring.

        Raises:
            EnvironmentFailed: it gave what is not finite, which the block's updates have learned from.
        """
        fixed = (self.program.cfgs, self.program.keys, self.program.sources)
        end = -(-hi // self.collect.envs) * self.collect.envs  # whole steps of all environments
        carry, (found, told) = self._block(carry, self._nothing, *fixed, lo, end)
        told = Told(*(np.asarray(x) for x in told))
        if (told.bad >= 0).any():
            r = int(np.argmax(told.bad >= 0))
            raise EnvironmentFailed(
                f"{self.name} gave an observation or a reward that is not finite at step {told.bad[r]} of replica {r}"
            )
        some = np.where(told.episodes > 0, told.episodes, np.nan)
        ended = dict(zip(COLLECTED, (told.total / some, told.length / some, told.episodes.astype(float)), strict=True))
        made = updates_by(self.collect, end) - updates_by(self.collect, lo)
        return Ran(carry, self.program.told(found), ended, made, hi, None)

    def log(self) -> None:
        """What a checkpoint keeps beside the carry: nothing."""

    def close(self) -> None:
        """Nothing to close."""

    def _run(self, carry: Carry, found: Any, cfgs: Any, keys: Any, sources: Any, lo: Any, hi: Any) -> Any:
        n, program = self.collect.envs, self.program
        turn = jax.vmap(self._turn, (0, 0, 0, 0, None))

        def body(i: Any, both: Any) -> Any:
            (carry, (metrics, told)), step = both, i * n
            carry, seen = turn(cfgs, keys, carry, told, step)
            first, last = updates_by(self.collect, step), updates_by(self.collect, step + n)
            carry, metrics = program.updates(carry, metrics, cfgs, keys, sources, first, last)
            return carry, (metrics, seen)

        return jax.lax.fori_loop(lo // n, hi // n, body, (carry, found))

    def _turn(self, cfg: Any, key: Any, carry: Carry, told: Told, step: Any) -> tuple[Carry, Told]:
        """One step of one replica's environments: act, step, store."""
        world: World = carry.world
        name, treat = self.collect.to, self.treatment
        reward = jnp.where(world.start, 0, treat.reward(world.reward))
        seen = Seen(treat.obs(world.obs), reward, None, updates_by(self.collect, step))
        action = explore(self.program, self.spec, cfg, key, carry.state, seen, step)
        noise = Noise(jax.random.fold_in(jax.random.fold_in(key, self.program.index), step)).sub("environment")
        world, turn = jax_env.advance(self.env, world, treat.action(action), noise)
        ring = buffer.add(carry.rings[name], self._row(turn, action), jnp.ones(len(reward), bool))
        carry = carry._replace(world=world, rings={**carry.rings, name: ring})
        ends = turn.terminated | turn.truncated
        fine = jnp.isfinite(turn.next_obs).all() & jnp.isfinite(turn.reward).all()
        return carry, Told(
            told.episodes + ends.sum(dtype=jnp.int32),
            told.total + jnp.where(ends, turn.total, 0).sum(),
            told.length + jnp.where(ends, turn.time, 0).sum().astype(jnp.float32),
            jnp.where((told.bad < 0) & ~fine, step, told.bad),
        )

    def _row(self, turn: Transition, action: jax.Array) -> Batch:
        obs, following = self.treatment.obs(turn.obs), self.treatment.obs(turn.next_obs)
        flags = (turn.terminated.astype(jnp.float32), turn.truncated.astype(jnp.float32))
        return Batch(obs, action, self.treatment.reward(turn.reward), following, *flags)


class Scale:
    """A fitted treatment on the device."""

    def __init__(self, fitted: Any) -> None:
        self.fitted = fitted
        self.mean, self.std = (jnp.asarray(x, jnp.float32) for x in (fitted.obs_mean, fitted.obs_std))

    def obs(self, obs: jax.Array) -> jax.Array:
        """Observations as a network sees them."""
        return (obs - self.mean[None]) / self.std[None] if self.fitted.normalized else obs

    def reward(self, reward: jax.Array) -> jax.Array:
        """Treated rewards."""
        return (reward + self.fitted.reward_shift) * self.fitted.reward_scale

    def action(self, inside: jax.Array) -> jax.Array:
        """Actions in the environment's units."""
        if self.fitted.discrete:
            return inside + self.fitted.action_start
        low, high = (jnp.asarray(x, jnp.float32)[None] for x in (self.fitted.action_low, self.fitted.action_high))
        return jnp.clip((high + low) / 2 + (high - low) / 2 * inside, low, high)


def fits(env: JaxEnv | None, spec: Spec, collect: Collect) -> bool:
    """Whether a phase can collect in the compiled loop: rows of whole episodes are put together on the host."""
    return env is not None and not spec.masked and not collect.whole
