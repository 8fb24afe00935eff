"""Behaviour cloning (Pomerleau 1989): supervised learning of the logged actions.

Deterministic: mean squared error of tanh(MLP), over rows and action dimensions. Gaussian: negative log-likelihood of a
tanh-squashed normal whose mean and log standard deviation come from the network; logged actions are clipped 1e-3 from
the bounds, where the density of a squashed normal is infinite. Discrete: cross-entropy plus a penalty on small
log-probabilities, which keeps the policy from memorising the noise of a small log.

The method has no authors' code. The defaults are those of d3rlpy (BC and DiscreteBC); the preset `corl` is CORL's
(any_percent_bc.py).
Ours: the Gaussian kind, and a learning rate that can follow a cosine to 0 at the end of the run. Published codes keep
the rate constant, and their last policies then differ much from one update to the next.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import optax

from ..core.config import Schedule, config, faults
from ..core.contract import BOTH, Algorithm, Context, Preset, Treatment
from ..core.noise import Noise
from ..core.spec import Batch, Scalar, Spec, Step
from ..core.trained import Metrics, Trained
from ..core.tree import PyTree
from ..parts import nets, optimisers
from ..parts.acting import act, dist
from ..parts.distributions import Categorical, Deterministic


@config
class BC:
    kind: str = "deterministic"  # continuous policy: deterministic (mean squared error) or gaussian (likelihood)
    logit_penalty: float = 0.5  # discrete: weight of the mean squared log-probability, as in d3rlpy; 0 for none
    actor_lr: float = 1e-3  # Adam
    actor_decay_steps: Schedule = "constant"  # learning rate: constant, or a cosine over the run or N updates
    hidden: tuple[int, ...] = (256, 256)  # widths of the hidden layers
    batch_size: int = 100  # rows per update


class State(PyTree):
    actor: Trained


def check(cfg: BC) -> list[str]:
    return faults(cfg, kind="deterministic|gaussian", logit_penalty="at least 0")


def optimiser(cfg: BC) -> optax.GradientTransformation:
    return optimisers.scheduled(cfg.actor_lr, cfg.actor_decay_steps)


def init(cfg: BC, ctx: Context, noise: Noise) -> State:
    return State(Trained.new(network(cfg, ctx.spec, noise.sub("actor")), optimiser(cfg)))


def network(cfg: BC, spec: Spec, noise: Noise) -> nets.Policy:
    """The policy for the action space of `spec`; discrete actions have logits for either kind."""
    if cfg.kind == "gaussian":
        return nets.gaussian_heads_policy(noise, spec, cfg.hidden, low=-5.0, edge=1e-3)
    return nets.deterministic_policy(noise, spec, cfg.hidden)


def squared_log_probs(dist: Categorical) -> jax.Array:
    """Mean over the legal actions of each row of their squared log-probabilities: [...]."""
    log_prob = dist.log_probs()
    legal = jnp.isfinite(log_prob)
    return jnp.square(jnp.where(legal, log_prob, 0)).sum(-1) / legal.sum(-1)


def actor_loss(actor: nets.Policy, batch: Batch, logit_penalty: Scalar) -> tuple[jax.Array, Metrics]:
    """The cloning loss of the policy's kind: squared error, likelihood, or penalised cross-entropy."""
    dist = actor(batch.obs).among(batch.mask)
    if isinstance(dist, Deterministic):
        return ((dist.action - batch.action) ** 2).mean(), {}
    nll = -dist.log_prob(batch.action).mean()
    if isinstance(dist, Categorical):
        accuracy = (dist.mode() == batch.action).mean()
        return nll + logit_penalty * squared_log_probs(dist).mean(), {"log_prob": -nll, "accuracy": accuracy}
    return nll, {}


def update(cfg: BC, state: State, batch: Batch, noise: Noise, step: Step) -> tuple[State, Metrics]:
    actor, metrics = state.actor.step(optimiser(cfg), actor_loss, batch, cfg.logit_penalty, name="actor")
    return State(actor), metrics


CORL = BC(actor_lr=3e-4, batch_size=256)
PRESETS = {
    "d3rlpy": Preset(BC(), Treatment(), "d3rlpy 2, BC and DiscreteBC"),
    "corl": Preset(CORL, Treatment(normalize_obs=1e-3), "CORL, algorithms/offline/any_percent_bc.py, configs/bc"),
    "tuned_gaussian": Preset(
        dataclasses.replace(CORL, kind="gaussian", actor_decay_steps="run"),
        Treatment(normalize_obs=1e-3),
        "ours, the likelihood form with CORL's networks and a rate that falls",
    ),
}

algorithm = Algorithm("bc", BC, init, update, act, PRESETS, dist=dist, actions=BOTH, check=check, images=True)
