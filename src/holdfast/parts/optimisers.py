"""Optimisers whose learning rates may be traced."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import optax

from ..core.config import Horizon, Schedule
from ..core.spec import Cfg, Scalar, Step
from ..core.trained import Network
from .layers import Linear
from .settings import DecayingRates
from .transformer import Projection

R = TypeVar("R", bound=NamedTuple)
Rate = Scalar | Callable[[Scalar], Scalar]  # a learning rate, or a schedule of it


def adam(lr: Rate, eps: Scalar = 1e-8, clip_norm: Scalar | None = None) -> optax.GradientTransformation:
    """Adam, betas .9 and .999; `lr` is a (traced) number or a schedule.

    Gradients g are first scaled to `clip_norm` / (|g| + 1e-6), as PyTorch does, where that makes them smaller. The
    optimiser's state is the same with and without, so a phase can begin to clip.
    """
    tx = optax.adam(lr, eps=eps)
    return tx if clip_norm is None else clipped(tx, clip_norm)


def clipped(tx: optax.GradientTransformation, clip_norm: Scalar) -> optax.GradientTransformation:
    """An optimiser that first scales gradients g to `clip_norm` / (|g| + 1e-6) where that makes them smaller."""

    def update(
        gradient: optax.Updates, state: optax.OptState, params: optax.Params | None = None
    ) -> tuple[optax.Updates, optax.OptState]:
        factor = jnp.minimum(1, clip_norm / (optax.tree.norm(gradient) + 1e-6))
        return tx.update(jax.tree.map(lambda g: g * factor, gradient), state, params)

    return optax.GradientTransformation(tx.init, update)


def adamw(
    lr: Rate,
    weight_decay: Scalar,
    clip_norm: Scalar | None = None,
    second_moment: Scalar = 0.999,
    linear_only: bool = False,
) -> optax.GradientTransformation:
    """Adam with decoupled weight decay: weights also shrink by `lr * weight_decay` of themselves.

    Args:
        lr: learning rate.
        weight_decay: how much weights shrink, traced or not.
        clip_norm: gradients g are first scaled to `clip_norm` / (|g| + 1e-6) where that makes them smaller; None: not.
        second_moment: decay rate of the mean of squared gradients.
        linear_only: shrink the weights of linear layers only, not biases, embeddings and LayerNorm.
    """
    mask = linear_weights if linear_only else None
    tx = optax.adamw(lr, b2=second_moment, weight_decay=weight_decay, mask=mask)
    return tx if clip_norm is None else clipped(tx, clip_norm)


def lamb(lr: Rate, decay: Scalar, clip_norm: Scalar) -> optax.GradientTransformation:
    """LAMB (You et al. 2020): steps of AdamW, each array's scaled by |w| / |step|.

    Gradients are clipped to `clip_norm` as in `adamw`, and then to a norm of 1, which the optimiser does by itself.
    """
    parts = (
        optax.clip_by_global_norm(1.0),
        optax.scale_by_adam(),
        optax.add_decayed_weights(decay),
        optax.scale_by_trust_ratio(),
        optax.scale_by_learning_rate(lr),
    )
    return clipped(optax.chain(*parts), clip_norm)


def linear_weights(params: Network) -> Network:
    """Booleans in the form of the parameters: True for the weights of linear layers."""

    def of(part: Linear | Projection | jax.Array) -> Any:
        if isinstance(part, Linear):
            return Linear(True, False)  # type: ignore[arg-type]
        return Projection(True) if isinstance(part, Projection) else False  # type: ignore[arg-type]

    return jax.tree.map(of, params, is_leaf=lambda part: isinstance(part, Linear | Projection))


def warmed(lr: Scalar, warmup: Scalar, steps: Schedule) -> Callable[[Scalar], Scalar]:
    """`lr` rising along a line over the first `warmup` updates, then constant, or falling along half a cosine.

    Update t (from 0) takes lr min((t + 1) / warmup, 1). If `steps` is a number, the cosine begins after the warm-up and
    would end at 0 after `steps` updates; the rate does not fall below a tenth of `lr`.

    Raises:
        ValueError: `steps` is "run", see `cosine`.
    """
    if steps == "run":
        cosine(lr, steps)

    def rate(count: Scalar) -> Scalar:
        done = count + 1
        risen = lr * jnp.minimum(done / warmup, 1)
        if isinstance(steps, str):
            return risen
        share = jnp.clip((done - warmup) / jnp.maximum(steps - warmup, 1), 0, 1)
        return risen * jnp.maximum(0.1, 0.5 * (1 + jnp.cos(jnp.pi * share)))

    return rate


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
