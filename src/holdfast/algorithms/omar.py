"""OMAR (Pan, Huang, Ma, Xu 2022, arXiv:2111.11188): conservative critics, and actors that search for better actions.

The policy gradient of an agent gets stuck in bad local optima when its teammates' actions vary. The actor therefore
also imitates the best action that the cross-entropy method (CEM) finds for its critic. Every agent learns alone: train
it on the log of a team with `--agents independent`.

Notation (paper = code): alpha = `alpha` (weight of the conservative term), tau = `mixing`: weight of the imitation of
the best action, 1 - tau: weight of the value; N = `samples`.
Order: critics at every update, then the actor with the new critics, then all targets.
As in the authors' code and not in the paper: targets without smoothing noise; gradients clipped to a norm of .5; the
conservative term has uniform candidates alone on the particle games (`policy_candidates` off), on MuJoCo also those of
the policy at s and s', with noise; the actor pays .001 mean pi^2; the CEM of the particle games weighs by softmax(Q),
that of MuJoCo keeps elites; the best action is that of the last round or the actor's own; the last weights of the
actor are at first within .003.
Not as there: no batch normalisation of the inputs. Normalised observations (`normalize_obs`) replace it, because the
networks then need no running statistics.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from ..core.config import config, faults, static
from ..core.contract import Algorithm, Context, Preset, Treatment
from ..core.noise import Noise
from ..core.spec import Batch, Scalar, Step
from ..core.trained import Metrics, merge
from ..core.tree import ema
from ..parts import conservative, cross_entropy, nets, optimisers, targets
from ..parts.initialisers import small_weights
from .td3 import State, act, state_of


@config
class OMAR:
    alpha: float = 1.0  # weight of the conservative term, by the kind of log .5, 1 or 5
    mixing: float = 1.0  # tau: weight of the imitation of the best action, the rest is for Q
    search: str = "softmax"  # CEM: softmax weighs all samples, elite keeps the best ones
    rounds: int = 3  # of the CEM
    samples: int = 10  # N: actions of each round
    elites: int = 5  # best samples of a round, if search is elite
    search_spread: float = 2.0  # standard deviation of the first round
    candidates: int = 10  # uniform actions in the conservative term
    policy_candidates: bool = False  # also as many of the policy at s and at s'
    candidate_noise: float = 0.2  # standard deviation of the noise on those
    action_penalty: float = 0.001  # weight of the actor's squared actions
    exploration_noise: float = 0.1  # standard deviation of the noise on actions taken to explore
    clip_norm: float = static(default=0.5)  # largest norm of a gradient
    discount: float = 0.95  # gamma
    polyak: float = 0.01  # rate at which the targets follow
    actor_lr: float = 0.01  # Adam
    critic_lr: float = 0.01  # Adam
    hidden: tuple[int, ...] = (64, 64)  # widths of the hidden layers of every network
    batch_size: int = 1024  # rows per update


class Optimisers(NamedTuple):
    actor: optax.GradientTransformation
    critic: optax.GradientTransformation


def check(cfg: OMAR) -> list[str]:
    rules = dict.fromkeys(("rounds", "samples", "elites", "candidates", "search_spread", "clip_norm"), "positive")
    rules |= dict.fromkeys(("alpha", "candidate_noise", "action_penalty", "exploration_noise"), "at least 0")
    rules |= dict.fromkeys(("mixing", "discount", "polyak"), "in [0, 1]")
    found = faults(cfg, search="softmax|elite", **rules)
    if cfg.search == "elite" and not 2 <= cfg.elites <= cfg.samples:
        found.append(f"elites is {cfg.elites}, expected 2 to samples, {cfg.samples}")
    return found


def optimisers_of(cfg: OMAR) -> Optimisers:
    return Optimisers(*(optimisers.adam(rate, clip_norm=cfg.clip_norm) for rate in (cfg.actor_lr, cfg.critic_lr)))


def init(cfg: OMAR, ctx: Context, noise: Noise) -> State:
    actor = nets.deterministic_policy(noise.sub("actor"), ctx.spec, cfg.hidden, last=small_weights(0.003))
    critic = nets.critic(noise.sub("critic"), ctx.spec, cfg.hidden)
    return state_of(optimisers_of(cfg), actor, critic)  # type: ignore[arg-type]


def candidates(cfg: OMAR, actor: nets.Policy, batch: Batch, noise: Noise) -> tuple[jax.Array, jax.Array]:
    """Actions of the conservative term and their log-densities: [K, B, A] and [K, B]."""
    shape = (cfg.candidates, *batch.action.shape)
    action = 2 * noise.uniform("random_action", shape) - 1
    density = jnp.full(shape[:2], -shape[2] * math.log(2))
    if not cfg.policy_candidates:
        return action, density
    parts, densities = [action], [density]
    for name, obs in (("current_action", batch.obs), ("next_action", batch.next_obs)):
        eps = noise.normal(name, shape)
        parts.append(jnp.clip(actor(obs).mode()[None] + cfg.candidate_noise * eps, -1, 1))
        normal = -0.5 * jnp.square(eps) - jnp.log(cfg.candidate_noise) - 0.5 * math.log(2 * math.pi)
        densities.append(normal.sum(-1))
    return jnp.concatenate(parts), jnp.concatenate(densities)


def critic_loss(
    critic: nets.Critic, y: jax.Array, batch: Batch, action: jax.Array, density: jax.Array, alpha: Scalar
) -> tuple[jax.Array, Metrics]:
    """Squared errors and alpha times the conservative terms, both summed over the critics."""
    q, other = conservative.values(critic, batch, action)
    gap = (jax.nn.logsumexp(other - density[None], 1) - q).mean(1)
    error = jnp.square(q - y[None]).mean(1)
    return (error + alpha * gap).sum(), {"q": q.mean(), "gap": gap.mean(), "target": y.mean()}


def best_action(cfg: OMAR, critic: nets.Critic, own: jax.Array, obs: jax.Array, noise: Noise) -> jax.Array:
    """The better of the actor's action `own` [B, A] and the best sample of the last round, by critic 1."""

    def values(action: jax.Array) -> jax.Array:
        rows = jnp.broadcast_to(obs, (len(action), *obs.shape))
        return nets.first(critic)(rows, action)[0]

    eps = noise.normal("search", (cfg.rounds, cfg.samples, *own.shape))
    given = (values, eps, cfg.search_spread)
    action, q = cross_entropy.elite(*given, cfg.elites) if cfg.search == "elite" else cross_entropy.softened(*given)
    index = q.argmax(0)
    found = jnp.take_along_axis(action, index[None, :, None], 0)[0]
    better = q.max(0) > values(own[None])[0]
    return jax.lax.stop_gradient(jnp.where(better[:, None], found, own))


