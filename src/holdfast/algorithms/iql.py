"""Implicit Q-learning (Kostrikov, Nair, Levine 2021, arXiv:2110.06169; equation numbers are theirs).

V is the tau-expectile of Q over the actions in the data. Q regresses on r + gamma V(s'). The policy is cloned from the
data with weights exp(beta A). No action outside the data is ever evaluated.

Notation (paper = code): tau = `expectile`; beta = `inverse_temperature`; alpha (target average) = `polyak`.
Shapes: B rows, E = 2 critics.
Order of an update, as in the authors' code: value, policy with the new value, critics with the new value, targets.
As in the authors' code and not in the paper: the weight is capped at `max_weight`; the mean of the policy is tanh(MLP)
and its log standard deviation is a parameter that does not depend on the state; the learning rate of the policy follows
a cosine to 0 at the end of the run.
Ours: discrete actions, with a categorical policy, critics with one output per action and a beta of their own, because
the authors have continuous actions only. `critic_decay_steps` can decay the rates of value and critics too, which
steadies the last policy on short logs; the published presets keep them constant.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import optax

from ..core.config import Schedule, config, faults, static
from ..core.contract import BOTH, PROPORTIONAL, SCALED, Algorithm, Collect, Context, Phase, Preset, Treatment
from ..core.noise import Noise
from ..core.spec import Batch, Scalar, Step
from ..core.trained import Metrics, Trained, merge
from ..core.tree import PyTree, ema
from ..parts import initialisers, losses, nets, optimisers, targets
from ..parts.acting import act, dist
from ..parts.cloning import weighted_cloning
from ..parts.critics import squared_error


@config
class IQL:
    expectile: float = 0.7  # tau of eq. 5; 0.9 on AntMaze
    inverse_temperature: float = 3.0  # beta of eq. 7; 10 on AntMaze, 0.5 on Kitchen and Adroit
    discrete_inverse_temperature: float = 0.1  # beta for discrete actions; ours, because advantages are larger there
    max_weight: float = 100.0  # cap on exp(beta A), authors' code
    discount: float = 0.99  # gamma
    n_step: int = 1  # steps of the return before it bootstraps; 1 in the paper
    polyak: float = 0.005  # rate at which the target critics follow
    actor_lr: float = 3e-4  # Adam
    value_lr: float = 3e-4  # Adam
    critic_lr: float = 3e-4  # Adam
    actor_decay_steps: Schedule = "run"  # rate of the actor: constant, or a cosine over the run or N updates
    critic_decay_steps: Schedule = "constant"  # the same for the rates of value and critics
    actor_dropout: float = static(default=0.0)  # 0.1 on Kitchen and Adroit
    hidden: tuple[int, ...] = (256, 256)  # widths of the hidden layers of every network
    batch_size: int = 256  # rows per update
    update_ratio: int = 1  # fine-tuning: updates per environment step


class State(PyTree):
    actor: Trained
    value: Trained
    critic: Trained
    target_critic: nets.Critic


class Optimisers(NamedTuple):
    actor: optax.GradientTransformation
    value: optax.GradientTransformation
    critic: optax.GradientTransformation


def check(cfg: IQL) -> list[str]:
    rules = {
        "expectile": "in (0, 1)",
        "inverse_temperature": "at least 0",
        "discrete_inverse_temperature": "at least 0",
        "max_weight": "positive",
        "discount": "in [0, 1]",
        "polyak": "in [0, 1]",
        "actor_dropout": "in [0, 1)",
        "update_ratio": "positive",
    }
    return faults(cfg, n_step="positive", **rules)


def optimisers_of(cfg: IQL) -> Optimisers:
    return Optimisers(
        actor=optimisers.scheduled(cfg.actor_lr, cfg.actor_decay_steps),
        value=optimisers.scheduled(cfg.value_lr, cfg.critic_decay_steps),
        critic=optimisers.scheduled(cfg.critic_lr, cfg.critic_decay_steps),
    )


def init(cfg: IQL, ctx: Context, noise: Noise) -> State:
    weights = initialisers.orthogonal()
    actor = nets.gaussian_policy(noise.sub("actor"), ctx.spec, cfg.hidden, init=weights)
    value = nets.value(noise.sub("value"), ctx.spec, cfg.hidden, init=weights)
    critic = nets.critic(noise.sub("critic"), ctx.spec, cfg.hidden, init=weights)
    return state_of(cfg, actor, value, critic)


def state_of(cfg: IQL, actor: nets.Policy, value: nets.Value, critic: nets.Critic) -> State:
    """The state before the first update, for networks of any kind."""
    tx = optimisers_of(cfg)
    return State(Trained.new(actor, tx.actor), Trained.new(value, tx.value), Trained.new(critic, tx.critic), critic)


def value_loss(value: nets.Value, q: jax.Array, obs: jax.Array, tau: Scalar) -> tuple[jax.Array, Metrics]:
    """Expectile regression of V on `q` [B] (eq. 5)."""
    v = value(obs)
    return losses.expectile(q - v, tau).mean(), {"mean": v.mean()}


def update(cfg: IQL, state: State, batch: Batch, noise: Noise, step: Step) -> tuple[State, Metrics]:
    tx = optimisers_of(cfg)
    q = state.target_critic(batch.obs, batch.action).min(0)
    value, m1 = state.value.step(tx.value, value_loss, q, batch.obs, cfg.expectile, name="value")  # eq. 5
    advantage = q - value.net(batch.obs)
    beta = cfg.discrete_inverse_temperature if state.critic.net.discrete else cfg.inverse_temperature
    weight = losses.exp_weight(advantage, beta, cfg.max_weight)
    keep = nets.dropout(noise, "actor_dropout", cfg.actor_dropout, batch.reward.shape, state.actor.net.net)
    actor, m2 = state.actor.step(tx.actor, weighted_cloning, weight, batch, keep, name="actor")  # eq. 7
    y = targets.td(batch, value.net(batch.next_obs), cfg.discount)
    critic, m3 = state.critic.step(tx.critic, squared_error, y, batch, name="critic")  # eq. 6
    target = ema(critic.net, state.target_critic, cfg.polyak)
    return State(actor, value, critic, target), merge(m1, m2, m3, {"advantage": advantage.mean()})


def finetune(cfg: IQL) -> tuple[Phase, ...]:
    """As train_finetune.py: one buffer of the data and the new rows, sampled actions, `update_ratio` updates a step."""
    return (Phase("online", mix=PROPORTIONAL, collect=Collect(warmup=0, every=cfg.update_ratio)),)


CODE = "authors' code, github.com/ikostrikov/implicit_q_learning, configs/"
CLIPPED = Treatment(clip_actions=1e-5)
PRESETS = {
    "mujoco": Preset(IQL(), CLIPPED._replace(return_scale=1000.0), CODE + "mujoco_config.py"),
    "antmaze": Preset(
        IQL(expectile=0.9, inverse_temperature=10.0), CLIPPED._replace(reward_shift=-1.0), CODE + "antmaze_config.py"
    ),
    "kitchen": Preset(IQL(inverse_temperature=0.5, actor_dropout=0.1), CLIPPED, CODE + "kitchen_config.py"),
    "adroit": Preset(
        IQL(inverse_temperature=0.5, actor_dropout=0.1),
        CLIPPED,
        CODE + "kitchen_config.py, which README.md uses for Adroit too",
    ),
    "tuned_100k": Preset(
        IQL(critic_decay_steps="run"),
        SCALED._replace(clip_actions=1e-5),
        "ours, the authors' mujoco_config.py with normalised observations and rates that fall: docs/presets.md",
    ),
    "tuned_mixed": Preset(
        IQL(expectile=0.6, inverse_temperature=10.0, max_weight=20.0, actor_dropout=0.1, critic_decay_steps="run"),
        SCALED._replace(clip_actions=1e-5),
        "ours, chosen on a mixed log of 100,000 steps, for such logs only: docs/algorithms/iql.md",
    ),
}

algorithm = Algorithm(
    "iql",
    IQL,
    init,
    update,
    act,
    PRESETS,
    needs=targets.n_step_rows,
    dist=dist,
    actions=BOTH,
    finetune=finetune,
    check=check,
    images=True,
)
