"""Models of trajectories as sequences of returns-to-go, observations and actions, and their memory when they act.

A window holds K steps of B episodes, padded on the left. Each step becomes three tokens: return-to-go, observation,
action. The action of a step is predicted from the token of its observation.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from ..core.contract import Context
from ..core.noise import Noise
from ..core.spec import Batch, Scalar, Seen, Spec
from ..core.tree import PyTree, field
from .initialisers import torch_uniform
from .layers import LayerNorm, Linear, dropout
from .transformer import STD, Dropped, Embedding, Projection, Transformer, dropped, layer_norm, transformer

POSITIONS = ("step", "time", "token", "none")
TIME = 100.0  # steps of an episode that are 1 for a model with "time" positions


class Sizes(Protocol):
    """The settings that decide the shape of a model."""

    @property
    def context(self) -> int: ...
    @property
    def layers(self) -> int: ...
    @property
    def heads(self) -> int: ...
    @property
    def width(self) -> int: ...
    @property
    def activation(self) -> str: ...


def sizes_at_fault(cfg: Sizes, targets: tuple[float, ...]) -> list[str]:
    """Faults of the sizes of a model and of the raw returns that it is asked for, one text each."""
    names = ("context", "layers", "heads", "width")
    found = [f"{name} is {getattr(cfg, name)}, expected positive" for name in names if getattr(cfg, name) < 1]
    if not found and cfg.width % cfg.heads:
        found.append(f"width is {cfg.width}, expected a multiple of heads, {cfg.heads}")
    return found + [f"target_return is {x}, expected finite" for x in targets if not math.isfinite(x)]


class Window(NamedTuple):
    """K steps of B episodes, the oldest first."""

    obs: jax.Array  # [B, K, d]
    action: jax.Array  # [B, K, A], or integers [B, K]
    to_go: jax.Array  # [B, K] treated returns-to-go
    time: jax.Array  # [B, K] steps since the start of the episode
    valid: jax.Array  # [B, K] booleans; False: padding


def window_of(batch: Batch) -> Window:
    """The window of logged or collected rows, with the columns "return_to_go" and "timestep"."""
    return Window(batch.obs, batch.action, batch.return_to_go, batch.timestep, batch.valid)


class Keep(NamedTuple):
    """Factors of dropout of one update; empty where nothing is dropped."""

    tokens: tuple[jax.Array, ...] = ()  # [B, 3 K, width], of the embedded tokens
    blocks: tuple[Dropped, ...] = ()


ALL = Keep()  # nothing is dropped


class TrajectoryModel(PyTree):
    """A transformer over the tokens of a window, with an output for each observation.

    `position` says how a token knows its place:

    * "step": a learned vector of the step in the episode is added to its three tokens, which are then normalised.
    * "time": the same with a linear map of the step, divided by `TIME`, in place of a vector for each step.
    * "token": a learned vector of the token's place in the window is added, and one of a step in the episode that is
      the same for the whole window. Embedded returns, observations and actions pass a tanh; nothing is normalised.
    * "none": tokens are normalised and carry no place.
    """

    to_go: Linear
    obs: Linear
    action: Linear | Embedding
    steps: Embedding | Linear | None
    places: Embedding | None
    norm: LayerNorm | None
    body: Transformer
    head: Linear | Projection
    position: str = field(static=True)

    def __call__(self, window: Window, keep: Keep = ALL, newest: bool = False) -> jax.Array:
        """Outputs [B, K, out] at the observations of a window; with `newest` [B, 1, out] at its last one.

        Args:
            window: the steps. With `newest` its last action is not read.
            keep: factors of dropout.
            newest: whether a policy acts. With "token" positions, the step of the window is then its last one, not its
                first one.
        """
        x = self._tokens(window, newest)
        x = x * keep.tokens[0] if keep.tokens else x
        valid = jnp.repeat(window.valid, 3, -1)
        queries = np.arange(1, x.shape[1], 3)
        if newest:
            x, valid = x[:, :-1], valid[:, :-1]
            queries = queries[-1:]
        return self.head(self.body(x, valid, queries, keep.blocks))

    def _tokens(self, window: Window, newest: bool) -> jax.Array:
        """Embedded tokens [B, 3 K, width]: return-to-go, observation and action of each step in turn."""
        parts = [self.to_go(window.to_go[..., None]), self.obs(window.obs), self.action(window.action)]
        if self.position == "token":
            parts = [jnp.tanh(x) for x in parts]
        x = jnp.stack(parts, 2)  # [B, K, 3, width]
        if self.position in ("step", "time"):
            x = x + self._step(window.time)[:, :, None]
        x = x.reshape(x.shape[0], -1, x.shape[-1])
        if self.places is not None:
            padding = 3 * (~window.valid).sum(-1, keepdims=True)
            place = jnp.maximum(jnp.arange(x.shape[1])[None] - padding, 0)
            x = x + self.places(place) + self._step(window.time[:, -1 if newest else 0])[:, None]
        return x if self.norm is None else self.norm(x)

    def _step(self, time: jax.Array) -> jax.Array:
        assert self.steps is not None
        if isinstance(self.steps, Linear):
            return self.steps(time[..., None] / TIME)
        return self.steps(jnp.minimum(time, len(self.steps.table) - 1))


def trajectory_model(
    noise: Noise, spec: Spec, cfg: Sizes, position: str, head: Linear | Projection, timesteps: int = 0
) -> TrajectoryModel:
    """A model with random weights: those of PyTorch for embeddings, those of GPT-2 for the blocks.

    Args:
        noise: draws of the initial weights.
        spec: shapes of the problem; observations are vectors.
        cfg: sizes of the model.
        position: how tokens know their place, see `TrajectoryModel`.
        head: the output layer.
        timesteps: steps of an episode that have vectors of their own, if tokens know their place.
    """
    (d,) = spec.obs
    width = cfg.width
    token = position == "token"
    action: Linear | Embedding
    if spec.discrete:
        action = Embedding((STD if token else 1.0) * noise.normal("actions", (spec.action, width)))
    else:
        action = torch_uniform(noise.sub("action"), spec.action, width)
    steps: Embedding | Linear | None = None
    if token:
        steps = Embedding(jnp.zeros((timesteps, width)))
    elif position == "step":
        steps = Embedding(noise.normal("steps", (timesteps, width)))
    elif position == "time":
        steps = torch_uniform(noise.sub("time"), 1, width)
    return TrajectoryModel(
        torch_uniform(noise.sub("to_go"), 1, width),
        torch_uniform(noise.sub("obs"), d, width),
        action,
        steps,
        Embedding(jnp.zeros((3 * cfg.context, width))) if token else None,
        None if token else layer_norm(width),
        transformer(noise.sub("body"), width, cfg.layers, cfg.heads, cfg.activation),
        head,
        position,
    )


def keep_of(net: TrajectoryModel, noise: Noise, rate: float, shape: tuple[int, ...]) -> Keep:
    """Draws of dropout for an update on windows of `shape` (B, K)."""
    batch, steps = shape
    tokens = dropout(noise, "tokens", rate, (batch, 3 * steps), (net.to_go.weight.shape[1],))
    return Keep(tokens, dropped(net.body, noise, rate, batch, 3 * steps, steps))


def mean_over(values: jax.Array, valid: jax.Array) -> jax.Array:
    """The mean of `values` [B, K] over the steps that are not padding."""
    return jnp.where(valid, values, 0).sum() / jnp.maximum(valid.sum(), 1)


class Asked(PyTree):
    """What a policy needs to know of the rewards that it learned from, to follow a return."""

    scale: jax.Array  # factor from raw returns to treated ones
    best: jax.Array  # the highest treated return of the log
    low: jax.Array  # the lowest treated return-to-go of a logged step
    high: jax.Array  # the highest one

    @staticmethod
    def of(ctx: Context) -> Asked:
        """From the data and its statistics; without data, returns are raw, the best one is 0, and none is too far."""
        numbers = [ctx.stats.get("reward_scale", 1.0), ctx.stats.get("return_max", 0.0), -jnp.inf, jnp.inf]
        if ctx.data is not None and "return_to_go" in ctx.data.extra:
            logged = ctx.data.extra["return_to_go"]
            numbers[2:] = [logged.min(), logged.max()]
        return Asked(*(jnp.asarray(x, jnp.result_type(float)) for x in numbers))

    def first(self, targets: tuple[float, ...]) -> jax.Array:
        """The treated return that a policy aims at: the first of raw `targets`, or the best return of the log."""
        return self.scale * targets[0] if targets else self.best

    def bounds(self, within_log: bool) -> tuple[Scalar, Scalar]:
        """The lowest and highest return-to-go that a policy asks for after the first step of an episode."""
        return (self.low, self.high) if within_log else (-jnp.inf, jnp.inf)


Past = Any  # a dict of arrays [n, ...], see `no_past`


def no_past(spec: Spec, n: int, context: int) -> Past:
    """The memory of n environments at the start of an episode, for the last `context` steps: there is none yet."""
    shape = (n, context)
    return {
        "obs": jnp.zeros((*shape, *spec.obs)),
        "action": jnp.zeros((*shape, *spec.action_shape), jnp.int32 if spec.discrete else jnp.result_type(float)),
        "to_go": jnp.zeros(shape),
        "time": jnp.zeros(shape, jnp.int32),
        "steps": jnp.zeros(n, jnp.int32),
    }


def observed(
    past: Past, seen: Seen, target: Scalar, delayed: bool = False, bounds: tuple[Scalar, Scalar] = (-jnp.inf, jnp.inf)
) -> tuple[Window, Past]:
    """The window that ends with what is seen, and the memory with it. Its last action is not known yet.

    The first return-to-go of an episode is the target. Each step lowers it by its reward, unless `delayed` is set: then
    it stays at the target, as in a log whose rewards come with the last step.

    Args:
        past: the memory of n environments.
        seen: what they show, with the treated reward of the step before.
        target: treated return, for environments that are not asked for another one by `seen.target`.
        delayed: whether the return-to-go stays at the target.
        bounds: the lowest and highest return-to-go after the first step, treated.
    """
    n = len(seen.reward)
    context = past["time"].shape[1]
    asked = jnp.broadcast_to(jnp.asarray(target, past["to_go"].dtype), n) if seen.target is None else seen.target
    left = past["to_go"][:, -1] if delayed else past["to_go"][:, -1] - seen.reward
    steps = past["steps"]
    new = {
        "obs": seen.obs,
        "action": jnp.zeros_like(past["action"][:, 0]),
        "to_go": jnp.where(steps == 0, asked, jnp.clip(left, *bounds)),
        "time": steps,
    }
    moved = {
        name: jnp.concatenate([past[name][:, 1:], x[:, None].astype(past[name].dtype)], 1) for name, x in new.items()
    }
    valid = jnp.arange(context)[None] >= context - 1 - steps[:, None]
    return Window(**moved, valid=valid), {**moved, "steps": steps + 1}


def acted(past: Past, action: jax.Array) -> Past:
    """The memory after an action was chosen."""
    return {**past, "action": past["action"].at[:, -1].set(action.astype(past["action"].dtype))}
