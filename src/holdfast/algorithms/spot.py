"""SPOT, supported policy optimisation (Wu, Wu, Qiu, Wang, Long 2022, arXiv:2202.06239).

TD3 whose actor also pays for leaving the support of the data: a variational autoencoder, fitted first and then held
still, bounds the log-density of the behaviour policy at the actor's own action, and gradients pass through it.

Paper -> here: lambda support_weight, beta kl_weight, L samples. Two phases: "vae", then the run.
Order: critics every update; on every `policy_every`-th update the actor with the new critics, then all targets.
As in the authors' code: Q is divided by its mean size over the batch; the price is the VAE's own training loss, means
over dimensions (an affine map of the negative ELBO with decoder deviation sqrt(beta / 4)), or with `iwae` the
importance-weighted estimate in nats; dropout works in the actor and the target actor while training, not when acting.
Online, phase "online" of a fine-tuning run: the same update on the data and the new rows alike, while the price falls
along a line to `min_support_share` of itself.
Ours: the VAE gets 20,000 steps where the authors take 100,000 (preset "published"); LayerNorm in the critics and rates
that fall over the run, off but in preset "small".
"""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp

from ..core.config import Horizon, Schedule, config, faults, static
from ..core.contract import PROPORTIONAL, SCALED, Algorithm, Collect, Context, Phase, Preset, Treatment
from ..core.noise import Noise
from ..core.spec import Batch, Step
from ..core.trained import Metrics, Trained, merge, occasionally
from ..core.tree import PyTree, ema
from ..parts import initialisers, layers, nets, optimisers, targets
from ..parts import vae as vaes
from ..parts.distributions import normal_log_prob
from .plas import phases
from .td3_bc import act, critic_loss, critic_optimiser, optimiser, target_action


@config
class SPOT:
    support_weight: float = 0.1  # lambda: 0.1 hopper, 0.05 halfcheetah, 0.2 walker2d (medium); 0.025 to 0.25 AntMaze
    kl_weight: float = 0.5  # beta: weight of the KL term in the VAE's loss
    iwae: bool = False  # the importance-weighted bound instead of the ELBO
    samples: int = 1  # L: latents a state in the bound
    vae_steps: int = 20_000  # updates of the VAE before the run; published 100 000
    actor_dropout: float = static(default=0.1)  # 0 on AntMaze
    discount: float = 0.99  # gamma
    polyak: float = 0.005  # rate at which the targets follow
    policy_noise: float = 0.2  # standard deviation of the noise on target actions
    noise_clip: float = 0.5  # bound of that noise
    policy_every: int = 2  # critic updates an actor update
    exploration_noise: float = 0.1  # standard deviation of the noise on actions taken online
    min_support_share: float = 0.2  # online: share of support_weight at which it stops falling
    online_decay_steps: Horizon = "run"  # online: updates until it would be 0; published 1 000 000
    update_ratio: int = 1  # online: updates an environment step
    last_init: float = static(default=0.0)  # bound of the initial last layer, actor; thrice that, critics; 0: as others
    actor_lr: float = 3e-4  # Adam; 1e-4 on AntMaze
    actor_decay_steps: Schedule = "constant"  # actor's rate: constant, or a cosine over the run or N updates
    critic_lr: float = 3e-4  # Adam
    critic_decay_steps: Schedule = "constant"  # the same for the critics' rate
    critic_layer_norm: bool = False  # LayerNorm before the activations of the critics
    vae_lr: float = 1e-3  # Adam
    hidden: tuple[int, ...] = (256, 256)  # widths of the hidden layers of actor and critics
    vae_hidden: tuple[int, ...] = (750, 750)  # widths of the hidden layers of encoder and decoder
    batch_size: int = 256  # rows an update


class State(PyTree):
    vae: Trained
    actor: Trained
    critic: Trained
    target_actor: nets.Policy
    target_critic: nets.Critic


def check(cfg: SPOT) -> list[str]:
    rules = dict.fromkeys(("policy_every", "samples", "vae_hidden", "vae_steps"), "positive")
    rules |= dict.fromkeys(("support_weight", "policy_noise", "noise_clip", "exploration_noise"), "at least 0")
    rules |= {"min_support_share": "in [0, 1]", "update_ratio": "positive"}
    rules |= {"kl_weight": "positive", "last_init": "at least 0", "actor_dropout": "in [0, 1)"}
    return faults(cfg, discount="in [0, 1]", polyak="in [0, 1]", **rules)


def init(cfg: SPOT, ctx: Context, noise: Noise) -> State:
    spec, w = ctx.spec, cfg.last_init
    vae = vaes.vae(noise.sub("vae"), spec, cfg.vae_hidden, 2 * spec.action)
    last = initialisers.uniform_init(w, w) if w else None
    actor = nets.policy(noise.sub("actor"), spec, cfg.hidden, "deterministic", last=last)
    last = initialisers.uniform_init(3 * w, 3 * w) if w else None
    critic = nets.critic(
        noise.sub("critic"), spec, cfg.hidden, last=last, norm="pre" if cfg.critic_layer_norm else "none"
    )
    return State(
        Trained.new(vae, optimisers.adam(cfg.vae_lr)),
        Trained.new(actor, optimiser(cfg)),
        Trained.new(critic, critic_optimiser(cfg)),
        actor,
        critic,
    )


