"""BCQ, batch-constrained Q-learning (Fujimoto, Meger, Precup 2019, arXiv:1812.02900, algorithm 1).

A variational autoencoder models the actions that the data contain in a state, a small network perturbs them, and the
policy takes the best of several such candidates. Values are only computed for actions like those in the data.

Notation (paper = code): G_omega = `vae`; xi_phi = `perturbation`; Phi = `phi`; n = `candidates`; lambda = `mix` (weight
of the smaller critic).
Order of an update: VAE; critics, with the new decoder and the target perturbation (the critics are mixed first, then
the maximum over candidates is taken); perturbation, with the new critics, through a decoder that is not trained by it;
targets.
As in the authors' code and not in the paper: latents to decode are clipped to +-.5; the KL term is a mean weighted .5;
critic 1 alone judges the perturbation, and chooses among 100 candidates when acting.
Ours: in mode "best" the candidates come from the same 100 latents in every state, so that the policy is a function.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from ..core.config import config, faults
from ..core.contract import Algorithm, Context, Preset, Treatment
from ..core.noise import Noise
from ..core.spec import Batch, Memory, Mode, Scalar, Seen, Step
from ..core.trained import Metrics, Trained, merge
from ..core.tree import PyTree, ema
from ..parts import candidates, losses, nets, optimisers, targets
from ..parts import vae as vaes
from ..parts.critics import squared_error
from ..parts.perturbation import Perturbation, perturbation


@config
class BCQ:
    phi: float = 0.05  # Phi: bound of the perturbation of each action dimension
    mix: float = 0.75  # lambda: weight of the smaller critic, the rest is for the larger
    candidates: int = 10  # n: decoded actions per next state in the target
    acting_candidates: int = 100  # decoded actions to choose from when acting, authors' code
    kl_weight: float = 0.5  # weight of the KL term in the VAE's loss (a mean over latents), authors' code
    discount: float = 0.99  # gamma
    n_step: int = 1  # steps of the return before it bootstraps; 1 in the paper
    polyak: float = 0.005  # tau: rate at which the targets follow
    actor_lr: float = 1e-3  # Adam, perturbation network
    critic_lr: float = 1e-3  # Adam
    vae_lr: float = 1e-3  # Adam
    hidden: tuple[int, ...] = (400, 300)  # widths of the hidden layers of critics and perturbation
    vae_hidden: tuple[int, ...] = (750, 750)  # widths of the hidden layers of encoder and decoder
    batch_size: int = 100  # rows per update


class State(PyTree):
    vae: Trained
    critic: Trained
    perturbation: Trained
    target_critic: nets.Critic
    target_perturbation: Perturbation


class Optimisers(NamedTuple):
    vae: optax.GradientTransformation
    critic: optax.GradientTransformation
    perturbation: optax.GradientTransformation


def check(cfg: BCQ) -> list[str]:
    rules = dict.fromkeys(("candidates", "acting_candidates", "vae_hidden"), "positive")
    rules |= dict.fromkeys(("mix", "discount", "polyak"), "in [0, 1]")
    return faults(cfg, n_step="positive", phi="at least 0", kl_weight="at least 0", **rules)


def optimisers_of(cfg: BCQ) -> Optimisers:
    return Optimisers(*(optimisers.adam(rate) for rate in (cfg.vae_lr, cfg.critic_lr, cfg.actor_lr)))


def init(cfg: BCQ, ctx: Context, noise: Noise) -> State:
    tx = optimisers_of(cfg)
    vae = vaes.vae(noise.sub("vae"), ctx.spec, cfg.vae_hidden, 2 * ctx.spec.action)
    critic = nets.critic(noise.sub("critic"), ctx.spec, cfg.hidden)
    xi = perturbation(noise.sub("perturbation"), ctx.spec, cfg.hidden)
    return State(Trained.new(vae, tx.vae), Trained.new(critic, tx.critic), Trained.new(xi, tx.perturbation), critic, xi)


def perturbation_loss(
    xi: Perturbation, critic: nets.Critic, obs: jax.Array, decoded: jax.Array, phi: Scalar
) -> tuple[jax.Array, Metrics]:
    """Minus critic 1 at the perturbed actions; `decoded` [B, A] comes from the decoder."""
    action = xi(obs, decoded, phi)
    q = nets.first(critic)(obs, action)[0].mean()
    return -q, {"q": q, "change": jnp.abs(action - decoded).mean()}


def update(cfg: BCQ, state: State, batch: Batch, noise: Noise, step: Step) -> tuple[State, Metrics]:
    tx = optimisers_of(cfg)
    vae, m1 = vaes.fit(state.vae, cfg.vae_lr, batch, noise, cfg.kl_weight)

    rows = len(batch.reward)
    latent = vaes.prior(noise, "target_latent", (cfg.candidates, rows, vae.net.latent))
    next_action = state.target_perturbation(batch.next_obs, vae.net.decode(batch.next_obs, latent), cfg.phi)
    q = losses.mix(state.target_critic(batch.next_obs, next_action), cfg.mix).max(0)
    y = targets.td(batch, q, cfg.discount)
    critic, m2 = state.critic.step(tx.critic, squared_error, y, batch, name="critic")

    decoded = vae.net.decode(batch.obs, vaes.prior(noise, "actor_latent", (rows, vae.net.latent)))
    given = (critic.net, batch.obs, decoded, cfg.phi)
    xi, m3 = state.perturbation.step(tx.perturbation, perturbation_loss, *given, name="actor")

    target_critic = ema(critic.net, state.target_critic, cfg.polyak)
    target_xi = ema(xi.net, state.target_perturbation, cfg.polyak)
    return State(vae, critic, xi, target_critic, target_xi), merge(m1, m2, m3, {"target": y.mean()})


def act(cfg: BCQ, state: State, seen: Seen, memory: Memory, noise: Noise, mode: Mode) -> tuple[jax.Array, Memory]:
    vae = state.vae.net
    latent = candidates.normals(noise, mode, cfg.acting_candidates, seen.reward.shape[0], vae.latent)
    action = state.perturbation.net(seen.obs, vae.decode(seen.obs, jnp.clip(latent, -0.5, 0.5)), cfg.phi)
    return candidates.best(nets.first(state.critic.net)(seen.obs, action)[0], action), memory


PRESETS = {
    "mujoco": Preset(BCQ(), Treatment(), "authors' code, github.com/sfujim/BCQ, continuous_BCQ/main.py and BCQ.py"),
    "tuned_100k": Preset(
        BCQ(actor_lr=3e-4, critic_lr=3e-4, vae_lr=3e-4, hidden=(256, 256), vae_hidden=(256, 256), batch_size=256),
        Treatment(),
        "ours, smaller networks and the usual rates, three times as fast: docs/algorithms/bcq.md",
    ),
}

algorithm = Algorithm("bcq", BCQ, init, update, act, PRESETS, needs=targets.n_step_rows, check=check)
