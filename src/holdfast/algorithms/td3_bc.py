"""TD3+BC (Fujimoto, Gu 2021, arXiv:2106.06860; equation numbers are theirs): TD3 with a cloning term.

The actor maximises lambda Q1(s, pi(s)) - (pi(s) - a)^2 with lambda = alpha / mean |Q1|, so that one alpha serves tasks
of any reward scale. Observations are normalised over the data set.

Order: critics every update; on every `policy_every`-th update the actor with the new critics, then all targets.
As in the authors' code: lambda from the batch at hand and not differentiated; the cloning term is a mean over action
dimensions too; the first update of the actor is update number `policy_every`.
Ours, off but in preset "small": LayerNorm in the critics, and rates that fall over the run.
The paper ends offline. In fine-tuning the cloning term falls along a line to a fifth, as SPOT's code lets its own.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from ..core.config import Horizon, Schedule, config, faults, static
from ..core.contract import PROPORTIONAL, SCALED, Algorithm, Collect, Context, Phase, Preset, Treatment
from ..core.noise import Noise
from ..core.spec import Batch, Memory, Mode, Seen, Step
from ..core.trained import Metrics, Trained, merge, occasionally
from ..core.tree import PyTree, ema
from ..parts import layers, nets, optimisers, targets


@config
class TD3BC:
    alpha: float = 2.5  # weight of Q against cloning, eq. 5
    discount: float = 0.99  # gamma
    polyak: float = 0.005  # rate at which the targets follow
    policy_noise: float = 0.2  # standard deviation of the noise on target actions
    noise_clip: float = 0.5  # bound of that noise
    policy_every: int = 2  # critic updates an actor update
    exploration_noise: float = 0.1  # standard deviation of the noise on actions taken online
    actor_lr: float = 3e-4  # Adam
    online_cloning: float = 0.2  # fine-tuning: share of the cloning term that is left after `online_decay_steps`
    online_decay_steps: Horizon = "run"  # fine-tuning: updates over which it falls along a line from 1
    actor_decay_steps: Schedule = "constant"  # actor's rate: constant, or a cosine over the run or N updates
    critic_lr: float = 3e-4  # Adam
    critic_decay_steps: Schedule = "constant"  # the same for the critics' rate
    actor_dropout: float = static(default=0.0)  # share of the actor's hidden units left out in its update
    critic_layer_norm: bool = False  # LayerNorm before the activations of the critics
    hidden: tuple[int, ...] = (256, 256)  # widths of the hidden layers of every network
    batch_size: int = 256  # rows an update
    update_ratio: int = 1  # fine-tuning: updates an environment step


class State(PyTree):
    actor: Trained
    critic: Trained
    target_actor: nets.Policy
    target_critic: nets.Critic


def check(cfg: TD3BC) -> list[str]:
    rules = {
        "alpha": "at least 0",
        "policy_noise": "at least 0",
        "noise_clip": "at least 0",
        "policy_every": "positive",
        "update_ratio": "positive",
        "actor_dropout": "in [0, 1)",
        "online_cloning": "in [0, 1]",
    }
    return faults(cfg, discount="in [0, 1]", polyak="in [0, 1]", exploration_noise="at least 0", **rules)


def optimiser(cfg: Any) -> Any:
    horizon = optimisers.fewer(cfg.actor_decay_steps, cfg.policy_every)
    return optimisers.adam(optimisers.cosine(cfg.actor_lr, horizon))


def critic_optimiser(cfg: Any) -> Any:
    return optimisers.adam(optimisers.cosine(cfg.critic_lr, cfg.critic_decay_steps))


def init(cfg: TD3BC, ctx: Context, noise: Noise) -> State:
    actor = nets.policy(noise.sub("actor"), ctx.spec, cfg.hidden, "deterministic")
    norm = "pre" if cfg.critic_layer_norm else "none"
    critic = nets.critic(noise.sub("critic"), ctx.spec, cfg.hidden, norm=norm)
    return State(
        Trained.new(actor, optimiser(cfg)),
        Trained.new(critic, critic_optimiser(cfg)),
        actor,
        critic,
    )


def critic_loss(critic: nets.Critic, y: jax.Array, batch: Batch) -> tuple[jax.Array, Metrics]:
    q = critic(batch.obs, batch.action)
    return ((q - y[None]) ** 2).mean(1).sum(), {"q": q.mean(), "target": y.mean()}


def actor_loss(
    actor: nets.Policy, critic: nets.Critic, alpha: Any, batch: Batch, weight: Any = 1.0, keep: Any = ()
) -> Any:
    """Eq. 5 of the first critic, with `weight` on the cloning term: 1, unless fine-tuning lets it fall."""
    action = actor(batch.obs, keep).mode()
    first = jax.tree.map(lambda x: x[:1], critic)
    q = first(batch.obs, action)[0]
    scale = alpha / jnp.abs(jax.lax.stop_gradient(q)).mean()
    cloning = ((action - batch.action) ** 2).mean()
    return weight * cloning - scale * q.mean(), {"cloning": cloning, "q": q.mean(), "lambda": scale}


def target_action(cfg: Any, actor: nets.Policy, batch: Batch, noise: Noise) -> jax.Array:
    """pi'(s') with clipped noise: target policy smoothing, TD3's eq. 14."""
    eps = cfg.policy_noise * noise.normal("target_policy", batch.action.shape)
    return jnp.clip(actor(batch.next_obs).mode() + jnp.clip(eps, -cfg.noise_clip, cfg.noise_clip), -1, 1)


