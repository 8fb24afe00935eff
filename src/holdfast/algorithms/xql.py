"""XQL, extreme Q-learning (Garg, Hejna, Geist, Ermon 2023, arXiv:2301.02328; equation numbers are theirs).

V is fitted by Gumbel regression: it becomes beta log E exp(Q / beta) over the actions in the data, the soft maximum,
where IQL fits an expectile. Q and the policy are learned as in IQL. No action outside the data is ever evaluated.

Notation (paper = code): beta = `gumbel_temperature` (small: the maximum; large: the mean); 1 / beta of the policy =
`inverse_temperature`.
Order of an update, as in the authors' code: value, policy with the new value, critics with the new value, targets.
As in the authors' code and not in the paper: z = (Q - V) / beta is capped, and the loss of a batch is scaled by
exp(-m), m = max(max z, -1), against overflow; Q has Huber's loss (delta 20) instead of squares; the rate of the policy
follows a cosine, except on AntMaze; V alone has LayerNorm, before the activation (the code never passes it to Q).
`random_actions` and `action_noise` smooth the loss of V on some data sets; `value_updates` repeats it on one batch,
with the same draws. Left out: `value_dropout`, which the code never switches on, and its unused gradient penalty.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from ..core.config import Schedule, config, faults, static
from ..core.contract import Algorithm, Context, Preset, Treatment
from ..core.noise import Noise
from ..core.spec import Batch, Scalar, Step
from ..core.trained import Metrics, Trained, merge
from ..core.tree import ema
from ..parts import initialisers, losses, nets, optimisers, targets
from ..parts.acting import act, dist
from ..parts.cloning import weighted_cloning
from .iql import Optimisers, State


@config
class XQL:
    gumbel_temperature: float = 2.0  # beta of eq. 10; published for each data set, see the presets
    max_exponent: float = 7.0  # cap on z = (Q - V) / beta, authors' code; 5 or 7
    inverse_temperature: float = 3.0  # of the policy's weights exp(A / temperature); 10 on AntMaze, 0.5 on Kitchen
    max_weight: float = 100.0  # cap on those weights, authors' code
    huber_delta: float = 20.0  # error beyond which the critics' loss is linear, authors' code
    discount: float = 0.99  # gamma
    n_step: int = 1  # steps of the return before it bootstraps; 1 in the paper
    polyak: float = 0.005  # rate at which the target critics follow
    actor_lr: float = 3e-4  # Adam
    value_lr: float = 3e-4  # Adam
    critic_lr: float = 3e-4  # Adam
    actor_decay_steps: Schedule = "run"  # rate of the actor: constant, or a cosine over the run or N updates
    actor_dropout: float = static(default=0.0)  # 0.1 on Kitchen and Adroit
    value_layer_norm: bool = True  # LayerNorm in the value network
    value_updates: int = 1  # steps of V per update; 4 on antmaze-medium-diverse
    random_actions: int = 0  # uniform actions per logged one in the loss of V; 1 on a few data sets
    action_noise: float = static(default=0.0)  # noise on the actions in the loss of V; 0.1 on halfcheetah-medium
    hidden: tuple[int, ...] = (256, 256)  # widths of the hidden layers of every network
    batch_size: int = 256  # rows per update; 1024 in the settings per data set


def check(cfg: XQL) -> list[str]:
    above = ("gumbel_temperature", "max_exponent", "max_weight", "huber_delta", "value_updates")
    least = ("inverse_temperature", "random_actions", "action_noise")
    rules = dict.fromkeys(above, "positive") | dict.fromkeys(least, "at least 0")
    return faults(cfg, n_step="positive", discount="in [0, 1]", polyak="in [0, 1]", actor_dropout="in [0, 1)", **rules)


def optimisers_of(cfg: XQL) -> Optimisers:
    return Optimisers(
        actor=optimisers.adam(optimisers.cosine(cfg.actor_lr, cfg.actor_decay_steps)),
        value=optimisers.adam(cfg.value_lr),
        critic=optimisers.adam(cfg.critic_lr),
    )


def init(cfg: XQL, ctx: Context, noise: Noise) -> State:
    tx = optimisers_of(cfg)
    weights = initialisers.orthogonal()
    norm = "pre" if cfg.value_layer_norm else "none"
    actor = nets.gaussian_policy(noise.sub("actor"), ctx.spec, cfg.hidden, init=weights)
    value = nets.value(noise.sub("value"), ctx.spec, cfg.hidden, init=weights, norm=norm)
    critic = nets.critic(noise.sub("critic"), ctx.spec, cfg.hidden, init=weights)
    return State(Trained.new(actor, tx.actor), Trained.new(value, tx.value), Trained.new(critic, tx.critic), critic)


def gumbel(difference: jax.Array, beta: Scalar, maximum: Scalar) -> jax.Array:
    """(exp(z) - z - 1) exp(-m) of z = min(u / beta, maximum) and m = max(max z, -1), not differentiated (eq. 10).

    Its minimiser over a constant V, for u = Q - V, is beta log mean exp(Q / beta).
    """
    z = jnp.minimum(difference / beta, maximum)
    m = jnp.maximum(jax.lax.stop_gradient(z).max(), -1)
    return jnp.exp(z - m) - z * jnp.exp(-m) - jnp.exp(-m)


def value_loss(value: nets.Value, q: jax.Array, obs: jax.Array, cfg: XQL) -> tuple[jax.Array, Metrics]:
    """Eq. 10; `q` [n] at the observations `obs` [n, d]."""
    v = value(obs)
    capped = ((q - v) / cfg.gumbel_temperature > cfg.max_exponent).mean()
    return gumbel(q - v, cfg.gumbel_temperature, cfg.max_exponent).mean(), {"mean": v.mean(), "capped": capped}


def critic_loss(critic: nets.Critic, y: jax.Array, batch: Batch, delta: Scalar) -> tuple[jax.Array, Metrics]:
    """Eq. 11 with Huber's loss: the mean over the rows, summed over the critics."""
    q = critic(batch.obs, batch.action)
    return losses.huber(q - y[None], delta).mean(1).sum(), {"q": q.mean()}


