"""MABCQ (Jiang, Lu 2021, arXiv:2108.01832): BCQ for an agent whose teammates change.

Each agent has a log of its own, and the log's P_B(s'|s, a) depends on how the teammates acted then. The errors of the
critics are weighted by lambda_vd lambda_tn, see `parts.deviations`, so that agents that learn alone agree on good joint
actions. Train it on the log of a team with `--agents independent`.

Notation (paper = code): lambda_vd = 1 + (V(s') - E V) / |E V|, `value_deviation`; lambda_tn = 1 / P_B(s'|s, a);
E V = the mean value of `next_samples` next states from the model; everything else as in bcq.py.
Order of an update: VAE of actions; model of next states; weights; then critics, perturbation and targets as in BCQ.
Known from the paper: the two factors, that they weigh the temporal-difference error, conditional VAEs for next states.
Ours, because no code is public: P_B is the model's evidence lower bound for each dimension of s', relative to its mean
over the batch; lambda_tn lambda_vd is within [`least_weight`, `most_weight`] and then divided by its mean over the
batch; V(s') is BCQ's target value (targets, best candidate, both critics mixed), 0 at a true end; the model has a
decoder with one standard deviation for each dimension; weights begin after `model_steps` updates.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from ..core.config import config, faults, narrowed
from ..core.contract import Algorithm, Context, Preset, Treatment
from ..core.noise import Noise
from ..core.spec import Batch, Step
from ..core.trained import Metrics, Trained, merge
from ..core.tree import PyTree, ema
from ..parts import deviations, losses, nets, optimisers, targets, transition_vae
from ..parts import vae as vaes
from ..parts.critics import weighted_squared_error
from ..parts.perturbation import Perturbation
from . import bcq
from .bcq import act, perturbation_loss


@config
class MABCQ:
    phi: float = 0.05  # Phi: bound of the perturbation of each action dimension
    mix: float = 0.75  # lambda: weight of the smaller critic, the rest is for the larger
    candidates: int = 10  # n: decoded actions per next state in the target
    acting_candidates: int = 100  # decoded actions to choose from when acting, BCQ's code
    kl_weight: float = 0.5  # weight of the KL term in the loss of the VAE of actions, BCQ's code
    least_weight: float = 0.1  # smallest weight of a transition
    most_weight: float = 10.0  # largest weight of a transition
    next_samples: int = 4  # next states from the model for each E V
    model_steps: int = 1_000  # updates before the weights begin
    model_lr: float = 1e-3  # Adam, model of next states
    model_hidden: tuple[int, ...] = (256, 256)  # widths of the hidden layers of the model
    model_latent: int = 8  # dimensions of the model's latent
    discount: float = 0.99  # gamma
    polyak: float = 0.005  # tau: rate at which the targets follow
    actor_lr: float = 1e-3  # Adam, perturbation network
    critic_lr: float = 1e-3  # Adam
    vae_lr: float = 1e-3  # Adam
    hidden: tuple[int, ...] = (400, 300)  # widths of the hidden layers of critics and perturbation
    vae_hidden: tuple[int, ...] = (750, 750)  # widths of the hidden layers of encoder and decoder
    batch_size: int = 100  # rows per update


class State(PyTree):
    vae: Trained
    model: Trained
    critic: Trained
    perturbation: Trained
    target_critic: nets.Critic
    target_perturbation: Perturbation


def check(cfg: MABCQ) -> list[str]:
    counts = ("candidates", "acting_candidates", "vae_hidden", "model_hidden", "next_samples", "model_latent")
    rules = dict.fromkeys(counts, "positive") | dict.fromkeys(("mix", "discount", "polyak"), "in [0, 1]")
    rules |= dict.fromkeys(("phi", "kl_weight", "least_weight", "model_steps"), "at least 0")
    return faults(cfg, most_weight="positive", **rules)


def init(cfg: MABCQ, ctx: Context, noise: Noise) -> State:
    own = bcq.init(narrowed(bcq.BCQ, cfg), ctx, noise)
    made = transition_vae.transition_vae(noise.sub("model"), ctx.spec, cfg.model_hidden, cfg.model_latent)
    model = Trained.new(made, optimisers.adam(cfg.model_lr))
    return State(own.vae, model, own.critic, own.perturbation, own.target_critic, own.target_perturbation)


def value_of(cfg: MABCQ, state: State, vae: vaes.VAE, obs: jax.Array, latent: jax.Array) -> jax.Array:
    """BCQ's target value: obs [B, d] and latents [n, B, L] to [B]."""
    action = state.target_perturbation(obs, vae.decode(obs, latent), cfg.phi)
    return losses.mix(state.target_critic(obs, action), cfg.mix).max(0)


