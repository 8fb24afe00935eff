"""RAMBO, robust adversarial model-based offline RL (Rigter, Lacerda, Hawes 2022, arXiv:2204.12581).

A two-player game: a soft actor-critic learns from logged rows and from rollouts in an ensemble, and the ensemble is
moved against it, towards transitions whose value for the policy is low, while it still has to explain the data. No
estimate of the model's uncertainty is needed.

Notation (paper = code): lambda = `adversary_weight`, 0 for a model that only keeps to the data; h = `horizon`; f =
`real_ratio`. A = `advantage`, eq. 12; the model's loss is eq. 11.
Phases: the ensemble is trained; the policy clones the data for `cloning_steps`; then actor-critic and adversary take
turns. The adversary makes `adversary_steps` updates after every `rollout_every` updates of the policy, each at one step
of rollouts of h steps that do not stop at ends, and rollouts for the ring follow.
As in the authors' code: advantages have mean 0 and deviation 1 in a batch and use the online critics; the density is
that of the mixture of the elites; the optimiser of the ensemble is kept from its training.
Not as there: an elite is drawn for each row and step (there: for each row once, when the graph is built); actions at
the bounds are cloned as 1 - 1e-6 (there: batches with such an action are skipped); the rows that the adversary explains
are drawn for each member at every step; actor, critics and temperature are updated as in MOPO.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp

from ..core.config import config, faults, static
from ..core.contract import SCALED, Algorithm, Context, Phase, Preset, Refreshed, Treatment
from ..core.noise import Noise
from ..core.spec import Batch, Step
from ..core.trained import Metrics, Trained, merge, occasionally
from ..dynamics import adversary, learning
from ..dynamics.adversary import Opponent
from ..dynamics.ensemble import Ensemble
from ..dynamics.rollout import ended, sampled, unpenalised
from ..parts import optimisers
from ..parts.acting import act, dist
from ..parts.cloning import weighted_cloning
from . import model_based, mopo
from .model_based import RING, State
from .sac import optimisers_of

FIRST_BOUNDS = (1.0, -6.0)  # of the log-variance, the upper one first


@config
class RAMBO:
    adversary_weight: float = 3e-4  # lambda
    adversary_steps: int = 1_000  # updates of the ensemble in each turn of the adversary
    adversary_batch: int = 256  # rollouts of the adversary that run together
    cloning_steps: int = 50_000  # updates in which the actor clones the data; 0: none
    horizon: int = 5  # h, steps of a rollout
    rollout_batch: int = 50_000  # rollouts that start together
    rollout_every: int = 1_000  # updates between rollouts
    retain: int = 5  # rollouts of so many refreshes are kept
    real_ratio: float = static(default=0.5)  # f, share of logged rows in a batch
    members: int = 7  # networks of the ensemble
    elites: int = 5  # members with the lowest holdout error, which make the rollouts
    model_hidden: tuple[int, ...] = (200, 200, 200, 200)  # widths of the hidden layers of a member
    model_lr: float = 3e-4  # Adam, of the adversary too
    model_decay: tuple[float, ...] = (2.5e-5, 5e-5, 7.5e-5, 7.5e-5, 1e-4)  # weight decay of each layer
    bound_weight: float = 0.001  # pull on the bounds of the log-variance
    model_batch_size: int = 256  # rows per member and update
    model_steps: int = 200_000  # updates of the model, at most
    model_every: int = 1_000  # updates between measurements of the holdout error
    patience: int = 10  # measurements without a better member before the model is done; 0: all `model_steps`
    holdout: float = static(default=0.05)  # share of the episodes on which the error is measured
    termination: str = "auto"  # ends of rollouts: known, learned, never, or auto (known if there is a rule)
    discount: float = 0.99  # gamma
    polyak: float = 0.005  # rate at which the target critics follow
    initial_temperature: float = 1.0  # alpha before the first update
    target_entropy: float = 0.0  # in nats; 0 means minus the number of action dimensions
    actor_lr: float = 1e-4  # Adam
    critic_lr: float = 3e-4  # Adam
    temperature_lr: float = 1e-4  # Adam
    hidden: tuple[int, ...] = (256, 256)  # widths of the hidden layers of actor and critics
    batch_size: int = 256  # rows per update


def check(cfg: RAMBO) -> list[str]:
    rules = dict.fromkeys(("adversary_steps", "adversary_batch"), "positive")
    rules |= dict.fromkeys(("adversary_weight", "cloning_steps"), "at least 0")
    return faults(cfg, **model_based.RULES, **rules) + learning.check(cfg)


def init(cfg: RAMBO, ctx: Context, noise: Noise) -> State:
    return model_based.init(cfg, ctx, noise, *FIRST_BOUNDS)


def enter(cfg: RAMBO, state: State, ctx: Context, noise: Noise) -> State:
    """The state with a movable ensemble; that of another run begins with a new optimiser."""
    model = learning.taken(cfg, state.model, ctx)
    fresh = Trained.new(model.net, optimisers.adam(cfg.model_lr))
    own = ctx.dynamics is None and isinstance(state.model, learning.Learning)
    net = state.model.net.replace(model.net) if own else fresh
    return dataclasses.replace(state, model=Opponent(net, model))


def dynamics(cfg: RAMBO, state: State) -> Ensemble:
    """The ensemble in a state."""
    return state.model.ensemble if isinstance(state.model, Opponent) else model_based.dynamics(cfg, state)


def clone(cfg: RAMBO, state: State, batch: Batch, noise: Noise, step: Step) -> tuple[State, Metrics]:
    """One step of cloning the logged actions."""
    tx = optimisers_of(cfg)
    actor, metrics = state.actor.step(tx.actor, weighted_cloning, jnp.ones(()), batch, (), name="cloning")
    return dataclasses.replace(state, actor=actor), metrics


def refresh(cfg: RAMBO, state: State, sources: Mapping[str, Any], ctx: Context, noise: Noise, step: Step) -> Refreshed:
    """A turn of the adversary, but not before the first update of the policy; then rollouts."""
    ends = functools.partial(ended, state.model.rest, ctx.termination, learning.learns_ends(cfg))

    def play(state: State) -> tuple[State, Metrics]:
        given = (state.actor.net, state.critic.net, ends, sources["data"], noise.sub("adversary"))
        model, metrics = adversary.turn(cfg, state.model, *given)
        return dataclasses.replace(state, model=model), metrics

    state, reported = occasionally(step > 0, play, state)
    chosen = functools.partial(sampled, state.actor.net)
    rows, found = model_based.rolled(cfg, state.model.ensemble, sources, ctx, noise, unpenalised, chosen)
    return Refreshed(state, rows={RING: rows}, metrics=merge(found, reported))


def phases(cfg: RAMBO) -> tuple[Phase, ...]:
    cloning = (Phase("cloning", steps=cfg.cloning_steps, update=clone),) if cfg.cloning_steps else ()
    return model_based.phases(cfg, refresh, cloning, enter)


CODE = "authors' code, github.com/marc-rigter/rambo"


def authors(horizon: int, weight: float) -> Preset:
    return Preset(RAMBO(horizon=horizon, adversary_weight=weight), Treatment(normalize_obs=1e-6), CODE)


PRESETS = {
    "halfcheetah-medium": authors(5, 3e-4),
    "halfcheetah-medium-replay": authors(5, 3e-4),
    "halfcheetah-medium-expert": authors(5, 3e-4),
    "halfcheetah-random": authors(5, 0.0),
    "hopper-medium": authors(5, 3e-4),
    "hopper-medium-replay": authors(2, 3e-4),
    "hopper-medium-expert": authors(5, 3e-4),
    "hopper-random": authors(2, 3e-4),
    "walker2d-medium": authors(5, 0.0),
    "walker2d-medium-replay": authors(5, 0.0),
    "walker2d-medium-expert": authors(2, 3e-4),
    "walker2d-random": authors(5, 0.0),
    "tuned_100k": Preset(
        RAMBO(
            adversary_steps=200, cloning_steps=5_000, rollout_batch=10_000, members=5, elites=3,
            model_hidden=(128, 128, 128), model_lr=1e-3, model_steps=20_000, patience=3, initial_temperature=0.1,
            actor_lr=3e-4, temperature_lr=3e-4,
        ),
        SCALED,
        "ours, smaller models and fewer updates of the adversary for logs of 100,000 steps: docs/algorithms/rambo.md",
    ),
}  # fmt: skip

algorithm = Algorithm(
    "rambo",
    RAMBO,
    init,
    mopo.update,
    act,
    PRESETS,
    dist=dist,
    phases=phases,
    check=check,
    dynamics=dynamics,
)
