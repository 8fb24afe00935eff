"""The planner of MOReL: the natural policy gradient on paths in every member of an ensemble."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from ..core.noise import Noise
from ..core.spec import Batch
from ..core.trained import Metrics, Trained
from ..core.tree import PyTree
from ..dynamics.known import Known
from ..parts import losses, nets, optimisers
from ..parts import natural_gradient as natural
from ..parts.layers import MLP

CLOCK = 4  # powers of the time that the baseline sees
SHORTEST = 5  # steps of a path that counts
FARTHEST = 100.0  # bound of observations in a path, in the units of training
DECAY = 1e-3  # of the baseline's weights


class Planning(Protocol):
    """The settings of the planner."""

    @property
    def halt_reward(self) -> float: ...
    @property
    def discount(self) -> float: ...
    @property
    def paths(self) -> int: ...
    @property
    def length(self) -> int: ...
    @property
    def trace(self) -> float: ...
    @property
    def step_size(self) -> float: ...
    @property
    def damping(self) -> float: ...
    @property
    def gradient_steps(self) -> int: ...
    @property
    def baseline_lr(self) -> float: ...
    @property
    def batch_size(self) -> int: ...
    @property
    def termination(self) -> str: ...


class Planned(PyTree):
    """The state of the planner."""

    actor: Trained  # of a GaussianPolicy
    baseline: Trained  # of V(s, t)
    model: Any  # a `Learning` in the phase "model", then a `Known`


class Paths(NamedTuple):
    """T steps of n paths."""

    obs: jax.Array  # [T, n, d]
    action: jax.Array  # [T, n, A] as they were drawn, before clipping
    reward: jax.Array  # [T, n]
    alive: jax.Array  # [T, n] booleans: which steps exist
    halted: jax.Array  # [T, n] booleans: which steps left the known part


def cloning_loss(policy: nets.GaussianPolicy, batch: Batch) -> tuple[jax.Array, Metrics]:
    """Squared error of the policy's mean."""
    return jnp.square(policy.net(batch.obs) - batch.action).mean(), {}


def rolled(cfg: Planning, model: Known, policy: nets.GaussianPolicy, start: jax.Array, noise: Noise) -> Paths:
    """Paths from start [n, d]: the first n / E in the first member, and so on."""
    n = len(start)
    row = jnp.arange(n)
    member = row // cfg.paths

    def step(carry: tuple[jax.Array, jax.Array], t: jax.Array) -> tuple[tuple[jax.Array, jax.Array], Paths]:
        obs, alive = carry
        now = policy(obs)
        action = now.mean + jnp.exp(now.log_std) * noise.fold(t).normal("action", now.mean.shape)
        inside = jnp.clip(action, -1, 1)
        mean, _ = model.model.predict(obs, inside)
        own = mean[member, row]
        next_obs = jnp.clip(obs + own[:, :-1], -FARTHEST, FARTHEST)
        halted = model.unknown(mean)
        over = halted | model.ends(cfg.termination, obs, inside, next_obs)
        reward = own[:, -1] + cfg.halt_reward * halted
        return (next_obs, alive & ~over), Paths(obs, action, reward, alive, halted & alive)

    _, found = jax.lax.scan(step, (start, jnp.ones(n, bool)), jnp.arange(cfg.length))
    counts = found.alive.sum(0) >= min(SHORTEST, cfg.length)
    return found._replace(alive=found.alive & counts[None])


def seen(obs: jax.Array) -> jax.Array:
    """What the baseline sees of obs [T, n, d]: clipped observations and powers of the time, [T, n, d + CLOCK]."""
    time = jnp.arange(len(obs)) / 1_000
    powers = jnp.stack([time**k for k in range(1, CLOCK + 1)], -1)
    powers = jnp.broadcast_to(powers[:, None], (*obs.shape[:2], CLOCK))
    return jnp.concatenate([jnp.clip(obs, -10, 10) / 10, powers], -1)


def baseline_loss(net: MLP, x: jax.Array, y: jax.Array, weight: jax.Array) -> tuple[jax.Array, Metrics]:
    """Squared error of V at rows x [B, .] that exist, with weight decay."""
    error = (weight * jnp.square(net(x)[..., 0] - y)).sum() / jnp.maximum(weight.sum(), 1)
    return error + 0.5 * DECAY * losses.squared_weights(net), {"error": error}


def fitted(cfg: Planning, baseline: Trained, x: jax.Array, y: jax.Array, alive: jax.Array, noise: Noise) -> Trained:
    """The baseline after one pass over the rows x [n, .] with returns y [n]."""
    order = jnp.argsort(noise.uniform("order", (len(y),)))
    tx = optimisers.adam(cfg.baseline_lr)

    def one(i: jax.Array, net: Trained) -> Trained:
        rows = jax.lax.dynamic_slice_in_dim(order, i * cfg.batch_size, min(cfg.batch_size, len(y)))
        return net.step(tx, baseline_loss, x[rows], y[rows], alive[rows].astype(y.dtype), name="baseline")[0]

    return jax.lax.fori_loop(0, max(1, len(y) // cfg.batch_size), one, baseline)


def iterate(cfg: Planning, state: Planned, batch: Batch, noise: Noise) -> tuple[Planned, Metrics]:
    """One iteration: paths, advantages with the old baseline, a natural step, and a pass of the baseline."""
    policy = state.actor.net
    paths = rolled(cfg, state.model, policy, batch.initial_obs, noise.sub("paths"))
    alive = paths.alive
    x = seen(paths.obs)
    value = state.baseline.net(x)[..., 0]
    advantage = natural.gae(paths.reward, value, alive, cfg.discount, cfg.trace)
    returns = natural.discounted_sums(paths.reward, alive, cfg.discount)

    def flat(x: jax.Array) -> jax.Array:
        return x.reshape(-1, *x.shape[2:])

    given = (flat(paths.obs), flat(paths.action), flat(natural.whitened(advantage, alive)), flat(alive))
    step = functools.partial(natural.natural_step, steps=cfg.gradient_steps)
    actor, gain = step(policy, *given, cfg.step_size, cfg.damping)
    baseline = fitted(cfg, state.baseline, flat(x), flat(returns), flat(alive), noise)
    each = jnp.maximum(alive.any(0).sum(), 1)
    metrics = {
        "paths/return": (paths.reward * alive).sum() / each,
        "paths/length": alive.sum() / each,
        "paths/halted": (paths.halted & alive).sum() / each,
        "actor/gain": gain,
        "actor/std": jnp.exp(actor.log_std).mean(),
        "baseline/error": jnp.where(alive, jnp.square(value - returns), 0).sum() / jnp.maximum(alive.sum(), 1),
    }
    return Planned(state.actor.replace(actor), baseline, state.model), metrics