def weights(
    cfg: MABCQ, state: State, model: transition_vae.TransitionVAE, vae: vaes.VAE, batch: Batch, q: jax.Array,
    noise: Noise,
) -> tuple[jax.Array, Metrics]:  # fmt: skip
    """The weight of each row [B], 1 on average; `q` [B] is the value of the next states of the batch."""
    rows = len(batch.reward)
    shape = (cfg.next_samples, rows)
    drawn = model.decode(batch.obs, batch.action, noise.normal("model_prior", (*shape, model.latent)))
    spread = jnp.broadcast_to(jnp.exp(model.bounded_log_std), drawn.shape)
    drawn = drawn + spread * noise.normal("model_noise", drawn.shape)
    latent = vaes.prior(noise, "deviation_latent", (cfg.candidates, cfg.next_samples * rows, vae.latent))
    every = value_of(cfg, state, vae, drawn.reshape(-1, drawn.shape[-1]), latent)
    expected = every.reshape(shape).mean(0)
    alive = 1 - batch.terminated
    deviation = deviations.value_deviation(alive * q, alive * expected)
    eps = noise.normal("model_density", (*shape, model.latent))
    log_density = model.log_density(batch.obs, batch.action, batch.next_obs, eps)
    relative = jnp.exp(jnp.clip(log_density - log_density.mean(), -5, 5))
    found = deviations.weights(deviation, relative, cfg.least_weight, cfg.most_weight)
    found = jax.lax.stop_gradient(found / found.mean())
    return found, {"deviation": deviation.mean(), "spread": found.std(), "log_density": log_density.mean()}


def update(cfg: MABCQ, state: State, batch: Batch, noise: Noise, step: Step) -> tuple[State, Metrics]:
    tx = bcq.optimisers_of(narrowed(bcq.BCQ, cfg))
    vae, m1 = vaes.fit(state.vae, cfg.vae_lr, batch, noise, cfg.kl_weight)
    model, m2 = transition_vae.fit(state.model, cfg.model_lr, batch, noise)

    rows = len(batch.reward)
    latent = vaes.prior(noise, "target_latent", (cfg.candidates, rows, vae.net.latent))
    q = value_of(cfg, state, vae.net, batch.next_obs, latent)
    y = targets.td(batch, q, cfg.discount)
    weight, m3 = weights(cfg, state, model.net, vae.net, batch, q, noise)
    weight = jnp.where(step < cfg.model_steps, 1.0, weight)
    critic, m4 = state.critic.step(tx.critic, weighted_squared_error, y, batch, weight, name="critic")

    decoded = vae.net.decode(batch.obs, vaes.prior(noise, "actor_latent", (rows, vae.net.latent)))
    given = (critic.net, batch.obs, decoded, cfg.phi)
    xi, m5 = state.perturbation.step(tx.perturbation, perturbation_loss, *given, name="actor")

    target_critic = ema(critic.net, state.target_critic, cfg.polyak)
    target_xi = ema(xi.net, state.target_perturbation, cfg.polyak)
    named = {f"weight/{name}": value for name, value in m3.items()}
    return State(vae, model, critic, xi, target_critic, target_xi), merge(m1, m2, m4, m5, named)


PRESETS = {
    "paper": Preset(MABCQ(), Treatment(), "BCQ's code, github.com/sfujim/BCQ, with the paper's two factors"),
    "tuned_100k": Preset(
        MABCQ(actor_lr=3e-4, critic_lr=3e-4, vae_lr=3e-4, hidden=(256, 256), vae_hidden=(256, 256), batch_size=256),
        Treatment(),
        "ours, the networks and rates of tuned_100k of bcq",
    ),
}

algorithm = Algorithm("mabcq", MABCQ, init, update, act, PRESETS, check=check)
