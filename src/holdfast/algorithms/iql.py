"""Implicit Q-learning (Kostrikov, Nair, Levine 2021, arXiv:2110.06169; equation numbers are theirs).

V is the tau-expectile of Q over the actions in the data, Q regresses on r + gamma V(s'), and the policy is cloned from
the data with weights exp(beta A). No action outside the data is ever evaluated.

Paper -> here: tau expectile, beta inverse_temperature, alpha (target average) polyak. B rows, E = 2 critics.
As in the authors' code and not in the paper: the weight is capped at `max_weight`; the actor's mean is tanh(MLP) and
its log standard deviation a parameter of its own; the actor's learning rate falls along a cosine to 0 at the run's end;
order V, policy, Q, target. Ours: the rates of value and critics fall with it, unless `critic_decay_steps` is -1.
Discrete actions: the same losses with a categorical policy, one critic output an action and a beta of their own.
"""

from __future__ import annotations

from typing import Any

import jax

from ..core.config import Schedule, config, faults, static
from ..core.contract import PROPORTIONAL, SCALED, Algorithm, Collect, Context, Phase, Preset, Treatment
from ..core.noise import Noise
from ..core.spec import Batch, Memory, Mode, Seen, Step
from ..core.trained import Metrics, Trained, merge
from ..core.tree import PyTree, ema
from ..parts import initialisers, layers, losses, nets, optimisers, targets
from ..parts.distributions import choose


@config
class IQL:
    expectile: float = 0.7  # tau of eq. 5; 0.9 on AntMaze
    inverse_temperature: float = 3.0  # beta of eq. 7; 10 on AntMaze, 0.5 on Kitchen and Adroit
    discrete_inverse_temperature: float = 0.1  # beta where actions are discrete; ours: there advantages are larger
    max_weight: float = 100.0  # cap on exp(beta A), authors' code
    discount: float = 0.99  # gamma
    polyak: float = 0.005  # rate at which the target critics follow
    actor_lr: float = 3e-4  # Adam
    value_lr: float = 3e-4  # Adam
    critic_lr: float = 3e-4  # Adam
    actor_decay_steps: Schedule = "run"  # actor's rate: constant, or a cosine over the run or N updates
    critic_decay_steps: Schedule = "run"  # the same for the rates of value and critics; constant in the authors' code
    actor_dropout: float = static(default=0.0)  # 0.1 on Kitchen and Adroit
    hidden: tuple[int, ...] = (256, 256)  # widths of the hidden layers of every network
    batch_size: int = 256  # rows an update
    update_ratio: int = 1  # fine-tuning: updates an environment step


class State(PyTree):
    actor: Trained
    value: Trained
    critic: Trained
    target_critic: nets.Critic


def check(cfg: IQL) -> list[str]:
    rules = {
        "expectile": "in (0, 1)",
        "inverse_temperature": "at least 0",
        "discrete_inverse_temperature": "at least 0",
        "max_weight": "positive",
        "polyak": "in [0, 1]",
        "update_ratio": "positive",
    }
    return faults(cfg, discount="in [0, 1]", actor_dropout="in [0, 1)", **rules)


def optimiser(cfg: Any) -> Any:
    return optimisers.adam(optimisers.cosine(cfg.actor_lr, cfg.actor_decay_steps))


def value_optimiser(cfg: Any) -> Any:
    return optimisers.adam(optimisers.cosine(cfg.value_lr, cfg.critic_decay_steps))


def critic_optimiser(cfg: Any) -> Any:
    return optimisers.adam(optimisers.cosine(cfg.critic_lr, cfg.critic_decay_steps))


def init(cfg: IQL, ctx: Context, noise: Noise) -> State:
    spec, init = ctx.spec, initialisers.orthogonal()
    shape = {"low": -5.0, "high": 2.0, "squash": "mean"}
    actor = nets.policy(noise.sub("actor"), spec, cfg.hidden, "gaussian", init=init, **shape)
    value = nets.value(noise.sub("value"), spec, cfg.hidden, init=init)
    critic = nets.critic(noise.sub("critic"), spec, cfg.hidden, init=init)
    return State(
        Trained.new(actor, optimiser(cfg)),
        Trained.new(value, value_optimiser(cfg)),
        Trained.new(critic, critic_optimiser(cfg)),
        critic,
    )