def actor_loss(
    actor: nets.Policy, critic: nets.Critic, best: jax.Array, obs: jax.Array, mixing: Scalar, penalty: Scalar
) -> tuple[jax.Array, Metrics]:
    """tau (pi - best)^2 - (1 - tau) Q1(s, pi) + penalty pi^2."""
    action = actor(obs).mode()
    q = nets.first(critic)(obs, action)[0].mean()
    imitation = jnp.square(action - best).mean()
    loss = mixing * imitation - (1 - mixing) * q + penalty * jnp.square(action).mean()
    return loss, {"q": q, "imitation": imitation}


def update(cfg: OMAR, state: State, batch: Batch, noise: Noise, step: Step) -> tuple[State, Metrics]:
    tx = optimisers_of(cfg)
    next_action = state.target_actor(batch.next_obs).mode()
    y = targets.td(batch, state.target_critic(batch.next_obs, next_action).min(0), cfg.discount)
    action, density = candidates(cfg, state.actor.net, batch, noise)
    critic, m1 = state.critic.step(tx.critic, critic_loss, y, batch, action, density, cfg.alpha, name="critic")

    best = best_action(cfg, critic.net, state.actor.net(batch.obs).mode(), batch.obs, noise)
    given = (critic.net, best, batch.obs, cfg.mixing, cfg.action_penalty)
    actor, m2 = state.actor.step(tx.actor, actor_loss, *given, name="actor")

    target_actor = ema(actor.net, state.target_actor, cfg.polyak)
    return State(actor, critic, target_actor, ema(critic.net, state.target_critic, cfg.polyak)), merge(m1, m2)


CODE = "authors' code, github.com/ling-pan/OMAR"
NORMALISED = Treatment(normalize_obs=1e-3)
MUJOCO = OMAR(
    alpha=1.0, mixing=0.7, search="elite", rounds=2, samples=20, policy_candidates=True, discount=0.99, polyak=0.005,
    actor_lr=3e-4, critic_lr=3e-4, hidden=(256, 256), batch_size=256,
)  # fmt: skip
PRESETS = {
    "spread": Preset(OMAR(), NORMALISED, f"{CODE}, simple_spread, medium-replay"),
    "spread_expert": Preset(OMAR(alpha=5.0), NORMALISED, f"{CODE}, simple_spread, medium and expert"),
    "spread_random": Preset(OMAR(alpha=0.5), NORMALISED, f"{CODE}, simple_spread, random"),
    "mujoco": Preset(MUJOCO, NORMALISED, f"{CODE}, HalfCheetah of two agents, medium"),
}

algorithm = Algorithm("omar", OMAR, init, update, act, PRESETS, check=check)
