"""Behaviour cloning: the logged action as a supervised target.

Deterministic: mean squared error of tanh(MLP), over rows and action dimensions. Gaussian: negative log-likelihood of a
tanh-squashed normal whose mean and log standard deviation the network gives; logged actions are kept 1e-3 from the
bounds, where the density of a squashed normal is infinite. Discrete: cross-entropy plus a penalty on low
log-probabilities, which keeps the noise of a small log from being learned by heart.

The learning rate falls along a cosine to 0 at the run's end, as IQL's does; the published codes keep it constant, and
their last policies differ much from one update to the next.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from ..core.config import Schedule, config, faults
from ..core.contract import Algorithm, Context, Preset, Treatment
from ..core.noise import Noise
from ..core.spec import Batch, Memory, Mode, Seen, Step
from ..core.trained import Metrics, Trained
from ..core.tree import PyTree
from ..parts import nets, optimisers
from ..parts.distributions import Categorical, Deterministic, choose


@config
class BC:
    kind: str = "deterministic"  # continuous policy: deterministic (mean squared error) or gaussian (likelihood)
    logit_penalty: float = 0.5  # discrete: weight of the mean squared log-probability, as in d3rlpy; 0 for none
    actor_lr: float = 3e-4  # Adam, CORL
    actor_decay_steps: Schedule = "run"  # learning rate: constant, or a cosine over the run or N updates
    hidden: tuple[int, ...] = (256, 256)  # widths of the hidden layers, CORL
    batch_size: int = 256  # rows an update


RULES = {"kind": "deterministic|gaussian", "logit_penalty": "at least 0"}


class State(PyTree):
    actor: Trained


def check(cfg: BC) -> list[str]:
    return faults(cfg, **RULES)


def optimiser(cfg: BC) -> Any:
    return optimisers.adam(optimisers.cosine(cfg.actor_lr, cfg.actor_decay_steps))


def init(cfg: BC, ctx: Context, noise: Noise) -> State:
    if cfg.kind == "gaussian":
        actor = nets.policy(
            noise.sub("actor"), ctx.spec, cfg.hidden, "heads", low=-5.0, high=2.0, squash="tanh", edge=1e-3
        )
    else:
        actor = nets.policy(noise.sub("actor"), ctx.spec, cfg.hidden, "deterministic")
    return State(Trained.new(actor, optimiser(cfg)))


def squared_log_probs(law: Categorical) -> jax.Array:
    """Mean over the legal actions of each row of their squared log-probabilities: [...]."""
    log_prob = law.log_probs()
    legal = jnp.isfinite(log_prob)
    return jnp.square(jnp.where(legal, log_prob, 0)).sum(-1) / legal.sum(-1)


def actor_loss(actor: nets.Policy, batch: Batch, logit_penalty: Any) -> tuple[jax.Array, Metrics]:
    law = actor(batch.obs).among(batch.mask)
    if isinstance(law, Deterministic):
        return ((law.action - batch.action) ** 2).mean(), {}
    nll = -law.log_prob(batch.action).mean()
    if isinstance(law, Categorical):
        accuracy = (law.mode() == batch.action).mean()
        return nll + logit_penalty * squared_log_probs(law).mean(), {"log_prob": -nll, "accuracy": accuracy}
    return nll, {}


def update(cfg: BC, state: State, batch: Batch, noise: Noise, step: Step) -> tuple[State, Metrics]:
    actor, metrics = state.actor.step(optimiser(cfg), actor_loss, batch, cfg.logit_penalty, name="actor")
    return State(actor), metrics


def dist(cfg: BC, state: State, seen: Seen, memory: Memory) -> Any:
    return state.actor.net(seen.obs).among(seen.mask)


def act(cfg: BC, state: State, seen: Seen, memory: Memory, noise: Noise, mode: Mode) -> tuple[jax.Array, Any]:
    return choose(dist(cfg, state, seen, memory), noise, mode), memory


PRESETS = {
    "plain": Preset(BC(), Treatment(), "observations as logged, as in d3rlpy; networks and rate of CORL"),
    "mujoco": Preset(BC(), Treatment(normalize_obs=1e-3), "CORL, algorithms/offline/any_percent_bc.py"),
    "gaussian": Preset(BC(kind="gaussian"), Treatment(normalize_obs=1e-3), "the likelihood form, same networks"),
}

algorithm = Algorithm(
    "bc", BC, init, update, act, PRESETS, dist=dist, actions=frozenset({"continuous", "discrete"}), check=check
)
