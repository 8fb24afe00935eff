"""TD3+BC (Fujimoto, Gu 2021, arXiv:2106.06860; equation numbers are theirs): TD3 with a cloning term.

The actor maximises lambda Q1(s, pi(s)) - (pi(s) - a)^2 with lambda = alpha / mean |Q1|, so that one alpha suits tasks
of any reward scale. Observations are normalised over the data set.

Notation (paper = code): alpha = `alpha`; the symbols of TD3 as in td3.py.
Order: critics at every update; at every `policy_every`-th update the actor with the new critics, then all targets.
As in the authors' code: lambda comes from the current batch and is not differentiated; the cloning term is a mean over
action dimensions too; the first update of the actor is update number `policy_every`.
Ours, off in the published presets: LayerNorm in the critics, dropout in the actor, learning rates that fall over the
run. They steady the last policy on short logs.
The paper ends offline. In fine-tuning the weight of the cloning term falls linearly to a fifth, as in SPOT's code.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from ..core.config import Horizon, Schedule, config, faults, static
from ..core.contract import PROPORTIONAL, SCALED, Algorithm, Collect, Context, Phase, Preset, Treatment
from ..core.noise import Noise
from ..core.spec import Batch, Scalar, Step
from ..core.trained import Metrics, merge, occasionally
from ..parts import nets, optimisers, targets
from ..parts.critics import squared_error
from ..parts.optimisers import ActorCritic
from .td3 import Moving, State, act, follow, state_of, target_action


@config
class TD3BC:
    alpha: float = 2.5  # weight of Q against cloning, eq. 5
    discount: float = 0.99  # gamma
    n_step: int = 1  # steps of the return before it bootstraps; 1 in the paper
    polyak: float = 0.005  # rate at which the targets follow
    policy_noise: float = 0.2  # standard deviation of the noise on target actions
    noise_clip: float = 0.5  # bound of that noise
    policy_every: int = 2  # critic updates per actor update
    exploration_noise: float = 0.1  # standard deviation of the noise on actions taken online
    actor_lr: float = 3e-4  # Adam
    online_cloning: float = 0.2  # fine-tuning: share of the cloning term that is left after `online_decay_steps`
    online_decay_steps: Horizon = "run"  # fine-tuning: updates over which it falls linearly from 1
    actor_decay_steps: Schedule = "constant"  # rate of the actor: constant, or a cosine over the run or N updates
    critic_lr: float = 3e-4  # Adam
    critic_decay_steps: Schedule = "constant"  # the same for the rate of the critics
    actor_dropout: float = static(default=0.0)  # share of the actor's hidden units left out in its update
    critic_layer_norm: bool = False  # LayerNorm before the activations of the critics
    hidden: tuple[int, ...] = (256, 256)  # widths of the hidden layers of every network
    batch_size: int = 256  # rows per update
    update_ratio: int = 1  # fine-tuning: updates per environment step


def check(cfg: TD3BC) -> list[str]:
    rules = dict.fromkeys(("alpha", "policy_noise", "noise_clip", "exploration_noise"), "at least 0")
    rules |= dict.fromkeys(("policy_every", "update_ratio"), "positive")
    rules |= dict.fromkeys(("discount", "polyak", "online_cloning"), "in [0, 1]")
    return faults(cfg, n_step="positive", actor_dropout="in [0, 1)", **rules)


def optimisers_of(cfg: TD3BC) -> ActorCritic:
    return optimisers.decaying(cfg, cfg.policy_every)


def init(cfg: TD3BC, ctx: Context, noise: Noise) -> State:
    actor = nets.deterministic_policy(noise.sub("actor"), ctx.spec, cfg.hidden)
    norm = "pre" if cfg.critic_layer_norm else "none"
    critic = nets.critic(noise.sub("critic"), ctx.spec, cfg.hidden, norm=norm)
    return state_of(optimisers_of(cfg), actor, critic)


def actor_loss(
    actor: nets.Policy,
    critic: nets.Critic,
    alpha: Scalar,
    batch: Batch,
    weight: Scalar = 1.0,
    keep: tuple[jax.Array, ...] = (),
) -> tuple[jax.Array, Metrics]:
    """Eq. 5 with the first critic.

    Args:
        actor: the network that moves.
        critic: the ensemble, of which only the first member is evaluated.
        alpha: weight of Q against cloning.
        batch: B rows.
        weight: factor of the cloning term; 1 offline, less in fine-tuning.
        keep: units that dropout keeps, as `layers.dropout` makes them.
    """
    action = actor(batch.obs, keep).mode()
    q = nets.first(critic)(batch.obs, action)[0]
    scale = alpha / jnp.abs(jax.lax.stop_gradient(q)).mean()
    cloning = ((action - batch.action) ** 2).mean()
    return weight * cloning - scale * q.mean(), {"cloning": cloning, "q": q.mean(), "lambda": scale}


def update(
    cfg: TD3BC, state: State, batch: Batch, noise: Noise, step: Step, weight: Scalar = 1.0
) -> tuple[State, Metrics]:
    tx = optimisers_of(cfg)
    next_action = target_action(cfg, state.target_actor, batch, noise)
    y = targets.td(batch, state.target_critic(batch.next_obs, next_action).min(0), cfg.discount)
    critic, m1 = state.critic.step(tx.critic, squared_error, y, batch, name="critic")

    def delayed(moving: Moving) -> tuple[Moving, Metrics]:
        keep = nets.dropout(noise, "actor_dropout", cfg.actor_dropout, batch.reward.shape, moving[0].net.net)
        actor, metrics = moving[0].step(tx.actor, actor_loss, critic.net, cfg.alpha, batch, weight, keep, name="actor")
        return (actor, *follow(actor.net, critic.net, moving, cfg.polyak)), metrics

    moving = (state.actor, state.target_actor, state.target_critic)
    (actor, target_actor, target_critic), m2 = occasionally((step + 1) % cfg.policy_every == 0, delayed, moving)
    return State(actor, critic, target_actor, target_critic), merge(m1, m2)


def cloning_left(cfg: TD3BC, step: Step) -> Scalar:
    """Weight of the cloning term at a step of fine-tuning: linear from 1 to `online_cloning`, then constant."""
    return 1 + (cfg.online_cloning - 1) * jnp.minimum(optimisers.progress(step, cfg.online_decay_steps), 1.0)


def online_update(cfg: TD3BC, state: State, batch: Batch, noise: Noise, step: Step) -> tuple[State, Metrics]:
    weight = cloning_left(cfg, step)
    state, metrics = update(cfg, state, batch, noise, step, weight)
    return state, metrics | {"cloning_weight": weight}


def finetune(cfg: TD3BC) -> tuple[Phase, ...]:
    """One buffer of the data and the new rows, noise on the actions, a cloning term that falls."""
    collect = Collect(warmup=0, every=cfg.update_ratio)
    return (Phase("online", update=online_update, mix=PROPORTIONAL, collect=collect),)


PRESETS = {
    "mujoco": Preset(TD3BC(), Treatment(normalize_obs=1e-3), "authors' code, github.com/sfujim/TD3_BC, main.py"),
    "antmaze": Preset(
        TD3BC(), Treatment(normalize_obs=1e-3, reward_shift=-1.0), "CORL, configs/offline/td3_bc/antmaze"
    ),
    "tuned_100k": Preset(
        TD3BC(alpha=0.6, critic_layer_norm=True, actor_decay_steps="run", critic_decay_steps="run"),
        SCALED,
        "ours, chosen on logs of 100,000 steps: docs/algorithms/td3_bc.md",
    ),
}

algorithm = Algorithm(
    "td3_bc", TD3BC, init, update, act, PRESETS, needs=targets.n_step_rows, finetune=finetune, check=check, images=True
)
