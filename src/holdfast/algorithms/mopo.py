"""MOPO, model-based offline policy optimisation (Yu, Thomas, Yu, Ermon, Zou, Levine, Finn, Ma 2020, arXiv:2005.13239).

A soft actor-critic learns from short rollouts in an ensemble of learned models, whose rewards are lowered by how
uncertain the ensemble is: r~(s, a) = r(s, a) - lambda u(s, a), eq. 5. The penalised return bounds the true one from
below if u bounds the model's error.

Notation (paper = code): lambda = `penalty_weight`; u = `penalty`; h = `horizon`.
Order, as in the authors' code: critics, actor and temperature use the networks from before the update; then the target
critics follow. The temperature's loss is on log alpha.
As in the authors' code and not in the paper: u is the largest 2-norm of a member's standard deviations (the paper has
the norm of the variances). It counts all members, the reward too, and not only the elites.
Not as there: holdout rows are whole episodes; the holdout error is measured every `model_every` updates (there: after
every pass over the data); batches of the model are drawn with replacement from the bootstrap samples.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from ..core.config import config, faults, static
from ..core.contract import SCALED, Algorithm, Context, Phase, Preset, Treatment
from ..core.noise import Noise
from ..core.spec import Batch, Step
from ..core.trained import Metrics, merge
from ..core.tree import ema
from ..dynamics import learning, penalties
from ..dynamics.ensemble import Outcome
from ..dynamics.rollout import Judge, Verdict
from ..parts import targets
from ..parts.acting import act, dist
from ..parts.critics import squared_error
from . import model_based
from .model_based import State
from .sac import actor_loss, entropy_goal, optimisers_of, temperature_loss


@config
class MOPO:
    penalty_weight: float = 0.5  # lambda
    penalty: str = "std"  # u: std (largest norm of a member's deviations) or distance (of a mean to the mean of means)
    horizon: int = 5  # h, steps of a rollout
    rollout_batch: int = 50_000  # rollouts that start together
    rollout_every: int = 1_000  # updates between rollouts
    retain: int = 5  # rollouts of so many refreshes are kept
    real_ratio: float = static(default=0.05)  # share of logged rows in a batch
    members: int = 7  # networks of the ensemble
    elites: int = 5  # members with the lowest holdout error, which make the rollouts
    model_hidden: tuple[int, ...] = (200, 200, 200, 200)  # widths of the hidden layers of a member
    model_lr: float = 1e-3  # Adam
    model_decay: tuple[float, ...] = (2.5e-5, 5e-5, 7.5e-5, 7.5e-5, 1e-4)  # weight decay of each layer
    bound_weight: float = 0.01  # pull on the bounds of the log-variance
    model_batch_size: int = 256  # rows per member and update
    model_steps: int = 200_000  # updates of the model, at most
    model_every: int = 1_000  # updates between measurements of the holdout error
    patience: int = 5  # measurements without a better member before the model is done; 0: all `model_steps`
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


def check(cfg: MOPO) -> list[str]:
    rules = model_based.RULES | {"penalty": "std|distance", "penalty_weight": "at least 0"}
    return faults(cfg, **rules) + learning.check(cfg)


def init(cfg: MOPO, ctx: Context, noise: Noise) -> State:
    return model_based.init(cfg, ctx, noise)


def uncertainty(cfg: MOPO, found: Outcome) -> jax.Array:
    """u(s, a) of rows [n]."""
    return penalties.largest_std(found.std) if cfg.penalty == "std" else penalties.distance_to_mean(found.mean)


def judge_of(cfg: MOPO) -> Judge:
    def judge(obs: jax.Array, action: jax.Array, found: Outcome) -> Verdict:
        reward = found.reward - cfg.penalty_weight * uncertainty(cfg, found)  # eq. 5
        return Verdict(reward, jnp.zeros(reward.shape, bool))

    return judge


def update(cfg: MOPO, state: State, batch: Batch, noise: Noise, step: Step) -> tuple[State, Metrics]:
    tx = optimisers_of(cfg)
    alpha = jnp.exp(state.temperature.net)
    eps = noise.normal("target_action", batch.action.shape)
    next_action, next_log_prob = state.actor.net(batch.next_obs).sample_and_log_prob(eps)
    soft = state.target_critic(batch.next_obs, next_action).min(0) - alpha * next_log_prob
    y = targets.td(batch, soft, cfg.discount)
    critic, m1 = state.critic.step(tx.critic, squared_error, y, batch, name="critic")

    eps = noise.normal("actor_action", batch.action.shape)
    actor, m2 = state.actor.step(tx.actor, actor_loss, state.critic.net, alpha, batch.obs, eps, name="actor")
    _, log_prob = state.actor.net(batch.obs).sample_and_log_prob(eps)
    goal = entropy_goal(cfg, batch)
    temperature, m3 = state.temperature.step(tx.temperature, temperature_loss, log_prob, goal, name="temperature")
    target = ema(critic.net, state.target_critic, cfg.polyak)
    return State(actor, critic, target, temperature, state.model), merge(m1, m2, m3)


def phases(cfg: MOPO) -> tuple[Phase, ...]:
    return model_based.phases(cfg, model_based.refresh_with(judge_of))


KIT = "OfflineRL-Kit, run_example/run_mopo.py"
AUTHORS = "authors' code, github.com/tianheyu927/mopo, examples/config/d4rl, data of version 0"


def kit(horizon: int, weight: float) -> Preset:
    return Preset(MOPO(horizon=horizon, penalty_weight=weight), Treatment(), KIT)


def authors(horizon: int, weight: float) -> Preset:
    cfg = MOPO(horizon=horizon, penalty_weight=weight, actor_lr=3e-4, temperature_lr=3e-4, target_entropy=-3.0)
    return Preset(cfg, Treatment(), AUTHORS)


PRESETS = {
    "halfcheetah-medium": kit(5, 0.5),
    "halfcheetah-medium-replay": kit(5, 0.5),
    "halfcheetah-medium-expert": kit(5, 2.5),
    "hopper-medium": kit(5, 5.0),
    "hopper-medium-replay": kit(5, 2.5),
    "hopper-medium-expert": kit(5, 5.0),
    "walker2d-medium": kit(5, 0.5),
    "walker2d-medium-replay": kit(1, 2.5),
    "walker2d-medium-expert": kit(1, 2.5),
    "authors-halfcheetah-random": authors(5, 0.5),
    "authors-halfcheetah-medium": authors(1, 1.0),
    "authors-halfcheetah-medium-replay": authors(5, 1.0),
    "authors-halfcheetah-medium-expert": authors(5, 5.0),
    "authors-hopper-random": authors(5, 1.0),
    "authors-hopper-medium": authors(5, 5.0),
    "authors-hopper-medium-replay": authors(5, 1.0),
    "authors-hopper-medium-expert": authors(5, 1.0),
    "authors-walker2d-random": authors(1, 1.0),
    "authors-walker2d-medium": authors(5, 5.0),
    "authors-walker2d-medium-replay": authors(1, 1.0),
    "authors-walker2d-medium-expert": authors(1, 2.0),
    "tuned_100k": Preset(
        MOPO(
            penalty_weight=1.0, rollout_batch=10_000, real_ratio=0.5, members=5, elites=3, model_hidden=(128, 128, 128),
            model_steps=20_000, patience=3, initial_temperature=0.1, actor_lr=3e-4, temperature_lr=3e-4,
        ),
        SCALED,
        "ours, smaller models and more logged rows for logs of 100,000 steps: docs/algorithms/mopo.md",
    ),
}  # fmt: skip

algorithm = Algorithm(
    "mopo",
    MOPO,
    init,
    update,
    act,
    PRESETS,
    dist=dist,
    phases=phases,
    check=check,
    dynamics=model_based.dynamics,
)
