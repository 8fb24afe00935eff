"""The shared parts of methods that evaluate another run's policy: its actions, and the range and inputs of values."""

from __future__ import annotations

from typing import Protocol

import jax
import jax.numpy as jnp

from ..core.contract import Context, Frozen, Needs, Transitions
from ..core.noise import Noise
from ..core.spec import Array, Batch, Memory, Mode, Seen, Spec
from ..core.tree import PyTree
from ..parts.distributions import Categorical

WIDER = 0.1  # of the range of the targets


class Evaluating(Protocol):
    """The settings that `fqe` and `fqe_quantile` share."""

    @property
    def policy_mode(self) -> str: ...
    @property
    def discount(self) -> float: ...
    @property
    def horizon(self) -> int: ...


class Following(Protocol):
    """The part of a state that acts."""

    @property
    def policy(self) -> Frozen: ...


class Range(PyTree):
    """What values are possible."""

    low: jax.Array
    high: jax.Array
    length: jax.Array  # discounted steps of an episode, the unit of the output


RULES = {"policy_mode": "best|sample", "discount": "in [0, 1]", "horizon": "at least 0"}


def endless(cfg: Evaluating) -> list[str]:
    """The fault of values that have no bound."""
    return [] if cfg.horizon or cfg.discount < 1 else ["discount is 1, expected below 1 without a horizon"]


def needs(cfg: Evaluating) -> Needs:
    return Transitions(("timestep",)) if cfg.horizon else Transitions()


def range_of(cfg: Evaluating, ctx: Context) -> Range:
    """The range of values with rewards as in the data."""
    steps = jnp.arange(cfg.horizon)
    length = (cfg.discount**steps).sum() if cfg.horizon else 1 / (1 - jnp.asarray(cfg.discount, float))
    low = jnp.minimum(ctx.stats.get("reward_min", 0.0), 0.0) * length
    high = jnp.maximum(ctx.stats.get("reward_max", 0.0), 0.0) * length
    wide = WIDER * (high - low)
    return Range(low - wide, high + wide, jnp.asarray(length, float))


def timed(cfg: Evaluating, spec: Spec) -> Spec:
    """The spec of the critic's input: with a horizon, the step is one more number of an observation."""
    return spec._replace(obs=(spec.obs_shape[0] + 1,)) if cfg.horizon else spec


def seen_by_critic(cfg: Evaluating, obs: jax.Array, step: Array | int) -> jax.Array:
    """Observations [n, d], with the share of the horizon that is over at `step` ([n] or a number)."""
    if not cfg.horizon:
        return obs
    share = jnp.broadcast_to(jnp.asarray(step, obs.dtype) / cfg.horizon, obs.shape[:-1])
    return jnp.concatenate([obs, share[..., None]], -1)


def onward(cfg: Evaluating, batch: Batch, following: jax.Array) -> jax.Array:
    """Values at s', [B] or [B, K], which are 0 after the last step of the horizon."""
    if not cfg.horizon:
        return following
    inside = (batch.timestep + 1 < cfg.horizon).astype(following.dtype)
    return following * (inside if following.ndim == 1 else inside[:, None])


def shares(policy: Frozen, seen: Seen, mode: str, noise: Noise) -> jax.Array:
    """Probabilities [n, A] of discrete actions of the policy; one draw if it gives no distribution."""
    memory = policy.start(seen.reward.shape[0])
    if mode == "sample" and policy.dist is not None:
        dist = policy.dist(policy.cfg, policy.state, seen, memory)
        if isinstance(dist, Categorical):
            return jnp.exp(dist.log_probs())
    action, _ = policy(seen, memory, noise, "sample" if mode == "sample" else "best")
    return jax.nn.one_hot(action, policy.spec.action)


def drawn(policy: Frozen, seen: Seen, mode: str, noise: Noise) -> jax.Array:
    """One action [n, ...] of the policy at each observation."""
    memory = policy.start(seen.reward.shape[0])
    return policy(seen, memory, noise, "sample" if mode == "sample" else "best")[0]


def act(
    cfg: Evaluating, state: Following, seen: Seen, memory: Memory, noise: Noise, mode: Mode
) -> tuple[jax.Array, Memory]:
    """The action of the evaluated policy."""
    return state.policy(seen, memory, noise, mode)
