"""Extreme Q-learning (Garg, Hejna, Geist, Ermon 2023, arXiv:2301.02328; equation numbers are theirs).

V is fitted by Gumbel regression: it becomes beta log E exp(Q / beta) over the actions in the data, the soft maximum,
where IQL fits an expectile. Q and the policy are learned as in IQL, and no action outside the data is ever evaluated.

Paper -> here: beta gumbel_temperature (small: the maximum; large: the mean), 1/beta of the policy inverse_temperature.
As in the authors' code and not in the paper: z = (Q - V) / beta is capped, and the batch's loss is scaled by exp(-m),
m = max(max z, -1), against overflow; Q has Huber's loss (delta 20) instead of squares; the actor's learning rate falls
along a cosine; LayerNorm in V alone, before the activation (the code never passes it on to Q). Order V, policy, Q,
target. Left out: value_dropout, which that code sets but never switches on, and its unused gradient penalty.
`random_actions` and `action_noise` smooth the loss of V on some data sets; `value_updates` repeats it on the same batch
(their draws are the same in each repetition, there and here).
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from ..core.config import Schedule, config, faults, static
from ..core.contract import Algorithm, Context, Preset, Treatment
from ..core.noise import Noise
from ..core.spec import Batch, Step
from ..core.trained import Metrics, Trained, merge
from ..core.tree import ema
from ..parts import initialisers, layers, losses, nets, optimisers, targets
from .iql import State, act, dist, optimiser, policy_loss


@config
class XQL:
    gumbel_temperature: float = 2.0  # beta of eq. 10; 0.6 on AntMaze, published per data set, see below
    max_exponent: float = 7.0  # cap on z = (Q - V) / beta, authors' code; 5 or 7
    inverse_temperature: float = 3.0  # of the policy's weights exp(A / temperature); 10 on AntMaze, 0.5 on Kitchen
    max_weight: float = 100.0  # cap on those weights, authors' code
    huber_delta: float = 20.0  # error beyond which the critics' loss is linear, authors' code
    discount: float = 0.99  # gamma
    polyak: float = 0.005  # rate at which the target critics follow
    actor_lr: float = 3e-4  # Adam
    value_lr: float = 3e-4  # Adam
    critic_lr: float = 3e-4  # Adam
    actor_decay_steps: Schedule = "run"  # actor's rate: constant, or a cosine over the run or N updates
    actor_dropout: float = static(default=0.0)  # 0.1 on Kitchen and Adroit
    value_layer_norm: bool = True  # LayerNorm in the value network
    value_updates: int = 1  # steps of V an update; 4 on antmaze-medium-diverse
    random_actions: int = 0  # uniform actions beside each logged one in the loss of V; 1 on a few data sets
    action_noise: float = static(default=0.0)  # noise on the actions in the loss of V; 0.1 on halfcheetah-medium
    hidden: tuple[int, ...] = (256, 256)  # widths of the hidden layers of every network
    batch_size: int = 256  # rows an update; 1024 in the settings per data set


def check(cfg: XQL) -> list[str]:
    above = ("gumbel_temperature", "max_exponent", "max_weight", "huber_delta", "value_updates")
    least = ("inverse_temperature", "random_actions", "action_noise")
    rules = dict.fromkeys(above, "positive") | dict.fromkeys(least, "at least 0")
    return faults(cfg, discount="in [0, 1]", polyak="in [0, 1]", actor_dropout="in [0, 1)", **rules)


def init(cfg: XQL, ctx: Context, noise: Noise) -> State:
    spec, init = ctx.spec, initialisers.orthogonal()
    actor = nets.policy(noise.sub("actor"), spec, cfg.hidden, "gaussian", init=init, low=-5.0, high=2.0, squash="mean")
    norm = "pre" if cfg.value_layer_norm else "none"
    value = nets.value(noise.sub("value"), spec, cfg.hidden, init=init, norm=norm)
    critic = nets.critic(noise.sub("critic"), spec, cfg.hidden, init=init)
    return State(
        Trained.new(actor, optimiser(cfg)),
        Trained.new(value, optimisers.adam(cfg.value_lr)),
        Trained.new(critic, optimisers.adam(cfg.critic_lr)),
        critic,
    )


def gumbel(difference: jax.Array, beta: Any, maximum: Any) -> jax.Array:
    """(exp(z) - z - 1) exp(-m) of z = min(u / beta, maximum) and m = max(max z, -1), not differentiated (eq. 10).

    Its minimiser over a constant V, for u = Q - V, is beta log mean exp(Q / beta).
    """
    z = jnp.minimum(difference / beta, maximum)
    m = jnp.maximum(jax.lax.stop_gradient(z).max(), -1)
    return jnp.exp(z - m) - z * jnp.exp(-m) - jnp.exp(-m)


def value_loss(value: nets.Value, q: jax.Array, obs: jax.Array, cfg: XQL) -> tuple[jax.Array, Metrics]:
    v = value(obs)
    capped = ((q - v) / cfg.gumbel_temperature > cfg.max_exponent).mean()
    return gumbel(q - v, cfg.gumbel_temperature, cfg.max_exponent).mean(), {"mean": v.mean(), "capped": capped}


def critic_loss(critic: nets.Critic, y: jax.Array, batch: Batch, delta: Any) -> tuple[jax.Array, Metrics]:
    q = critic(batch.obs, batch.action)
    return losses.huber(q - y[None], delta).mean(1).sum(), {"q": q.mean()}


def smoothed(cfg: XQL, batch: Batch, noise: Noise) -> tuple[jax.Array, jax.Array]:
    """Observations [(1 + n) B, d] and actions that V is fitted on: the data's and n uniform ones a row, with noise."""
    obs, action = batch.obs, batch.action
    if cfg.random_actions:
        uniform = 2 * noise.uniform("random_action", (cfg.random_actions * len(obs), action.shape[-1])) - 1
        obs, action = jnp.tile(obs, (1 + cfg.random_actions, 1)), jnp.concatenate([action, uniform])
    if cfg.action_noise:
        eps = jnp.clip(cfg.action_noise * noise.normal("action_noise", action.shape), -0.5, 0.5)
        action = jnp.clip(action + eps, -1, 1)
    return obs, action


