"""SPOT, supported policy optimisation (Wu, Wu, Qiu, Wang, Long 2022, arXiv:2202.06239).

TD3 whose actor also pays for leaving the support of the data. A variational autoencoder, fitted first and then kept
fixed, bounds the log-density of the behaviour policy at the actor's own action, and gradients pass through it.

Notation (paper = code): lambda = `support_weight`; beta = `kl_weight`; L = `samples`.
Two phases: "vae", then the run.
Order of an update: critics; on every `policy_every`-th update the actor with the new critics, then all targets.
As in the authors' code: Q is divided by its mean size over the batch; the penalty is the VAE's own training loss, with
means over dimensions (an affine function of the negative ELBO with decoder deviation sqrt(beta / 4)), or with `iwae`
the importance-weighted estimate in nats; dropout is active in both actors while training, not when acting.
Online, in phase "online" of a fine-tuning run: the same update on the data and the new rows, while the penalty falls
along a line to `min_support_share` of itself.
Ours: `critic_layer_norm`, and rates that follow a cosine, for short logs (preset `tuned_100k`).
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from ..core.config import Horizon, Schedule, config, faults, static
from ..core.contract import PROPORTIONAL, SCALED, Algorithm, Collect, Context, Phase, Preset, Treatment
from ..core.noise import Noise
from ..core.spec import Batch, Step
from ..core.trained import Metrics, Trained, merge, occasionally
from ..core.tree import PyTree, ema
from ..parts import initialisers, nets, optimisers, targets
from ..parts import vae as vaes
from ..parts.critics import squared_error
from ..parts.support import elbo_price, iwae_price
from .td3 import act, target_action

Keep = tuple[jax.Array, ...]  # factors of dropout, one for each hidden layer


@config
class SPOT:
    support_weight: float = 0.1  # lambda: 0.1 hopper, 0.05 halfcheetah, 0.2 walker2d (medium); 0.025 to 0.25 AntMaze
    kl_weight: float = 0.5  # beta: weight of the KL term in the VAE's loss
    iwae: bool = False  # the importance-weighted bound instead of the ELBO
    samples: int = 1  # L: latents per state in the bound
    vae_steps: int = 100_000  # updates of the VAE before the run
    actor_dropout: float = static(default=0.1)  # 0 on AntMaze
    discount: float = 0.99  # gamma
    n_step: int = 1  # steps of the return before it bootstraps; 1 in the paper
    polyak: float = 0.005  # rate at which the targets follow
    policy_noise: float = 0.2  # standard deviation of the noise on target actions
    noise_clip: float = 0.5  # bound of that noise
    policy_every: int = 2  # critic updates per actor update
    exploration_noise: float = 0.1  # standard deviation of the noise on actions taken online
    min_support_share: float = 0.2  # online: share of support_weight at which it stops falling
    online_decay_steps: Horizon = 1_000_000  # online: updates until it would be 0
    update_ratio: int = 1  # online: updates per environment step
    last_init: float = static(default=0.0)  # bound of the initial last layer of the actor, thrice it for critics; 0: no
    actor_lr: float = 3e-4  # Adam; 1e-4 on AntMaze
    actor_decay_steps: Schedule = "constant"  # rate of the actor: constant, or a cosine over the run or N updates
    critic_lr: float = 3e-4  # Adam
    critic_decay_steps: Schedule = "constant"  # the same for the critics
    critic_layer_norm: bool = False  # LayerNorm before the activations of the critics
    vae_lr: float = 1e-3  # Adam
    hidden: tuple[int, ...] = (256, 256)  # widths of the hidden layers of actor and critics
    vae_hidden: tuple[int, ...] = (750, 750)  # widths of the hidden layers of encoder and decoder
    batch_size: int = 256  # rows per update


class State(PyTree):
    vae: Trained
    actor: Trained
    critic: Trained
    target_actor: nets.Policy
    target_critic: nets.Critic


class Optimisers(NamedTuple):
    vae: optax.GradientTransformation
    actor: optax.GradientTransformation
    critic: optax.GradientTransformation


def check(cfg: SPOT) -> list[str]:
    positive = ("policy_every", "samples", "vae_hidden", "vae_steps", "update_ratio", "kl_weight")
    least = ("support_weight", "policy_noise", "noise_clip", "exploration_noise", "last_init")
    rules = dict.fromkeys(positive, "positive") | dict.fromkeys(least, "at least 0")
    rules |= dict.fromkeys(("min_support_share", "discount", "polyak"), "in [0, 1]")
    return faults(cfg, n_step="positive", actor_dropout="in [0, 1)", **rules)


def optimisers_of(cfg: SPOT) -> Optimisers:
    return Optimisers(optimisers.adam(cfg.vae_lr), *optimisers.decaying(cfg, cfg.policy_every))


def init(cfg: SPOT, ctx: Context, noise: Noise) -> State:
    tx = optimisers_of(cfg)
    spec = ctx.spec
    w = cfg.last_init
    actor_last = initialisers.uniform_init(w, w) if w else None
    critic_last = initialisers.uniform_init(3 * w, 3 * w) if w else None
    norm = "pre" if cfg.critic_layer_norm else "none"
    vae = vaes.vae(noise.sub("vae"), spec, cfg.vae_hidden, 2 * spec.action)
    actor = nets.deterministic_policy(noise.sub("actor"), spec, cfg.hidden, last=actor_last)
    critic = nets.critic(noise.sub("critic"), spec, cfg.hidden, last=critic_last, norm=norm)
    return State(Trained.new(vae, tx.vae), Trained.new(actor, tx.actor), Trained.new(critic, tx.critic), actor, critic)


def fit_vae(cfg: SPOT, state: State, batch: Batch, noise: Noise, step: Step) -> tuple[State, Metrics]:
    """The update of phase "vae"."""
    vae, metrics = vaes.fit(state.vae, cfg.vae_lr, batch, noise, cfg.kl_weight)
    return dataclasses.replace(state, vae=vae), metrics


def actor_loss(
    actor: nets.Policy, critic: nets.Critic, vae: vaes.VAE, obs: jax.Array, keep: Keep, eps: jax.Array, cfg: SPOT
) -> tuple[jax.Array, Metrics]:
    """Minus critic 1, divided by its mean size, plus the weighted price of the actor's action; `eps` [L, B, latent]."""
    action = actor(obs, keep).mode()
    q = nets.first(critic)(obs, action)[0]
    scale = 1 / jnp.abs(jax.lax.stop_gradient(q)).mean()
    price = (iwae_price if cfg.iwae else elbo_price)(vae, obs, action, eps, cfg.kl_weight).mean()
    return cfg.support_weight * price - scale * q.mean(), {"q": q.mean(), "price": price}