def value_loss(value: nets.Value, q: jax.Array, obs: jax.Array, tau: Any) -> tuple[jax.Array, Metrics]:
    v = value(obs)
    return losses.expectile(q - v, tau).mean(), {"mean": v.mean()}


def policy_loss(policy: nets.Policy, weight: jax.Array, batch: Batch, keep: Any) -> tuple[jax.Array, Metrics]:
    log_prob = policy(batch.obs, keep).among(batch.mask).log_prob(batch.action)
    return -(weight * log_prob).mean(), {"log_prob": log_prob.mean(), "weight": weight.mean()}


def critic_loss(critic: nets.Critic, y: jax.Array, batch: Batch) -> tuple[jax.Array, Metrics]:
    q = critic(batch.obs, batch.action)
    return ((q - y[None]) ** 2).mean(1).sum(), {"q": q.mean()}


def update(cfg: IQL, state: State, batch: Batch, noise: Noise, step: Step) -> tuple[State, Metrics]:
    q = state.target_critic(batch.obs, batch.action).min(0)
    value, m1 = state.value.step(value_optimiser(cfg), value_loss, q, batch.obs, cfg.expectile, name="value")  # eq. 5
    advantage = q - value.net(batch.obs)
    beta = cfg.discrete_inverse_temperature if state.critic.net.discrete else cfg.inverse_temperature
    weight = losses.exp_weight(advantage, beta, cfg.max_weight)
    keep = layers.dropout(noise, "actor_dropout", cfg.actor_dropout, batch.reward.shape, cfg.hidden)
    actor, m2 = state.actor.step(optimiser(cfg), policy_loss, weight, batch, keep, name="actor")  # eq. 7
    y = targets.td(batch, value.net(batch.next_obs), cfg.discount)
    critic, m3 = state.critic.step(critic_optimiser(cfg), critic_loss, y, batch, name="critic")  # eq. 6
    target = ema(critic.net, state.target_critic, cfg.polyak)
    return State(actor, value, critic, target), merge(m1, m2, m3, {"advantage": advantage.mean()})


def dist(cfg: IQL, state: State, seen: Seen, memory: Memory) -> Any:
    return state.actor.net(seen.obs).among(seen.mask)


def act(cfg: IQL, state: State, seen: Seen, memory: Memory, noise: Noise, mode: Mode) -> tuple[jax.Array, Any]:
    return choose(dist(cfg, state, seen, memory), noise, mode), memory


def finetune(cfg: IQL) -> tuple[Phase, ...]:
    """As train_finetune.py: a buffer of data and new rows, the policy's draws, `update_ratio` updates a step."""
    return (Phase("online", mix=PROPORTIONAL, collect=Collect(warmup=0, every=cfg.update_ratio)),)


CODE = "authors' code, github.com/ikostrikov/implicit_q_learning, configs/"
PRESETS = {
    "small": Preset(
        IQL(expectile=0.6, inverse_temperature=10.0, max_weight=20.0, actor_dropout=0.1),
        SCALED._replace(clip_actions=1e-5),
        "ours, chosen on mixed logs of 100,000 steps: docs/algorithms/iql.md",
    ),
    "normalized": Preset(
        IQL(),
        SCALED._replace(clip_actions=1e-5),
        "the authors' mujoco_config.py, with observations normalised as in CORL, algorithms/offline/iql.py",
    ),
    "mujoco": Preset(IQL(), Treatment(return_scale=1000.0, clip_actions=1e-5), CODE + "mujoco_config.py"),
    "antmaze": Preset(
        IQL(expectile=0.9, inverse_temperature=10.0),
        Treatment(reward_shift=-1.0, clip_actions=1e-5),
        CODE + "antmaze_config.py",
    ),
    "kitchen": Preset(
        IQL(inverse_temperature=0.5, actor_dropout=0.1), Treatment(clip_actions=1e-5), CODE + "kitchen_config.py"
    ),
    "adroit": Preset(
        IQL(inverse_temperature=0.5, actor_dropout=0.1),
        Treatment(clip_actions=1e-5),
        CODE + "kitchen_config.py (the paper's Adroit setting)",
    ),
}

BOTH = frozenset({"continuous", "discrete"})
algorithm = Algorithm("iql", IQL, init, update, act, PRESETS, dist=dist, actions=BOTH, finetune=finetune, check=check)