def update(cfg: XQL, state: State, batch: Batch, noise: Noise, step: Step) -> tuple[State, Metrics]:
    value, wide = state.value, smoothed(cfg, batch, noise)
    q, tx = state.target_critic(*wide).min(0), optimisers.adam(cfg.value_lr)
    for _ in range(cfg.value_updates):
        value, m1 = value.step(tx, value_loss, q, wide[0], cfg, name="value")  # eq. 10
    q = state.target_critic(batch.obs, batch.action).min(0)
    advantage = q - value.net(batch.obs)
    weight = losses.exp_weight(advantage, cfg.inverse_temperature, cfg.max_weight)
    keep = layers.dropout(noise, "actor_dropout", cfg.actor_dropout, batch.reward.shape, cfg.hidden)
    actor, m2 = state.actor.step(optimiser(cfg), policy_loss, weight, batch, keep, name="actor")  # eq. 12
    y, tx = targets.td(batch, value.net(batch.next_obs), cfg.discount), optimisers.adam(cfg.critic_lr)
    critic, m3 = state.critic.step(tx, critic_loss, y, batch, cfg.huber_delta, name="critic")  # eq. 11
    target = ema(critic.net, state.target_critic, cfg.polyak)
    return State(actor, value, critic, target), merge(m1, m2, m3, {"advantage": advantage.mean()})


SCRIPTS = "authors' code, github.com/Div99/XQL, offline/reproduce/"
SCALED, MAZE = Treatment(return_scale=1000.0, clip_actions=1e-5), Treatment(reward_shift=-1.0, clip_actions=1e-5)


def gym(script: str, beta: float, maximum: float, batch_size: int = 256, **settings: Any) -> Preset:
    cfg = XQL(beta, maximum, batch_size=batch_size, **settings)
    return Preset(cfg, SCALED, f"{SCRIPTS}mujoco/{script}.sh")


def maze(script: str, beta: float, maximum: float, batch_size: int = 256, **settings: Any) -> Preset:
    cfg = XQL(beta, maximum, inverse_temperature=10.0, actor_decay_steps="constant", batch_size=batch_size, **settings)
    return Preset(cfg, MAZE, f"{SCRIPTS}antmaze/{script}.sh")


KITCHEN = XQL(5.0, 7.0, inverse_temperature=0.5, actor_dropout=0.1)
PRESETS = {
    "mujoco": gym("mujoco_consistent", 2.0, 7.0),
    "antmaze": maze("ant_consistent", 0.6, 7.0),
    "kitchen": Preset(KITCHEN, Treatment(clip_actions=1e-5), SCRIPTS + "franka/kitchen_consistent.sh"),
    "adroit": Preset(KITCHEN, Treatment(clip_actions=1e-5), SCRIPTS + "androit/androit_consistent.sh"),
    "halfcheetah-medium": gym("halfcheetah_medium", 1.0, 7.0, 1024, action_noise=0.1),
    "halfcheetah-medium-replay": gym("halfcheetah_replay", 1.0, 5.0),
    "halfcheetah-medium-expert": gym("halfcheetah_expert", 1.0, 5.0, 1024),
    "hopper-medium": gym("hopper_medium", 5.0, 7.0, 1024),
    "hopper-medium-replay": gym("hopper_replay", 2.0, 7.0),
    "hopper-medium-expert": gym("hopper_expert", 2.0, 7.0, 1024, random_actions=1),
    "walker2d-medium": gym("walker_medium", 10.0, 7.0, 1024),
    "walker2d-medium-replay": gym("walker_replay", 5.0, 5.0, 1024),
    "walker2d-medium-expert": gym("walker_expert", 2.0, 5.0),
    "antmaze-umaze": maze("ant_umaze", 2.0, 7.0),
    "antmaze-umaze-diverse": maze("ant_umaze_diverse", 5.0, 7.0, random_actions=1),
    "antmaze-medium-play": maze("ant_medium_play", 0.8, 5.0),
    "antmaze-medium-diverse": maze("ant_medium_diverse", 0.6, 7.0, value_updates=4),
    "antmaze-large-play": maze("ant_large_play", 0.6, 5.0, 1024),
    "antmaze-large-diverse": maze("ant_large_diverse", 0.55, 5.0, 1024),
}

algorithm = Algorithm("xql", XQL, init, update, act, PRESETS, dist=dist, check=check)
