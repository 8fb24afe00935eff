"""PLAS, policy in the latent action space (Zhou, Bajracharya, Held 2020, arXiv:2011.07213).

A variational autoencoder is fitted to the data first and then held still; the policy is deterministic and picks a
latent, which the decoder turns into an action. With `phi` above 0 a second network perturbs that action by up to phi.

Paper -> here: sigma max_latent_action, epsilon of the perturbation phi, lambda mix. Two phases: "vae", then the run.
Order of an update: critics, with the targets of policy and critics; policy and perturbation, with the new critics
(critic 1 alone judges, the decoder passes gradients on and is not stepped); targets.
As in the authors' code: one optimiser for policy and perturbation, the VAE's KL term is a mean weighted .5.
Ours: the VAE gets 20,000 steps at rate 1e-3 where the authors take 500,000 at 1e-4 (preset "published").
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from ..core.config import config, faults, static
from ..core.contract import SCALED, Algorithm, Context, Phase, Preset, Treatment
from ..core.noise import Noise
from ..core.spec import Batch, Memory, Mode, Seen, Step
from ..core.trained import Metrics, Trained, merge
from ..core.tree import PyTree, ema
from ..parts import layers, losses, nets, optimisers, targets
from ..parts import vae as vaes
from .bcq import Perturbation, perturbation
from .iql import critic_loss


@config
class PLAS:
    max_latent_action: float = 2.0  # bound of each dimension of the latent that the policy picks
    phi: float = static(default=0.0)  # bound of the perturbation of the decoded action; 0 for none (0.05 in the paper)
    mix: float = 0.75  # lambda: weight of the smaller critic in the target, the rest goes to the larger
    vae_steps: int = 20_000  # updates of the VAE before the run; published 500 000
    kl_weight: float = 0.5  # weight of the KL term in the VAE's loss (a mean over latents), authors' code
    discount: float = 0.99  # gamma
    polyak: float = 0.005  # tau: rate at which the targets follow
    actor_lr: float = 1e-4  # Adam, policy and perturbation
    critic_lr: float = 1e-3  # Adam
    vae_lr: float = 1e-3  # Adam; published 1e-4
    hidden: tuple[int, ...] = (400, 300)  # widths of the hidden layers of critics, policy and perturbation
    vae_hidden: tuple[int, ...] = (750, 750)  # widths of the hidden layers of encoder and decoder
    batch_size: int = 100  # rows an update


class Actor(PyTree):
    """The latent policy, and the perturbation where there is one."""

    latent: layers.MLP
    xi: Perturbation | None

    def __call__(self, vae: vaes.VAE, obs: jax.Array, reach: Any, phi: float) -> tuple[jax.Array, jax.Array]:
        """Actions [B, A] and the latents behind them [B, L] in [-reach, reach]."""
        latent = reach * jnp.tanh(self.latent(obs))
        action = vae.decode(obs, latent)
        return (action if self.xi is None else self.xi(obs, action, phi)), latent


class State(PyTree):
    vae: Trained
    actor: Trained
    critic: Trained
    target_actor: Actor
    target_critic: nets.Critic


def check(cfg: PLAS) -> list[str]:
    rules = {"max_latent_action": "positive", "mix": "in [0, 1]", "vae_hidden": "positive", "vae_steps": "positive"}
    return faults(cfg, phi="at least 0", kl_weight="at least 0", discount="in [0, 1]", polyak="in [0, 1]", **rules)


def init(cfg: PLAS, ctx: Context, noise: Noise) -> State:
    spec = ctx.spec
    (d,) = spec.obs
    vae = vaes.vae(noise.sub("vae"), spec, cfg.vae_hidden, 2 * spec.action)
    xi = perturbation(noise.sub("perturbation"), spec, cfg.hidden) if cfg.phi else None
    actor = Actor(nets.mlp(noise.sub("actor"), (d, *cfg.hidden, 2 * spec.action)), xi)
    critic = nets.critic(noise.sub("critic"), spec, cfg.hidden)
    return State(
        Trained.new(vae, optimisers.adam(cfg.vae_lr)),
        Trained.new(actor, optimisers.adam(cfg.actor_lr)),
        Trained.new(critic, optimisers.adam(cfg.critic_lr)),
        actor,
        critic,
    )


def fit_vae(cfg: Any, state: Any, batch: Batch, noise: Noise, step: Step) -> tuple[Any, Metrics]:
    """The update of phase "vae"."""
    vae, metrics = vaes.fit(state.vae, cfg.vae_lr, batch, noise, cfg.kl_weight)
    return type(state)(**{**vars(state), "vae": vae}), metrics


def actor_loss(actor: Actor, critic: nets.Critic, vae: vaes.VAE, obs: jax.Array, reach: Any, phi: float) -> Any:
    action, latent = actor(vae, obs, reach, phi)
    q = nets.first(critic)(obs, action)[0].mean()
    return -q, {"q": q, "latent": jnp.abs(latent).mean()}


def update(cfg: PLAS, state: State, batch: Batch, noise: Noise, step: Step) -> tuple[State, Metrics]:
    vae, how = state.vae.net, (cfg.max_latent_action, cfg.phi)
    next_action, _ = state.target_actor(vae, batch.next_obs, *how)
    y = targets.td(batch, losses.mix(state.target_critic(batch.next_obs, next_action), cfg.mix), cfg.discount)
    critic, m1 = state.critic.step(optimisers.adam(cfg.critic_lr), critic_loss, y, batch, name="critic")

    given = (critic.net, vae, batch.obs, *how)
    actor, m2 = state.actor.step(optimisers.adam(cfg.actor_lr), actor_loss, *given, name="actor")
    target_actor = ema(actor.net, state.target_actor, cfg.polyak)
    target_critic = ema(critic.net, state.target_critic, cfg.polyak)
    return State(state.vae, actor, critic, target_actor, target_critic), merge(m1, m2, {"target": y.mean()})


def act(cfg: PLAS, state: State, seen: Seen, memory: Memory, noise: Noise, mode: Mode) -> tuple[jax.Array, Any]:
    return state.actor.net(state.vae.net, seen.obs, cfg.max_latent_action, cfg.phi)[0], memory


def phases(cfg: Any) -> tuple[Phase, ...]:
    return Phase("vae", steps=cfg.vae_steps, update=fit_vae, plays=False), Phase()


CODE = "authors' code, github.com/Wenxuan-Zhou/PLAS, main.py"
PRESETS = {
    "small": Preset(
        PLAS(),
        SCALED,
        "ours, chosen on a log of 100,000 steps: docs/algorithms/plas.md",
    ),
    "mujoco": Preset(PLAS(), Treatment(), CODE + ", but for the VAE's steps and rate"),
    "perturbation": Preset(PLAS(phi=0.05), Treatment(), CODE + ", LatentPerturbation, with the shorter VAE"),
    "published": Preset(PLAS(vae_steps=500_000, vae_lr=1e-4), Treatment(), CODE),
}

algorithm = Algorithm("plas", PLAS, init, update, act, PRESETS, phases=phases, check=check)