def elbo_price(vae: vaes.VAE, obs: jax.Array, action: jax.Array, eps: jax.Array, beta: Any) -> jax.Array:
    """The VAE's loss at each row, for eps [L, B, latent]: [B]."""
    mean, log_std = vae.encode(obs, action)
    made = vae.decode(obs, mean[None] + jnp.exp(log_std)[None] * eps)
    kl = -0.5 * (1 + 2 * log_std - jnp.square(mean) - jnp.exp(2 * log_std))
    return jnp.square(made - action[None]).mean((0, 2)) + beta * kl.mean(-1)


def iwae_price(vae: vaes.VAE, obs: jax.Array, action: jax.Array, eps: jax.Array, beta: Any) -> jax.Array:
    """Minus the importance-weighted bound on log p(a | s) for eps [L, B, latent], in nats: [B]."""
    mean, log_std = vae.encode(obs, action)
    z = mean[None] + jnp.exp(log_std)[None] * eps
    likelihood = normal_log_prob(action[None], vae.decode(obs, z), 0.5 * jnp.log(beta / 4)).sum(-1)
    prior_to_posterior = log_std[None] + 0.5 * (jnp.square(eps) - jnp.square(z))
    weight = likelihood + prior_to_posterior.sum(-1)
    return math.log(len(eps)) - jax.nn.logsumexp(weight, 0)


def actor_loss(actor: nets.Policy, critic: nets.Critic, vae: vaes.VAE, obs: Any, keep: Any, eps: Any, cfg: Any) -> Any:
    action = actor(obs, keep).mode()
    q = nets.first(critic)(obs, action)[0]
    scale = 1 / jnp.abs(jax.lax.stop_gradient(q)).mean()
    price = (iwae_price if cfg.iwae else elbo_price)(vae, obs, action, eps, cfg.kl_weight).mean()
    return cfg.support_weight * price - scale * q.mean(), {"q": q.mean(), "price": price}


def update(cfg: SPOT, state: State, batch: Batch, noise: Noise, step: Step) -> tuple[State, Metrics]:
    shape, rate, vae = batch.reward.shape, cfg.actor_dropout, state.vae.net
    keep = layers.dropout(noise, "target_actor_dropout", rate, shape, cfg.hidden)
    slow: Any = functools.partial(state.target_actor, keep=keep)
    next_action = target_action(cfg, slow, batch, noise)
    y = targets.td(batch, state.target_critic(batch.next_obs, next_action).min(0), cfg.discount)
    critic, m1 = state.critic.step(critic_optimiser(cfg), critic_loss, y, batch, name="critic")

    def delayed(moving: Any) -> tuple[Any, Metrics]:
        actor, target_actor, target_critic = moving
        keep = layers.dropout(noise, "actor_dropout", rate, shape, cfg.hidden)
        eps = noise.normal("vae_latent", (cfg.samples, *shape, vae.latent))
        given = (critic.net, vae, batch.obs, keep, eps, cfg)
        actor, m = actor.step(optimiser(cfg), actor_loss, *given, name="actor")
        return (actor, ema(actor.net, target_actor, cfg.polyak), ema(critic.net, target_critic, cfg.polyak)), m

    moving = (state.actor, state.target_actor, state.target_critic)
    (actor, target_actor, target_critic), m2 = occasionally((step + 1) % cfg.policy_every == 0, delayed, moving)
    return State(state.vae, actor, critic, target_actor, target_critic), merge(m1, m2)


def support_share(cfg: SPOT, step: Step) -> jax.Array:
    """What is left of `support_weight` at update `step`, from 0, of the online phase."""
    fallen = optimisers.progress(step + 1, cfg.online_decay_steps)
    return jnp.maximum(1 - fallen, cfg.min_support_share)


def online_update(cfg: SPOT, state: State, batch: Batch, noise: Noise, step: Step) -> tuple[State, Metrics]:
    weight: Any = cfg.support_weight * support_share(cfg, step)
    state, metrics = update(dataclasses.replace(cfg, support_weight=weight), state, batch, noise, step)
    return state, merge(metrics, {"support/weight": weight})


def finetune(cfg: SPOT) -> tuple[Phase, ...]:
    """The replay begins with all the data."""
    collect = Collect(warmup=0, every=cfg.update_ratio)
    return (Phase("online", update=online_update, mix=PROPORTIONAL, collect=collect),)


CODE = "authors' code, github.com/thuml/SPOT, SPOT.py, train_vae.py and configs/offline"
ANTMAZE: dict[str, Any] = {"actor_dropout": 0.0, "actor_lr": 1e-4, "last_init": 1e-3}
SMALL = SPOT(support_weight=1.0, critic_layer_norm=True, actor_decay_steps="run", critic_decay_steps="run")
PRESETS = {
    "small": Preset(
        SMALL,
        SCALED,
        "ours, chosen on a log of 100,000 steps: docs/algorithms/spot.md",
    ),
    "mujoco": Preset(SPOT(), Treatment(normalize_obs=1e-3), CODE + ", hopper-medium, but for the VAE's steps"),
    "published": Preset(SPOT(vae_steps=100_000), Treatment(normalize_obs=1e-3), CODE + ", hopper-medium"),
    "antmaze": Preset(
        SPOT(support_weight=0.25, vae_steps=100_000, **ANTMAZE), Treatment(reward_shift=-1.0), CODE + ", antmaze-umaze"
    ),
}

algorithm = Algorithm("spot", SPOT, init, update, act, PRESETS, phases=phases, finetune=finetune, check=check)
