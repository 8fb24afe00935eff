"""The shared parts of methods that learn from rollouts in a learned model: MOPO, COMBO, RAMBO, MOBILE and MOReL.

Their runs have a phase "model", which trains an ensemble (`dynamics.learning`), and a phase "policy": a soft
actor-critic that draws a share of each batch from the data and the rest from a ring of rollouts, which `refresh` fills.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import jax
import jax.numpy as jnp

from ..core.contract import Context, Phase, Refreshed, Rows
from ..core.noise import Noise
from ..core.spec import Batch, Step
from ..core.trained import Metrics, Trained
from ..core.tree import PyTree
from ..dynamics import learning
from ..dynamics.ensemble import Ensemble
from ..dynamics.rollout import Judge, branched, ended, sampled, starts
from ..parts import nets
from ..parts.settings import SoftRates
from .sac import optimisers_of

RING = "model"  # the ring of rollouts


class RollsOut(learning.Modelled, SoftRates, Protocol):
    """The settings of a method that learns from rollouts."""

    @property
    def horizon(self) -> int: ...
    @property
    def rollout_batch(self) -> int: ...
    @property
    def rollout_every(self) -> int: ...
    @property
    def retain(self) -> int: ...
    @property
    def real_ratio(self) -> float: ...
    @property
    def initial_temperature(self) -> float: ...
    @property
    def hidden(self) -> tuple[int, ...]: ...
    @property
    def batch_size(self) -> int: ...


class State(PyTree):
    actor: Trained
    critic: Trained
    target_critic: nets.Critic
    temperature: Trained  # of log alpha
    model: Any  # a `Learning` in the phase "model", then an `Ensemble`


RULES = learning.RULES | {
    **dict.fromkeys(("horizon", "rollout_batch", "rollout_every", "retain"), "positive"),
    **dict.fromkeys(("discount", "polyak", "real_ratio"), "in [0, 1]"),
    "initial_temperature": "positive",
}


def init(cfg: RollsOut, ctx: Context, noise: Noise, high: float = 0.5, low: float = -10.0, critics: int = 2) -> State:
    """A new soft actor-critic and a new probabilistic ensemble with these first bounds of the log-variance."""
    return actor_critic(cfg, ctx, noise, learning.probabilistic(cfg, ctx.spec, noise.sub("model"), high, low), critics)


def actor_critic(cfg: RollsOut, ctx: Context, noise: Noise, model: learning.Learning, critics: int = 2) -> State:
    """A new soft actor-critic with this ensemble."""
    tx = optimisers_of(cfg)
    actor = nets.gaussian_heads_policy(noise.sub("actor"), ctx.spec, cfg.hidden, low=-5.0)
    critic = nets.critic(noise.sub("critic"), ctx.spec, cfg.hidden, critics)
    temperature = Trained.new(jnp.log(cfg.initial_temperature), tx.temperature)
    return State(Trained.new(actor, tx.actor), Trained.new(critic, tx.critic), critic, temperature, model)


def enter(cfg: RollsOut, state: State, ctx: Context, noise: Noise) -> State:
    """The state of the phase "policy": the ensemble is finished, or that of another run."""
    return dataclasses.replace(state, model=learning.taken(cfg, state.model, ctx))


def dynamics(cfg: RollsOut, state: State) -> Ensemble:
    """The ensemble in a state."""
    return learning.finished(cfg, state.model) if isinstance(state.model, learning.Learning) else state.model


def rolled(
    cfg: RollsOut,
    model: Ensemble,
    sources: Mapping[str, Any],
    ctx: Context,
    noise: Noise,
    judge: Judge,
    act: Callable[[jax.Array, Noise], jax.Array],
) -> tuple[Rows, Metrics]:
    """Rollouts of `horizon` steps from `rollout_batch` logged observations, and what is reported of them."""
    ends = functools.partial(ended, model, ctx.termination, learning.learns_ends(cfg))
    start = starts(sources["data"], noise, cfg.rollout_batch)
    rows = branched(model, act, ends, judge, start, cfg.horizon, noise.sub("rollout"))
    count = jnp.maximum(rows.keep.sum(), 1)
    metrics = {
        "rollout/reward": (rows.batch.reward * rows.keep).sum() / count,
        "rollout/length": rows.keep.sum() / cfg.rollout_batch,
        "rollout/ends": (rows.batch.terminated * rows.keep).sum() / count,
    }
    return rows, metrics


def refresh_with(judge_of: Callable[[Any], Judge]) -> Callable[..., Refreshed]:
    """A `refresh` that rolls the policy out and writes the rows; `judge_of` makes the judge from the settings."""

    def refresh(
        cfg: RollsOut, state: State, sources: Mapping[str, Any], ctx: Context, noise: Noise, step: Step
    ) -> Refreshed:
        act = functools.partial(sampled, state.actor.net)
        rows, metrics = rolled(cfg, state.model, sources, ctx, noise, judge_of(cfg), act)
        return Refreshed(state, rows={RING: rows}, metrics=metrics)

    return refresh


def phases(
    cfg: RollsOut,
    refresh: Callable[..., Refreshed],
    between: tuple[Phase, ...] = (),
    enter: Callable[..., Any] = enter,
) -> tuple[Phase, ...]:
    """The phases "model" and "policy", and those in between; `enter` makes the state of the phase after "model".

    Of a batch, floor(batch_size * real_ratio) rows are logged ones.
    """
    real = int(cfg.batch_size * cfg.real_ratio) / cfg.batch_size
    policy = Phase(
        "policy",
        mix={"data": real, RING: 1 - real},
        rings={RING: cfg.rollout_batch * cfg.horizon * cfg.retain},
        refresh=refresh,
        every=cfg.rollout_every,
    )
    first, *others = (*between, policy)
    return (learning.phase(cfg), first._replace(enter=enter), *others)


def logged(batch: Batch) -> int:
    """How many rows of a batch are logged ones; they come first."""
    return next((stop - start for name, start, stop in batch.parts if name == "data"), 0)