def update(
    cfg: TD3BC, state: State, batch: Batch, noise: Noise, step: Step, weight: Any = 1.0
) -> tuple[State, Metrics]:
    next_action = target_action(cfg, state.target_actor, batch, noise)
    y = targets.td(batch, state.target_critic(batch.next_obs, next_action).min(0), cfg.discount)
    critic, m1 = state.critic.step(critic_optimiser(cfg), critic_loss, y, batch, name="critic")

    def delayed(moving: Any) -> tuple[Any, Metrics]:
        actor, target_actor, target_critic = moving
        keep = layers.dropout(noise, "actor_dropout", cfg.actor_dropout, batch.reward.shape, cfg.hidden)
        actor, m = actor.step(optimiser(cfg), actor_loss, critic.net, cfg.alpha, batch, weight, keep, name="actor")
        return (actor, ema(actor.net, target_actor, cfg.polyak), ema(critic.net, target_critic, cfg.polyak)), m

    moving = (state.actor, state.target_actor, state.target_critic)
    (actor, target_actor, target_critic), m2 = occasionally((step + 1) % cfg.policy_every == 0, delayed, moving)
    return State(actor, critic, target_actor, target_critic), merge(m1, m2)


def cloning_left(cfg: TD3BC, step: Step) -> Any:
    """Weight of the cloning term at a step of fine-tuning: a line from 1 down to `online_cloning`, then constant."""
    return 1 + (cfg.online_cloning - 1) * jnp.minimum(optimisers.progress(step, cfg.online_decay_steps), 1.0)


def online_update(cfg: TD3BC, state: State, batch: Batch, noise: Noise, step: Step) -> tuple[State, Metrics]:
    weight = cloning_left(cfg, step)
    state, metrics = update(cfg, state, batch, noise, step, weight)
    return state, metrics | {"cloning_weight": weight}


def finetune(cfg: TD3BC) -> tuple[Phase, ...]:
    """One buffer of the data and the new rows, noise on the actions, a cloning term that falls."""
    collect = Collect(warmup=0, every=cfg.update_ratio)
    return (Phase("online", update=online_update, mix=PROPORTIONAL, collect=collect),)


def act(cfg: TD3BC, state: State, seen: Seen, memory: Memory, noise: Noise, mode: Mode) -> tuple[jax.Array, Any]:
    action = state.actor.net(seen.obs).mode()
    if mode == "explore":
        action = jnp.clip(action + cfg.exploration_noise * noise.normal("act", action.shape), -1, 1)
    return action, memory


PRESETS = {
    "small": Preset(
        TD3BC(alpha=0.6, critic_layer_norm=True, actor_decay_steps="run", critic_decay_steps="run"),
        SCALED,
        "ours, chosen on logs of 100,000 steps: docs/algorithms/td3_bc.md",
    ),
    "mujoco": Preset(TD3BC(), Treatment(normalize_obs=1e-3), "authors' code, github.com/sfujim/TD3_BC, main.py"),
    "antmaze": Preset(
        TD3BC(), Treatment(normalize_obs=1e-3, reward_shift=-1.0), "CORL, configs/offline/td3_bc/antmaze"
    ),
}

algorithm = Algorithm("td3_bc", TD3BC, init, update, act, PRESETS, finetune=finetune, check=check)
