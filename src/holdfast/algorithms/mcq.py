"""MCQ, mildly conservative Q-learning (Lyu, Ma, Li, Lu 2022, arXiv:2206.04745).

Soft actor-critic whose critics are also trained at the policy's own actions, towards the best value found among
actions that a variational autoencoder decodes: actions outside the data are worth no more than those inside.

Paper -> here: lambda in_weight, N candidates. Order: VAE; critics, with the new decoder, at data actions and, in the
states s and s', at actions of the policy; actor, with the new critics; temperature; targets.
As in OfflineRL-Kit, which the golden steps follow: target critics give the value of decoded actions (maximum over
candidates of each critic, then the smaller), the temperature counts as at most 1, the VAE's loss has means.
The authors' code differs: online critics there, several policy actions a state, only values above the target are pulled
down, sums in the VAE's loss, and the temperature before the critics.
Ours: networks of 256 units, a third of the cost, where the authors have 400 and 750 (preset "published"); the
policy's density is exact where the kit has 1e-6 in the logarithm; no dropout in the actor.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from ..core.config import config, faults
from ..core.contract import Algorithm, Context, Preset, Treatment
from ..core.noise import Noise
from ..core.spec import Batch, Step
from ..core.trained import Metrics, Trained, merge
from ..core.tree import PyTree, ema
from ..parts import nets, optimisers, targets
from ..parts import vae as vaes
from .sac import act, actor_loss, dist, entropy_goal, temperature_loss


@config
class MCQ:
    in_weight: float = 0.7  # lambda: weight of data actions in the critics' loss, the rest goes to the policy's
    candidates: int = 10  # N: decoded actions a state
    kl_weight: float = 1.0  # weight of the KL term in the VAE's loss (a mean over latents)
    discount: float = 0.99  # gamma
    polyak: float = 0.005  # rate at which the target critics follow
    initial_temperature: float = 1.0  # alpha before the first update
    max_temperature: float = 1.0  # alpha counts as at most this, OfflineRL-Kit
    target_entropy: float = 0.0  # in nats; 0 stands for minus the number of action dimensions
    actor_lr: float = 3e-4  # Adam
    critic_lr: float = 3e-4  # Adam
    temperature_lr: float = 3e-4  # Adam
    vae_lr: float = 1e-3  # Adam
    hidden: tuple[int, ...] = (256, 256)  # widths of the hidden layers of actor and critics; published 400, 400
    vae_hidden: tuple[int, ...] = (256, 256)  # widths of the hidden layers of the VAE; published 750, 750
    batch_size: int = 256  # rows an update


class State(PyTree):
    vae: Trained
    actor: Trained
    critic: Trained
    target_critic: nets.Critic
    temperature: Trained  # of log alpha


def check(cfg: MCQ) -> list[str]:
    rules = dict.fromkeys(("candidates", "vae_hidden", "initial_temperature", "max_temperature"), "positive")
    rules |= dict.fromkeys(("in_weight", "discount", "polyak"), "in [0, 1]")
    return faults(cfg, kl_weight="at least 0", **rules)


def init(cfg: MCQ, ctx: Context, noise: Noise) -> State:
    spec = ctx.spec
    vae = vaes.vae(noise.sub("vae"), spec, cfg.vae_hidden, 2 * spec.action)
    actor = nets.policy(noise.sub("actor"), spec, cfg.hidden, "heads", low=-5.0, high=2.0, squash="tanh")
    critic = nets.critic(noise.sub("critic"), spec, cfg.hidden)
    return State(
        Trained.new(vae, optimisers.adam(cfg.vae_lr)),
        Trained.new(actor, optimisers.adam(cfg.actor_lr)),
        Trained.new(critic, optimisers.adam(cfg.critic_lr)),
        critic,
        Trained.new(jnp.log(cfg.initial_temperature), optimisers.adam(cfg.temperature_lr)),
    )


def critic_loss(critic: nets.Critic, y: Any, batch: Batch, bound: Any, states: Any, actions: Any, weight: Any) -> Any:
    """`bound` [2B] is the value that `actions` of the policy in `states` should have, y [B] that of the data."""
    obs, action = jnp.concatenate([batch.obs, states]), jnp.concatenate([batch.action, actions])
    inside, outside = jnp.split(critic(obs, action), [len(y)], 1)
    error, excess = jnp.square(inside - y[None]).mean(1), jnp.square(outside - bound[None]).mean(1)
    metrics = {"q": inside.mean(), "policy_q": outside.mean(), "bound": bound.mean(), "target": y.mean()}
    return (weight * error + (1 - weight) * excess).sum(), metrics


def update(cfg: MCQ, state: State, batch: Batch, noise: Noise, step: Step) -> tuple[State, Metrics]:
    vae, m1 = vaes.fit(state.vae, cfg.vae_lr, batch, noise, cfg.kl_weight)
    alpha = jnp.minimum(jnp.exp(state.temperature.net), cfg.max_temperature)
    shape, n = batch.action.shape, len(batch.reward)

    states = jnp.concatenate([batch.obs, batch.next_obs])
    law = state.actor.net(states)
    next_law = jax.tree.map(lambda x: x[n:], law)
    next_action, next_log_prob = next_law.sample_and_log_prob(noise.normal("target_action", shape))
    decoded = vae.net.decode(states, vaes.prior(noise, "decode_latent", (cfg.candidates, 2 * n, vae.net.latent)))
    bound = state.target_critic(states, decoded).max(1).min(0)
    soft = state.target_critic(batch.next_obs, next_action).min(0) - alpha * next_log_prob
    y = targets.td(batch, soft, cfg.discount)
    given = (y, batch, bound, states, law.sample(noise.normal("ood_action", (2 * n, shape[1]))), cfg.in_weight)
    critic, m2 = state.critic.step(optimisers.adam(cfg.critic_lr), critic_loss, *given, name="critic")

    eps = noise.normal("actor_action", shape)
    tx = optimisers.adam(cfg.actor_lr)
    actor, m3 = state.actor.step(tx, actor_loss, critic.net, alpha, batch.obs, eps, name="actor")
    tx, goal = optimisers.adam(cfg.temperature_lr), entropy_goal(cfg, batch)
    log_prob = -m3["actor/entropy"]  # of the actor before its step
    temperature, m4 = state.temperature.step(tx, temperature_loss, log_prob, goal, name="temperature")
    target = ema(critic.net, state.target_critic, cfg.polyak)
    return State(vae, actor, critic, target, temperature), merge(m1, m2, m3, m4)


KIT = "OfflineRL-Kit, run_example/run_mcq.py"
PRESETS = {
    "mujoco": Preset(MCQ(), Treatment(), KIT + ", with smaller networks and the authors' lambda"),
    "published": Preset(
        MCQ(hidden=(400, 400), vae_hidden=(750, 750)), Treatment(), "github.com/dmksjfl/MCQ, MCQ_config.py"
    ),
    "kit": Preset(MCQ(in_weight=0.9, hidden=(400, 400), vae_hidden=(750, 750)), Treatment(), KIT),
}

algorithm = Algorithm("mcq", MCQ, init, update, act, PRESETS, dist=dist, check=check)