def update(cfg: SPOT, state: State, batch: Batch, noise: Noise, step: Step) -> tuple[State, Metrics]:
    tx = optimisers_of(cfg)
    shape = batch.reward.shape
    vae = state.vae.net
    target_keep = nets.dropout(noise, "target_actor_dropout", cfg.actor_dropout, shape, state.target_actor.net)
    next_action = target_action(cfg, lambda obs: state.target_actor(obs, target_keep), batch, noise)  # type: ignore[arg-type]
    y = targets.td(batch, state.target_critic(batch.next_obs, next_action).min(0), cfg.discount)
    critic, m1 = state.critic.step(tx.critic, squared_error, y, batch, name="critic")

    def delayed(moving: tuple[Trained, nets.Policy, nets.Critic]) -> tuple[tuple, Metrics]:
        actor, target_actor, target_critic = moving
        keep = nets.dropout(noise, "actor_dropout", cfg.actor_dropout, shape, actor.net.net)
        eps = noise.normal("vae_latent", (cfg.samples, *shape, vae.latent))
        actor, m = actor.step(tx.actor, actor_loss, critic.net, vae, batch.obs, keep, eps, cfg, name="actor")
        return (actor, ema(actor.net, target_actor, cfg.polyak), ema(critic.net, target_critic, cfg.polyak)), m

    moving = (state.actor, state.target_actor, state.target_critic)
    (actor, target_actor, target_critic), m2 = occasionally((step + 1) % cfg.policy_every == 0, delayed, moving)
    return State(state.vae, actor, critic, target_actor, target_critic), merge(m1, m2)


def phases(cfg: SPOT) -> tuple[Phase, ...]:
    return Phase("vae", steps=cfg.vae_steps, update=fit_vae, plays=False), Phase()


def support_share(cfg: SPOT, step: Step) -> jax.Array:
    """The share of `support_weight` that is left at update `step` of the online phase, counted from 0."""
    fallen = optimisers.progress(step + 1, cfg.online_decay_steps)
    return jnp.maximum(1 - fallen, cfg.min_support_share)


def online_update(cfg: SPOT, state: State, batch: Batch, noise: Noise, step: Step) -> tuple[State, Metrics]:
    weight: Any = cfg.support_weight * support_share(cfg, step)
    state, metrics = update(dataclasses.replace(cfg, support_weight=weight), state, batch, noise, step)
    return state, merge(metrics, {"support/weight": weight})


def finetune(cfg: SPOT) -> tuple[Phase, ...]:
    """The replay buffer starts with all of the data."""
    collect = Collect(warmup=0, every=cfg.update_ratio)
    return (Phase("online", update=online_update, mix=PROPORTIONAL, collect=collect),)


CODE = "authors' code, github.com/thuml/SPOT, main.py, train_vae.py, SPOT.py, configs/offline/"
PRESETS = {
    "mujoco": Preset(SPOT(), Treatment(normalize_obs=1e-3), CODE + "hopper-medium.yml"),
    "antmaze": Preset(
        SPOT(support_weight=0.25, actor_dropout=0.0, actor_lr=1e-4, last_init=1e-3),
        Treatment(reward_shift=-1.0),
        CODE + "antmaze-umaze.yml",
    ),
    "tuned_100k": Preset(
        SPOT(
            support_weight=1.0,
            vae_steps=20_000,
            online_decay_steps="run",
            actor_decay_steps="run",
            critic_decay_steps="run",
            critic_layer_norm=True,
        ),
        SCALED,
        "ours, chosen on a log of 100,000 steps: docs/algorithms/spot.md",
    ),
}

algorithm = Algorithm(
    "spot", SPOT, init, update, act, PRESETS, needs=targets.n_step_rows, phases=phases, finetune=finetune, check=check
)
