"""Optimisers whose learning rates may be traced."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import optax

from ..core.config import Horizon, Schedule
from ..core.spec import Cfg, Scalar, Step
from .settings import DecayingRates

R = TypeVar("R", bound=NamedTuple)
Rate = Scalar | Callable[[Scalar], Scalar]  # a learning rate, or a schedule of it


def adam(lr: Rate, eps: Scalar = 1e-8, clip_norm: Scalar | None = None) -> optax.GradientTransformation:
    """Adam, betas .9 and .999; `lr` is a (traced) number or a schedule.

    Gradients g are first scaled to `clip_norm` / (|g| + 1e-6), as PyTorch does, where that makes them smaller. The
    optimiser's state is the same with and without, so a phase can begin to clip.
    """
    tx = optax.adam(lr, eps=eps)
    if clip_norm is None:
        return tx

    def update(
        gradient: optax.Updates, state: optax.OptState, params: optax.Params | None = None
    ) -> tuple[optax.Updates, optax.OptState]:
        factor = jnp.minimum(1, clip_norm / (optax.tree.norm(gradient) + 1e-6))
        return tx.update(jax.tree.map(lambda g: g * factor, gradient), state, params)

    return optax.GradientTransformation(tx.init, update)


def adamw(lr: Rate, weight_decay: Scalar) -> optax.GradientTransformation:
    """Adam with decoupled weight decay of all parameters; `lr` and `weight_decay` may be traced."""
    return optax.adamw(lr, weight_decay=weight_decay)


def sgd(lr: Rate, momentum: float) -> optax.GradientTransformation:
    """Gradient descent with momentum, v = momentum v + g."""
    return optax.sgd(lr, momentum=momentum)


def cosine(lr: Scalar, steps: Schedule) -> Callable[[Scalar], Scalar]:
    """`lr` falling to 0 along half a cosine over `steps` updates, or constant if `steps` is "constant".

    Update t (from 0) takes lr (1 + cos(pi t / steps)) / 2. The peak may be traced, the horizon not. A constant
    rate is a schedule too: the optimiser's state is then the same with any horizon, and fine-tuning may end a decay.

    Raises:
        ValueError: `steps` is "run": `core.config.over_the_run` replaces it by the number of updates first.
    """
    if steps == "constant":
        return lambda count: lr
    if isinstance(steps, str):
        raise ValueError(f"the schedule '{steps}' has no number of updates yet: see core.config.over_the_run")
    return lambda count: lr * 0.5 * (1 + jnp.cos(jnp.pi * jnp.minimum(count, steps) / steps))


def scheduled(lr: Scalar, steps: Schedule) -> optax.GradientTransformation:
    """Adam whose learning rate follows `cosine(lr, steps)`."""
    return adam(cosine(lr, steps))


def fewer(steps: Schedule, every: int) -> Schedule:
    """The schedule of a network that moves on every `every`-th update only: its optimiser counts its own steps."""
    return max(1, steps // every) if isinstance(steps, int) else steps


class ActorCritic(NamedTuple):
    """The optimisers of an actor and of its critics."""

    actor: optax.GradientTransformation
    critic: optax.GradientTransformation


def by_name(record: type[R], cfg: Cfg) -> R:
    """An Adam for every field of the record, at the constant rate that the config has as `FIELD_lr`."""
    return record._make(adam(getattr(cfg, f"{name}_lr")) for name in record._fields)


def decaying(cfg: DecayingRates, every: int = 1) -> ActorCritic:
    """Adam for an actor that moves on every `every`-th update and for its critics, at rates that may fall."""
    return ActorCritic(
        scheduled(cfg.actor_lr, fewer(cfg.actor_decay_steps, every)), scheduled(cfg.critic_lr, cfg.critic_decay_steps)
    )


def progress(step: Step, steps: Horizon) -> jax.Array | float:
    """The share of `steps` updates that is over at `step`, beyond 1 after them.

    Raises:
        ValueError: `steps` is "run": `core.config.over_the_run` replaces it by the number of updates first.
    """
    if isinstance(steps, str):
        raise ValueError(f"the horizon '{steps}' has no number of updates yet: see core.config.over_the_run")
    return step / steps
