"""PLAS, policy in the latent action space (Zhou, Bajracharya, Held 2020, arXiv:2011.07213).

A variational autoencoder is fitted to the data first and then kept fixed. The policy is deterministic and picks a
latent, which the decoder turns into an action. With `phi` above 0 a second network perturbs that action by up to phi.

Notation (paper = code): sigma = `max_latent_action`; epsilon of the perturbation = `phi`; lambda = `mix`.
Two phases: "vae", then the run.
Order of an update: critics, with the targets of policy and critics; policy and perturbation, with the new critics
(critic 1 alone judges; gradients pass through the decoder, which is not trained by them); targets.
As in the authors' code: policy and perturbation share one optimiser; the KL term of the VAE is a mean weighted .5.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from ..core.config import config, faults, static
from ..core.contract import SCALED, Algorithm, Context, Phase, Preset, Treatment
from ..core.noise import Noise
from ..core.spec import Batch, Memory, Mode, Scalar, Seen, Step
from ..core.trained import Metrics, Trained, merge
from ..core.tree import PyTree, ema
from ..parts import losses, nets, optimisers, targets
from ..parts import vae as vaes
from ..parts.critics import squared_error
from ..parts.perturbation import Perturbation, perturbation


@config
class PLAS:
    max_latent_action: float = 2.0  # bound of each dimension of the latent that the policy picks
    phi: float = static(default=0.0)  # bound of the perturbation of the decoded action; 0 for none
    mix: float = 0.75  # lambda: weight of the smaller critic in the target, the rest is for the larger
    vae_steps: int = 500_000  # updates of the VAE before the run
    kl_weight: float = 0.5  # weight of the KL term in the VAE's loss (a mean over latents), authors' code
    discount: float = 0.99  # gamma
    n_step: int = 1  # steps of the return before it bootstraps; 1 in the paper
    polyak: float = 0.005  # tau: rate at which the targets follow
    actor_lr: float = 1e-4  # Adam, policy and perturbation
    critic_lr: float = 1e-3  # Adam
    vae_lr: float = 1e-4  # Adam
    hidden: tuple[int, ...] = (400, 300)  # widths of the hidden layers of critics, policy and perturbation
    vae_hidden: tuple[int, ...] = (750, 750)  # widths of the hidden layers of encoder and decoder
    batch_size: int = 100  # rows per update


class Actor(PyTree):
    """The latent policy, and the perturbation if there is one."""

    latent: nets.Network
    xi: Perturbation | None

    def __call__(self, vae: vaes.VAE, obs: jax.Array, reach: Scalar, phi: float) -> tuple[jax.Array, jax.Array]:
        """Actions [B, A] and their latents [B, L] in [-reach, reach]."""
        latent = reach * jnp.tanh(self.latent(obs))
        action = vae.decode(obs, latent)
        return (action if self.xi is None else self.xi(obs, action, phi)), latent


class State(PyTree):
    vae: Trained
    actor: Trained
    critic: Trained
    target_actor: Actor
    target_critic: nets.Critic


class Optimisers(NamedTuple):
    vae: optax.GradientTransformation
    actor: optax.GradientTransformation
    critic: optax.GradientTransformation


def check(cfg: PLAS) -> list[str]:
    rules = dict.fromkeys(("max_latent_action", "vae_hidden", "vae_steps"), "positive")
    rules |= dict.fromkeys(("mix", "discount", "polyak"), "in [0, 1]")
    return faults(cfg, n_step="positive", phi="at least 0", kl_weight="at least 0", **rules)


def optimisers_of(cfg: PLAS) -> Optimisers:
    return optimisers.by_name(Optimisers, cfg)


def init(cfg: PLAS, ctx: Context, noise: Noise) -> State:
    tx = optimisers_of(cfg)
    spec = ctx.spec
    vae = vaes.vae(noise.sub("vae"), spec, cfg.vae_hidden, 2 * spec.action)
    xi = perturbation(noise.sub("perturbation"), spec, cfg.hidden) if cfg.phi else None
    actor = Actor(nets.network(noise.sub("actor"), spec, cfg.hidden, 2 * spec.action, role="actor"), xi)
    critic = nets.critic(noise.sub("critic"), spec, cfg.hidden)
    return State(Trained.new(vae, tx.vae), Trained.new(actor, tx.actor), Trained.new(critic, tx.critic), actor, critic)


def fit_vae(cfg: PLAS, state: State, batch: Batch, noise: Noise, step: Step) -> tuple[State, Metrics]:
    """The update of phase "vae"."""
    vae, metrics = vaes.fit(state.vae, cfg.vae_lr, batch, noise, cfg.kl_weight)
    return dataclasses.replace(state, vae=vae), metrics


def actor_loss(
    actor: Actor, critic: nets.Critic, vae: vaes.VAE, obs: jax.Array, reach: Scalar, phi: float
) -> tuple[jax.Array, Metrics]:
    """Minus critic 1 at the actions of the policy."""
    action, latent = actor(vae, obs, reach, phi)
    q = nets.first(critic)(obs, action)[0].mean()
    return -q, {"q": q, "latent": jnp.abs(latent).mean()}


def update(cfg: PLAS, state: State, batch: Batch, noise: Noise, step: Step) -> tuple[State, Metrics]:
    tx = optimisers_of(cfg)
    vae = state.vae.net
    next_action, _ = state.target_actor(vae, batch.next_obs, cfg.max_latent_action, cfg.phi)
    y = targets.td(batch, losses.mix(state.target_critic(batch.next_obs, next_action), cfg.mix), cfg.discount)
    critic, m1 = state.critic.step(tx.critic, squared_error, y, batch, name="critic")

    given = (critic.net, vae, batch.obs, cfg.max_latent_action, cfg.phi)
    actor, m2 = state.actor.step(tx.actor, actor_loss, *given, name="actor")
    target_actor = ema(actor.net, state.target_actor, cfg.polyak)
    target_critic = ema(critic.net, state.target_critic, cfg.polyak)
    return State(state.vae, actor, critic, target_actor, target_critic), merge(m1, m2, {"target": y.mean()})


def act(cfg: PLAS, state: State, seen: Seen, memory: Memory, noise: Noise, mode: Mode) -> tuple[jax.Array, Memory]:
    return state.actor.net(state.vae.net, seen.obs, cfg.max_latent_action, cfg.phi)[0], memory


def phases(cfg: PLAS) -> tuple[Phase, ...]:
    return Phase("vae", steps=cfg.vae_steps, update=fit_vae, plays=False), Phase()


CODE = "authors' code, github.com/Wenxuan-Zhou/PLAS, main.py, README.md, "
PRESETS = {
    "mujoco": Preset(PLAS(), Treatment(), CODE + "Latent"),
    "perturbation": Preset(PLAS(phi=0.05), Treatment(), CODE + "LatentPerturbation"),
    "tuned_100k": Preset(
        PLAS(vae_steps=20_000, vae_lr=1e-3),
        SCALED,
        "ours, chosen on a log of 100,000 steps: docs/algorithms/plas.md",
    ),
}

algorithm = Algorithm("plas", PLAS, init, update, act, PRESETS, needs=targets.n_step_rows, phases=phases, check=check)