def smoothed(cfg: XQL, batch: Batch, noise: Noise) -> tuple[jax.Array, jax.Array]:
    """Observations [(1 + n) B, d] and actions that V is fitted to: those of the data and n uniform ones per row."""
    obs = batch.obs
    action = batch.action
    if cfg.random_actions:
        uniform = 2 * noise.uniform("random_action", (cfg.random_actions * len(obs), action.shape[-1])) - 1
        obs = jnp.tile(obs, (1 + cfg.random_actions, *[1] * (obs.ndim - 1)))
        action = jnp.concatenate([action, uniform])
    if cfg.action_noise:
        eps = jnp.clip(cfg.action_noise * noise.normal("action_noise", action.shape), -0.5, 0.5)
        action = jnp.clip(action + eps, -1, 1)
    return obs, action


def update(cfg: XQL, state: State, batch: Batch, noise: Noise, step: Step) -> tuple[State, Metrics]:
    tx = optimisers_of(cfg)
    obs, action = smoothed(cfg, batch, noise)
    q = state.target_critic(obs, action).min(0)
    value = state.value
    for _ in range(cfg.value_updates):
        value, m1 = value.step(tx.value, value_loss, q, obs, cfg, name="value")  # eq. 10

    q = state.target_critic(batch.obs, batch.action).min(0)
    advantage = q - value.net(batch.obs)
    weight = losses.exp_weight(advantage, cfg.inverse_temperature, cfg.max_weight)
    keep = nets.dropout(noise, "actor_dropout", cfg.actor_dropout, batch.reward.shape, state.actor.net.net)
    actor, m2 = state.actor.step(tx.actor, weighted_cloning, weight, batch, keep, name="actor")  # eq. 12

    y = targets.td(batch, value.net(batch.next_obs), cfg.discount)
    critic, m3 = state.critic.step(tx.critic, critic_loss, y, batch, cfg.huber_delta, name="critic")  # eq. 11
    target = ema(critic.net, state.target_critic, cfg.polyak)
    return State(actor, value, critic, target), merge(m1, m2, m3, {"advantage": advantage.mean()})


SCRIPTS = "authors' code, github.com/Div99/XQL, offline/reproduce/"
SCALED = Treatment(return_scale=1000.0, clip_actions=1e-5)
MAZE = Treatment(reward_shift=-1.0, clip_actions=1e-5)


def gym(script: str, cfg: XQL) -> Preset:
    return Preset(cfg, SCALED, f"{SCRIPTS}mujoco/{script}.sh")


def maze(script: str, cfg: XQL) -> Preset:
    cfg = dataclasses.replace(cfg, inverse_temperature=10.0, actor_decay_steps="constant")
    return Preset(cfg, MAZE, f"{SCRIPTS}antmaze/{script}.sh")


KITCHEN = XQL(5.0, 7.0, inverse_temperature=0.5, actor_dropout=0.1)
PRESETS = {
    "mujoco": gym("mujoco_consistent", XQL()),
    "antmaze": maze("ant_consistent", XQL(0.6, 7.0)),
    "kitchen": Preset(KITCHEN, Treatment(clip_actions=1e-5), SCRIPTS + "franka/kitchen_consistent.sh"),
    "adroit": Preset(KITCHEN, Treatment(clip_actions=1e-5), SCRIPTS + "androit/androit_consistent.sh"),
    "halfcheetah-medium": gym("halfcheetah_medium", XQL(1.0, 7.0, action_noise=0.1, batch_size=1024)),
    "halfcheetah-medium-replay": gym("halfcheetah_replay", XQL(1.0, 5.0)),
    "halfcheetah-medium-expert": gym("halfcheetah_expert", XQL(1.0, 5.0, batch_size=1024)),
    "hopper-medium": gym("hopper_medium", XQL(5.0, 7.0, batch_size=1024)),
    "hopper-medium-replay": gym("hopper_replay", XQL(2.0, 7.0)),
    "hopper-medium-expert": gym("hopper_expert", XQL(2.0, 7.0, random_actions=1, batch_size=1024)),
    "walker2d-medium": gym("walker_medium", XQL(10.0, 7.0, batch_size=1024)),
    "walker2d-medium-replay": gym("walker_replay", XQL(5.0, 5.0, batch_size=1024)),
    "walker2d-medium-expert": gym("walker_expert", XQL(2.0, 5.0)),
    "antmaze-umaze": maze("ant_umaze", XQL(2.0, 7.0)),
    "antmaze-umaze-diverse": maze("ant_umaze_diverse", XQL(5.0, 7.0, random_actions=1)),
    "antmaze-medium-play": maze("ant_medium_play", XQL(0.8, 5.0)),
    "antmaze-medium-diverse": maze("ant_medium_diverse", XQL(0.6, 7.0, value_updates=4)),
    "antmaze-large-play": maze("ant_large_play", XQL(0.6, 5.0, batch_size=1024)),
    "antmaze-large-diverse": maze("ant_large_diverse", XQL(0.55, 5.0, batch_size=1024)),
}

algorithm = Algorithm(
    "xql", XQL, init, update, act, PRESETS, needs=targets.n_step_rows, dist=dist, check=check, images=True
)
