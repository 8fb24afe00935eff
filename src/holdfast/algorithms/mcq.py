"""MCQ, mildly conservative Q-learning (Lyu, Ma, Li, Lu 2022, arXiv:2206.04745).

SAC whose critics are also trained at the policy's own actions, towards the best value among actions that a variational
autoencoder decodes. So actions outside the data get at most the value of the best action inside.

Notation (paper = code): lambda = `in_weight`; N = `candidates`.
Order of an update: VAE; critics, with the new decoder, at data actions and, in the states s and s', at actions of the
policy; actor, with the new critics; temperature; targets.
As in OfflineRL-Kit, which the golden steps follow: target critics give the value of decoded actions (the maximum over
candidates of each critic, then the smaller critic), the temperature counts as at most 1, the loss of the VAE has means.
The authors' code differs: online critics give that value, several policy actions per state are used, only values above
the bound are lowered, the loss of the VAE has sums, and the temperature comes before the critics.
Ours: the density of the policy is exact where the kit has 1e-6 in the logarithm, and the actor has no dropout; networks
of 256 units for short logs (preset `tuned_100k`), a third of the cost.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from ..core.config import config, faults
from ..core.contract import Algorithm, Context, Preset, Treatment
from ..core.noise import Noise
from ..core.spec import Batch, Scalar, Step
from ..core.trained import Metrics, Trained, merge
from ..core.tree import PyTree, ema
from ..parts import nets, optimisers, targets
from ..parts import vae as vaes
from ..parts.acting import act, dist
from .sac import actor_loss, entropy_goal, temperature_loss


@config
class MCQ:
    in_weight: float = 0.9  # lambda: weight of data actions in the critics' loss, the rest is for the policy's
    candidates: int = 10  # N: decoded actions per state
    kl_weight: float = 1.0  # weight of the KL term in the VAE's loss (a mean over latents)
    discount: float = 0.99  # gamma
    n_step: int = 1  # steps of the return before it bootstraps; 1 in the paper
    polyak: float = 0.005  # rate at which the target critics follow
    initial_temperature: float = 1.0  # alpha before the first update
    max_temperature: float = 1.0  # alpha counts as at most this, OfflineRL-Kit
    target_entropy: float = 0.0  # in nats; 0 means minus the number of action dimensions
    actor_lr: float = 3e-4  # Adam
    critic_lr: float = 3e-4  # Adam
    temperature_lr: float = 3e-4  # Adam
    vae_lr: float = 1e-3  # Adam
    hidden: tuple[int, ...] = (400, 400)  # widths of the hidden layers of actor and critics
    vae_hidden: tuple[int, ...] = (750, 750)  # widths of the hidden layers of the VAE
    batch_size: int = 256  # rows per update


class State(PyTree):
    vae: Trained
    actor: Trained
    critic: Trained
    target_critic: nets.Critic
    temperature: Trained  # of log alpha


class Optimisers(NamedTuple):
    vae: optax.GradientTransformation
    actor: optax.GradientTransformation
    critic: optax.GradientTransformation
    temperature: optax.GradientTransformation


def check(cfg: MCQ) -> list[str]:
    rules = dict.fromkeys(("candidates", "vae_hidden", "initial_temperature", "max_temperature"), "positive")
    rules |= dict.fromkeys(("in_weight", "discount", "polyak"), "in [0, 1]")
    return faults(cfg, n_step="positive", kl_weight="at least 0", **rules)


def optimisers_of(cfg: MCQ) -> Optimisers:
    return optimisers.by_name(Optimisers, cfg)


def init(cfg: MCQ, ctx: Context, noise: Noise) -> State:
    tx = optimisers_of(cfg)
    spec = ctx.spec
    vae = vaes.vae(noise.sub("vae"), spec, cfg.vae_hidden, 2 * spec.action)
    actor = nets.gaussian_heads_policy(noise.sub("actor"), spec, cfg.hidden, low=-5.0, high=2.0, squash="tanh")
    critic = nets.critic(noise.sub("critic"), spec, cfg.hidden)
    return State(
        Trained.new(vae, tx.vae),
        Trained.new(actor, tx.actor),
        Trained.new(critic, tx.critic),
        critic,
        Trained.new(jnp.log(cfg.initial_temperature), tx.temperature),
    )


def critic_loss(
    critic: nets.Critic,
    y: jax.Array,
    batch: Batch,
    bound: jax.Array,
    states: jax.Array,
    actions: jax.Array,
    weight: Scalar,
) -> tuple[jax.Array, Metrics]:
    """Squared errors of the critics at data actions and at actions of the policy, summed over the critics.

    Args:
        critic: the critics.
        y: targets at the data's actions, [B].
        batch: the rows.
        bound: values that the actions of the policy should have, [2 B].
        states: s, then s', [2 B, d].
        actions: actions of the policy in these states, [2 B, A].
        weight: weight of the first error; the second has the rest.
    """
    obs = jnp.concatenate([batch.obs, states])
    action = jnp.concatenate([batch.action, actions])
    inside, outside = jnp.split(critic(obs, action), [len(y)], 1)
    error = jnp.square(inside - y[None]).mean(1)
    excess = jnp.square(outside - bound[None]).mean(1)
    metrics = {"q": inside.mean(), "policy_q": outside.mean(), "bound": bound.mean(), "target": y.mean()}
    return (weight * error + (1 - weight) * excess).sum(), metrics


def update(cfg: MCQ, state: State, batch: Batch, noise: Noise, step: Step) -> tuple[State, Metrics]:
    tx = optimisers_of(cfg)
    vae, m1 = vaes.fit(state.vae, cfg.vae_lr, batch, noise, cfg.kl_weight)
    alpha = jnp.minimum(jnp.exp(state.temperature.net), cfg.max_temperature)
    rows, size = batch.action.shape

    states = jnp.concatenate([batch.obs, batch.next_obs])
    policy = state.actor.net(states)
    next_policy = jax.tree.map(lambda x: x[rows:], policy)
    next_action, next_log_prob = next_policy.sample_and_log_prob(noise.normal("target_action", (rows, size)))
    latent = vaes.prior(noise, "decode_latent", (cfg.candidates, 2 * rows, vae.net.latent))
    bound = state.target_critic(states, vae.net.decode(states, latent)).max(1).min(0)
    soft = state.target_critic(batch.next_obs, next_action).min(0) - alpha * next_log_prob
    y = targets.td(batch, soft, cfg.discount)
    own = policy.sample(noise.normal("ood_action", (2 * rows, size)))
    critic, m2 = state.critic.step(tx.critic, critic_loss, y, batch, bound, states, own, cfg.in_weight, name="critic")

    eps = noise.normal("actor_action", (rows, size))
    actor, m3 = state.actor.step(tx.actor, actor_loss, critic.net, alpha, batch.obs, eps, name="actor")
    log_prob = -m3["actor/entropy"]  # of the actor before its step
    goal = entropy_goal(cfg, batch)
    temperature, m4 = state.temperature.step(tx.temperature, temperature_loss, log_prob, goal, name="temperature")
    target = ema(critic.net, state.target_critic, cfg.polyak)
    return State(vae, actor, critic, target, temperature), merge(m1, m2, m3, m4)


PRESETS = {
    "mujoco": Preset(MCQ(), Treatment(), "OfflineRL-Kit, run_example/run_mcq.py, without dropout in the actor"),
    "authors": Preset(
        MCQ(in_weight=0.7, kl_weight=2.0),
        Treatment(),
        "authors' code, github.com/dmksjfl/MCQ, offlinerl/config/algo/MCQ_config.py; the update is OfflineRL-Kit's",
    ),
    "tuned_100k": Preset(
        MCQ(in_weight=0.7, hidden=(256, 256), vae_hidden=(256, 256)),
        Treatment(),
        "ours, for short logs: the authors' lambda and smaller networks, a third of the cost; docs/algorithms/mcq.md",
    ),
}

algorithm = Algorithm("mcq", MCQ, init, update, act, PRESETS, needs=targets.n_step_rows, dist=dist, check=check)
