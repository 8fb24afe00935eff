"""Rollouts of a policy in a learned model, from logged observations, as rows of a replay buffer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ..core.contract import Data, Rows
from ..core.noise import Noise
from ..core.spec import Batch
from ..parts.nets import Policy
from .ensemble import Ensemble, Outcome
from .termination import Rule

PIECE = 1_000  # rows that are rolled out at a time: the layers of an ensemble then fit into the cache

Ends = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]  # observations, actions and next ones to booleans [n]
Act = Callable[[jax.Array, Noise], jax.Array]  # observations [n, d] and noise to actions [n, A]


class Verdict(NamedTuple):
    """What a method makes of a step of its model."""

    reward: jax.Array  # [n]
    halt: jax.Array  # [n] booleans: the step ends the episode, because the model does not know what comes


Judge = Callable[[jax.Array, jax.Array, Outcome], Verdict]  # of observations, actions and what the model predicts


def unpenalised(obs: jax.Array, action: jax.Array, found: Outcome) -> Verdict:
    """The reward that the model predicts."""
    return Verdict(found.reward, jnp.zeros(found.reward.shape, bool))


def sampled(policy: Policy, obs: jax.Array, noise: Noise) -> jax.Array:
    """Actions that a Gaussian policy draws at obs [n, d], [n, A]."""
    found = policy(obs)
    return found.sample(noise.normal("action", jax.tree.leaves(found)[0].shape))


def starts(data: Data, noise: Noise, rows: int) -> jax.Array:
    """Logged observations drawn at random, [rows, d]."""
    return data.obs[data.row[noise.integers("starts", (rows,), data.row.shape[0])]]


def ended(
    model: Ensemble, rule: Rule | None, learned: bool, obs: jax.Array, action: jax.Array, next_obs: jax.Array
) -> jax.Array:
    """Whether steps end their episode, [...]: by the known rule, else by the learned classifier, else never.

    Args:
        model: the ensemble, with its classifier.
        rule: the known rule; None: the run has none.
        learned: whether the classifier was trained.
        obs: observations [..., d].
        action: actions [..., A].
        next_obs: next observations [..., d].
    """
    if rule is not None:
        return rule(next_obs)
    return model.ends(obs, action, next_obs) > 0 if learned else jnp.zeros(obs.shape[:-1], bool)


def branched(
    model: Ensemble,
    act: Act,
    ends: Ends,
    judge: Judge,
    start: jax.Array,
    horizon: int,
    noise: Noise,
) -> Rows:
    """Roll the model out from every observation in `start`.

    A rollout stops at an end, which is stored, and before a step that is not finite. The rows of one rollout follow
    each other, and its last row is truncated unless it ended.

    Args:
        model: the ensemble.
        act: the policy, with the noise of a step.
        ends: (observations, actions, next observations) -> booleans [n], see `ended`.
        judge: reward and halt of each step.
        start: observations [M, d].
        horizon: steps of a rollout.
        noise: draws of all steps.

    Returns:
        M * horizon rows.
    """
    size = _piece(len(start))
    pieces = start.reshape(-1, size, start.shape[-1])

    def piece(given: tuple[jax.Array, jax.Array]) -> tuple[Batch, jax.Array]:
        number, obs = given
        return _rollout(model, act, ends, judge, obs, horizon, noise.fold(number))

    batch, keep = jax.lax.map(piece, (jnp.arange(len(pieces)), pieces))  # leaves [pieces, horizon, size, ...]

    def flat(x: jax.Array) -> jax.Array:
        return jnp.swapaxes(x, 1, 2).reshape(-1, *x.shape[3:])

    return Rows(jax.tree.map(flat, batch), flat(keep))


def _rollout(
    model: Ensemble, act: Act, ends: Ends, judge: Judge, start: jax.Array, horizon: int, noise: Noise
) -> tuple[Batch, jax.Array]:
    """Rows [horizon, n, ...] and whether each exists."""

    def step(carry: tuple[jax.Array, jax.Array], t: jax.Array) -> tuple[tuple[jax.Array, jax.Array], Any]:
        obs, alive = carry
        now = noise.fold(t)
        action = act(obs, now.sub("policy"))
        found = model.step(obs, action, now)
        verdict = judge(obs, action, found)
        sound = jnp.isfinite(found.next_obs).all(-1) & jnp.isfinite(verdict.reward)
        keep = alive & sound
        next_obs = jnp.where(keep[:, None], found.next_obs, obs)
        over = (ends(obs, action, next_obs) | verdict.halt) & keep
        zero = jnp.zeros_like(verdict.reward)
        reward = jnp.where(keep, verdict.reward, zero)
        row = Batch(obs, action, reward, next_obs, over.astype(zero.dtype), zero)
        return (next_obs, keep & ~over), (row, keep)

    first = (start, jnp.ones(len(start), bool))
    _, (batch, keep) = jax.lax.scan(step, first, jnp.arange(horizon))
    onward = jnp.concatenate([keep[1:], jnp.zeros_like(keep[:1])])
    truncated = (keep & ~onward & (batch.terminated == 0)).astype(batch.reward.dtype)
    return Batch(**{**vars(batch), "truncated": truncated}), keep


def _piece(rows: int) -> int:
    """The largest number of rows up to PIECE that divides `rows`, or all of them if that is a small one."""
    largest = max(n for n in range(1, min(rows, PIECE) + 1) if rows % n == 0)
    return largest if largest * 20 >= min(rows, PIECE) else rows
