"""Training of an ensemble as the first phase of a run: rows, holdout error, early stop, and what is kept.

`phase` gives the phase. It works on the field `model` of a state, which is a `Learning` until `finished` makes an
`Ensemble` of it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Protocol, TypeVar, cast

import jax
import jax.numpy as jnp

from ..core.contract import Context, Phase, Refreshed, Transitions
from ..core.errors import UserError
from ..core.noise import Noise
from ..core.spec import Batch, Spec, State, Step
from ..core.trained import Metrics, Trained, merge
from ..core.tree import PyTree
from ..data.feed.row_sources import View
from ..parts import nets, optimisers
from . import ensemble
from .ensemble import Deterministic, Ensemble, Gaussian, Scale
from .termination import KINDS

S = TypeVar("S")
HELD = 2_000  # holdout rows that the error is measured on, at most
ENDING_HIDDEN = (64, 64)  # of the classifier of ends


class Modelled(Protocol):
    """The settings of an ensemble and its training."""

    @property
    def members(self) -> int: ...
    @property
    def elites(self) -> int: ...
    @property
    def model_hidden(self) -> tuple[int, ...]: ...
    @property
    def model_lr(self) -> float: ...
    @property
    def model_batch_size(self) -> int: ...
    @property
    def model_steps(self) -> int: ...
    @property
    def model_every(self) -> int: ...
    @property
    def patience(self) -> int: ...
    @property
    def holdout(self) -> float: ...
    @property
    def termination(self) -> str: ...


class Probabilistic(Modelled, Protocol):
    """The settings of an ensemble of Gaussians."""

    @property
    def model_decay(self) -> tuple[float, ...]: ...
    @property
    def bound_weight(self) -> float: ...


class Learning(PyTree):
    """An ensemble in training."""

    net: Trained  # of a Gaussian or a Deterministic
    ending: Trained  # of the classifier of ends; moved if the run learns them
    inputs: Scale
    outputs: Scale
    best: Any  # the members at their lowest holdout error, like `net.net.nets`
    best_error: jax.Array  # [E] that error
    worse: jax.Array  # measurements since a member became better


RULES: dict[str, str] = {
    **dict.fromkeys(("model_batch_size", "model_steps", "model_every", "model_hidden"), "positive"),
    "holdout": "in (0, 1)",
    "bound_weight": "at least 0",
    "model_decay": "at least 0",
    "patience": "at least 0",
    "termination": KINDS,
}


def check(cfg: Modelled) -> list[str]:
    """Faults of the settings of an ensemble that `RULES` do not find."""
    found = [] if cfg.members >= 2 else [f"members is {cfg.members}, expected at least 2"]
    if not 1 <= cfg.elites <= cfg.members:
        found.append(f"elites is {cfg.elites}, expected from 1 to the number of members")
    return found


def learns_ends(cfg: Modelled) -> bool:
    """Whether the classifier of ends is trained."""
    return cfg.termination in ("auto", "learned")


def new(cfg: Modelled, spec: Spec, net: Gaussian | Deterministic, noise: Noise) -> Learning:
    """The state before the first update, for a new ensemble."""
    (d,) = spec.obs
    tx = optimisers.adam(cfg.model_lr)
    ending = nets.mlp(noise.sub("ending"), (2 * d + spec.action, *ENDING_HIDDEN, 1))
    return Learning(
        Trained.new(net, tx),
        Trained.new(ending, tx),
        ensemble.identity(d + spec.action),
        ensemble.identity(d),
        net.nets,
        jnp.full(cfg.members, jnp.inf),
        jnp.zeros(()),
    )


def probabilistic(cfg: Modelled, spec: Spec, noise: Noise, high: float = 0.5, low: float = -10.0) -> Learning:
    """A new probabilistic ensemble; `high` and `low` are the first bounds of its log-variances."""
    (d,) = spec.obs
    made = ensemble.gaussian(noise.sub("members"), d, spec.action, cfg.model_hidden, cfg.members, high, low)
    return new(cfg, spec, made, noise)


def fitted(cfg: Modelled, model: Learning, batch: Batch) -> tuple[Learning, Metrics]:
    """One step of every member on its own rows: leaves of `batch` are [E, B, ...]."""
    tx = optimisers.adam(cfg.model_lr)
    x = model.inputs(jnp.concatenate([batch.obs, batch.action], -1))
    rows = ensemble.triple(model.inputs, batch.obs, batch.action, batch.next_obs)
    if isinstance(model.net.net, Gaussian):
        y = ensemble.change_and_reward(batch.obs, batch.next_obs, batch.reward)
        own = cast(Probabilistic, cfg)
        given = (x, y, own.model_decay, own.bound_weight)
        net, m1 = model.net.step(tx, ensemble.likelihood_loss, *given, name="model")
    else:
        y = model.outputs(batch.next_obs - batch.obs)
        net, m1 = model.net.step(tx, ensemble.squared_loss, x, y, rows, batch.reward, name="model")
    if not learns_ends(cfg):
        return dataclasses.replace(model, net=net), m1
    ending, m2 = model.ending.step(tx, ensemble.ending_loss, rows[0], batch.terminated[0], name="ending")
    return dataclasses.replace(model, net=net, ending=ending), merge(m1, m2)


def update(cfg: Modelled, state: State, batch: Batch, noise: Noise, step: Step) -> tuple[State, Metrics]:
    """The update of the phase, on the field `model` of the state."""
    model, metrics = fitted(cfg, state.model, batch)
    return dataclasses.replace(state, model=model), metrics


def rows_of(view: View, most: int | None = None) -> Batch:
    """The transitions of a view of the data; `most` of them, evenly spaced, if there are more."""
    index = view.index
    if most is not None and len(index) > most:
        index = index[jnp.linspace(0, len(index) - 1, most).astype(jnp.int32)]
    columns = view.columns
    at = columns.row[index]
    zeros = jnp.zeros(len(index))
    given = (columns.obs[at], columns.action[index], columns.reward[index], columns.obs[at + 1])
    return Batch(*given, columns.terminated[index], zeros)


def scales(model: Learning, rows: Batch) -> tuple[Scale, Scale]:
    """The scales of inputs and outputs, from the training rows."""
    x = jnp.concatenate([rows.obs, rows.action], -1)
    if isinstance(model.net.net, Gaussian):
        return ensemble.standard(x), model.outputs
    return ensemble.absolute(x), ensemble.absolute(rows.next_obs - rows.obs)


def measure(
    cfg: Modelled, state: State, sources: Mapping[str, View], ctx: Context, noise: Noise, step: Step
) -> Refreshed:
    """The refresh of the phase: scales before the first update, then the holdout error and what is best by it."""
    model = state.model
    fresh = scales(model, rows_of(sources["train"]))
    inputs, outputs = jax.tree.map(lambda x, y: jnp.where(step == 0, x, y), fresh, (model.inputs, model.outputs))
    model = dataclasses.replace(model, inputs=inputs, outputs=outputs)
    rows = rows_of(sources["holdout"], HELD)
    error = holdout_error(model, rows)
    better = error < 0.99 * model.best_error

    def keep(new: jax.Array, old: jax.Array) -> jax.Array:
        return jnp.where(better.reshape(-1, *[1] * (new.ndim - 1)), new, old)

    worse = jnp.where(better.any(), 0.0, model.worse + 1)
    best = jax.tree.map(keep, model.net.net.nets, model.best)
    model = dataclasses.replace(
        model, best=best, best_error=jnp.where(better, error, model.best_error), worse=jnp.where(step == 0, 0.0, worse)
    )
    metrics = {"holdout/error": error.mean(), "holdout/best": model.best_error.min()}
    if learns_ends(cfg):
        metrics |= ending_quality(model, rows)
    return Refreshed(dataclasses.replace(state, model=model), metrics=metrics)


def holdout_error(model: Learning, rows: Batch) -> jax.Array:
    """Squared error of each member [E] in the units of training, a mean over rows and outputs."""
    mean, _ = _ensemble(model, jnp.arange(1)).predict(rows.obs, rows.action)
    wanted = ensemble.change_and_reward(rows.obs, rows.next_obs, rows.reward)
    return jnp.square(mean - wanted[None]).mean((1, 2))


def ending_quality(model: Learning, rows: Batch) -> Metrics:
    """Precision and recall of the classifier of ends; a number without any case has weight 0."""
    logit = model.ending.net(ensemble.triple(model.inputs, rows.obs, rows.action, rows.next_obs))[..., 0]
    said = logit > 0
    ended = rows.terminated > 0
    right = (said & ended).sum()
    return {
        "ending/precision": (right / jnp.maximum(said.sum(), 1), said.any()),
        "ending/recall": (right / jnp.maximum(ended.sum(), 1), ended.any()),
    }


def converged(cfg: Modelled, state: State) -> jax.Array:
    """Whether no member became better in more than `patience` measurements; patience 0 never stops."""
    return (state.model.worse > cfg.patience) & (cfg.patience > 0)


def phase(cfg: Modelled, bootstrap: bool = True) -> Phase:
    """The phase that trains the ensemble in the field `model` of a state."""
    return Phase(
        "model",
        steps=cfg.model_steps,
        update=update,
        needs=Transitions(batches=cfg.members, bootstrap=bootstrap),
        batch_size=cfg.model_batch_size,
        plays=False,
        models=True,
        mix={"train": 1.0},
        split={"train": 1 - cfg.holdout, "holdout": cfg.holdout},
        refresh=measure,
        every=cfg.model_every,
        until=converged,
    )


def _ensemble(model: Learning, elites: jax.Array) -> Ensemble:
    return Ensemble(model.net.net, model.inputs, model.outputs, elites, model.ending.net)


def finished(cfg: Modelled, model: Learning) -> Ensemble:
    """The trained ensemble: the best weights of each member, the last bounds, and the members with the lowest errors.

    With patience 0 it has the last weights.
    """
    elites = jnp.argsort(model.best_error)[: cfg.elites].astype(jnp.int32)
    made = _ensemble(model, elites)
    if not cfg.patience:
        return made
    return dataclasses.replace(made, net=dataclasses.replace(made.net, nets=model.best))


def taken(cfg: Modelled, model: Learning | Ensemble, ctx: Context) -> Ensemble:
    """The ensemble that a run uses: that of another run if there is one, else its own.

    Raises:
        UserError: the ensemble of the other run is of another kind, or has other numbers of members or elites.
    """
    if not isinstance(model, Learning):
        return model
    if ctx.dynamics is None:
        return finished(cfg, model)
    other = ctx.dynamics
    if type(other.net) is not type(model.net.net):
        kind = type(model.net.net).__name__.lower()
        raise UserError(f"--dynamics has a {type(other.net).__name__.lower()} model, this method needs a {kind} one")
    found = {"members": other.net.nets.layers[0].bias.shape[0], "elites": len(other.elites)}
    for name, count in found.items():
        if count != getattr(cfg, name):
            raise UserError(
                f"--dynamics has {count} {name}, the settings have {getattr(cfg, name)}: use --{name} {count}"
            )
    return other
