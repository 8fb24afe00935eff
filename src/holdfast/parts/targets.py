"""Bootstrapped targets."""

from __future__ import annotations

from typing import Protocol, TypeVar

import jax
import jax.numpy as jnp

from ..core.contract import Needs, NStep, Transitions
from ..core.spec import Batch, Scalar, Step
from ..core.tree import ema

T = TypeVar("T")
Pair = tuple[jax.Array, jax.Array]


class Multistep(Protocol):
    """Settings with a number of steps before the bootstrap."""

    @property
    def n_step(self) -> int: ...


def td(batch: Batch, next_value: jax.Array, discount: Scalar) -> jax.Array:
    """r + discount (1 - terminated) V(s'): [B]. Only a true end cuts the bootstrap, a time limit does not.

    A logged per-step discount (column "discount") multiplies the setting.
    """
    bootstrap = discount * (1 - batch.terminated)
    if "discount" in batch.extra:
        bootstrap = bootstrap * batch.discount
    return batch.reward + bootstrap * next_value


def n_step_rows(cfg: Multistep, columns: tuple[str, ...] = (), batches: int = 1) -> Needs:
    """Rows for the n-step return of `cfg.n_step` steps: such a batch's reward, next observation and discount make `td`
    bootstrap after n steps, or where the episode ends before. Off-policy corrections are not made, as in Rainbow.

    Args:
        cfg: the settings.
        columns: derived columns that the update reads.
        batches: slices of a batch.
    """
    return NStep(cfg.n_step, columns, batches) if cfg.n_step > 1 else Transitions(columns, batches)


def follow(new: T, old: T, rate: Scalar, every: int, step: Step) -> T:
    """The target network after update number `step` (from 0): a Polyak step towards `new` at every `every`-th update.

    Rate 1 with a long interval gives the copies of DQN; `every` 1 with a small rate gives a soft target.
    """
    if every == 1:
        return ema(new, old, rate)
    return jax.lax.cond((step + 1) % every == 0, lambda: ema(new, old, rate), lambda: old)


def lambda_returns(
    reward: jax.Array, next_value: jax.Array, bootstrap: jax.Array, last: jax.Array, trace: Scalar
) -> jax.Array:
    """TD(lambda) returns of whole episodes laid end to end, [N].

    G_t = r_t + b_t ((1 - lambda) V(s_{t+1}) + lambda G_{t+1}) within an episode, r_t + b_t V(s_{t+1}) at its last step:
    lambda 1 gives Monte-Carlo returns, with V beyond a time limit. The recursion is linear in G_{t+1}, so it is one
    associative scan from the end.

    Args:
        reward: [N].
        next_value: V(s_{t+1}), [N].
        bootstrap: discount (1 - terminated), [N].
        last: [N] booleans, the last steps of episodes.
        trace: lambda.
    """
    onward = jnp.where(last, 0, bootstrap * trace)
    here = reward + (bootstrap - onward) * next_value

    def after(later: Pair, earlier: Pair) -> Pair:
        return earlier[0] * later[0], earlier[1] + earlier[0] * later[1]

    return jax.lax.associative_scan(after, (onward, here), reverse=True)[1]
