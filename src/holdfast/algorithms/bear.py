"""BEAR, bootstrapping error accumulation reduction (Kumar, Fu, Tucker, Levine 2019, arXiv:1906.00949).

The actor maximises Q while the maximum mean discrepancy (MMD) between its actions and those of a behaviour model (a
VAE) stays below a threshold, by a dual variable. With few samples that matches supports rather than densities.

Paper -> here: epsilon threshold, alpha multiplier (learned as a logarithm), n match_samples, lambda mix, p candidates.
Two phases: "warm_start", where the actor only lowers alpha MMD, then the run.
Order: VAE; critics (mix of the target critics first, then the maximum over actions of the target policy); actor, with
the new decoder and critics; alpha, by ascent on alpha (MMD - epsilon), MMD from before the actor's step; targets.
As in the authors' code: the MMD is of actions before tanh, means include a sample with itself, sigma is not squared, a
root is taken; noise of the policy is clipped to +-.5 in the actor's loss; log alpha stays in [-5, 10].
Defaults follow rlkit's BEAR (Q of one sample, log alpha from 0) and the sizes of its D4RL runs; `std_penalty` is off.
Ours: 5,000 steps of warm start where rlkit has 40,000, and a VAE of 256 units where all have 750, a third of the cost
(both as published: preset "published"); the policy's log standard deviation is clipped to [-20, 2]; in mode "best" the
candidates come from the same noise in every state.
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
from ..parts import candidates, divergences, losses, nets, optimisers, targets
from ..parts import vae as vaes
from .iql import critic_loss


@config
class BEAR:
    threshold: float = 0.05  # epsilon: the MMD that is allowed
    kernel: str = "laplacian"  # laplacian or gaussian; rlkit has gaussian for halfcheetah
    sigma: float = 20.0  # width of the kernel; 10 with the laplacian in the authors' readme
    match_samples: int = 4  # n: actions a state of policy and VAE in the MMD; 5 in the readme
    q_samples: int = 1  # the first so many of these enter the actor's Q; rlkit 1, the authors all
    aggregate: str = "min"  # over critics in the actor's loss: min (the authors' version 0) or mean (version 2)
    std_penalty: float = static(default=0.0)  # weight of the critics' deviation in the actor's loss; off in the readme
    warm_start: int = 5_000  # updates in which the actor only matches the data; rlkit 40 000
    candidates: int = 10  # p: actions a next state in the target
    acting_candidates: int = 10  # actions to choose from when acting
    mix: float = 0.75  # lambda: weight of the smaller critic in the target, the rest goes to the larger
    kl_weight: float = 0.5  # weight of the KL term in the VAE's loss (a mean over latents), authors' code
    initial_multiplier: float = 1.0  # alpha before the first update
    discount: float = 0.99  # gamma
    polyak: float = 0.005  # tau: rate at which the targets follow
    actor_lr: float = 1e-4  # Adam; the authors 1e-3
    critic_lr: float = 3e-4  # Adam; the authors 1e-3
    vae_lr: float = 3e-4  # Adam; the authors 1e-3
    multiplier_lr: float = 1e-3  # Adam, log alpha
    hidden: tuple[int, ...] = (256, 256)  # widths of the hidden layers of actor and critics; the authors 400, 300
    vae_hidden: tuple[int, ...] = (256, 256)  # widths of the hidden layers of the VAE; published 750, 750
    batch_size: int = 256  # rows an update; the authors 100


class State(PyTree):
    vae: Trained
    actor: Trained
    critic: Trained
    multiplier: Trained  # of log alpha
    target_actor: nets.Policy
    target_critic: nets.Critic


def check(cfg: BEAR) -> list[str]:
    counts = ("match_samples", "q_samples", "warm_start", "candidates", "acting_candidates", "vae_hidden")
    rules = dict.fromkeys((*counts, "sigma", "initial_multiplier"), "positive")
    rules |= dict.fromkeys(("threshold", "std_penalty", "kl_weight"), "at least 0")
    rules |= dict.fromkeys(("mix", "discount", "polyak"), "in [0, 1]")
    found = faults(cfg, kernel="laplacian|gaussian", aggregate="min|mean", **rules)
    if cfg.q_samples > cfg.match_samples:
        found.append(f"q_samples is {cfg.q_samples!r}, expected at most match_samples ({cfg.match_samples!r})")
    return found


def init(cfg: BEAR, ctx: Context, noise: Noise) -> State:
    spec = ctx.spec
    vae = vaes.vae(noise.sub("vae"), spec, cfg.vae_hidden, 2 * spec.action)
    actor = nets.policy(noise.sub("actor"), spec, cfg.hidden, "heads", low=-20.0, high=2.0, squash="tanh")
    critic = nets.critic(noise.sub("critic"), spec, cfg.hidden)
    return State(
        Trained.new(vae, optimisers.adam(cfg.vae_lr)),
        Trained.new(actor, optimisers.adam(cfg.actor_lr)),
        Trained.new(critic, optimisers.adam(cfg.critic_lr)),
        Trained.new(jnp.log(cfg.initial_multiplier), optimisers.adam(cfg.multiplier_lr)),
        actor,
        critic,
    )


def actor_loss(
    actor: nets.Policy, critic: Any, alpha: Any, behaviour: jax.Array, eps: jax.Array, obs: jax.Array, cfg: Any
) -> tuple[jax.Array, Metrics]:
    """`behaviour` [n, B, A] are the VAE's actions before tanh, `eps` [n, B, A]; without a critic, the warm start's."""
    dist: Any = actor(obs).repeat(len(eps))  # a Gaussian
    raw = dist.mean + jnp.exp(dist.log_std) * eps
    mmd = divergences.mmd(behaviour, raw, cfg.kernel, cfg.sigma).mean()
    metrics = {"mmd": mmd, "std": jnp.exp(dist.log_std).mean()}
    if critic is None:
        return alpha * mmd, metrics
    q = critic(obs, jnp.tanh(raw[: cfg.q_samples])).mean(1)
    spread = 0.5 * jnp.abs(q[0] - q[1]).mean()  # the standard deviation of two
    q = (q.min(0) if cfg.aggregate == "min" else q.mean(0)).mean()
    return cfg.std_penalty * spread - q + alpha * mmd, {**metrics, "q": q, "spread": spread}


def multiplier_loss(log_alpha: jax.Array, mmd: jax.Array, threshold: Any) -> tuple[jax.Array, Metrics]:
    return -jnp.exp(log_alpha) * (mmd - threshold), {"value": jnp.exp(log_alpha)}


def dual_step(multiplier: Trained, lr: Any, mmd: jax.Array, threshold: Any) -> tuple[Trained, Metrics]:
    """Gradient ascent on alpha (MMD - epsilon); log alpha stays in [-5, 10]."""
    multiplier, metrics = multiplier.step(optimisers.adam(lr), multiplier_loss, mmd, threshold, name="multiplier")
    return multiplier.replace(jnp.clip(multiplier.net, -5, 10)), metrics


def update(
    cfg: BEAR, state: State, batch: Batch, noise: Noise, step: Step, warm: bool = False
) -> tuple[State, Metrics]:
    vae, m1 = vaes.fit(state.vae, cfg.vae_lr, batch, noise, cfg.kl_weight)

    (n, size), law = batch.action.shape, state.target_actor(batch.next_obs).repeat(cfg.candidates)
    next_action = law.sample(noise.normal("target_action", (cfg.candidates, n, size)))
    q = losses.mix(state.target_critic(batch.next_obs, next_action), cfg.mix).max(0)
    y = targets.td(batch, q, cfg.discount)
    critic, m2 = state.critic.step(optimisers.adam(cfg.critic_lr), critic_loss, y, batch, name="critic")

    behaviour, eps = matched(cfg, vae.net, batch, noise)
    eps = jnp.clip(eps, -0.5, 0.5)
    given = (None if warm else critic.net, jnp.exp(state.multiplier.net), behaviour, eps, batch.obs, cfg)
    actor, m3 = state.actor.step(optimisers.adam(cfg.actor_lr), actor_loss, *given, name="actor")
    multiplier, m4 = dual_step(state.multiplier, cfg.multiplier_lr, m3["actor/mmd"], cfg.threshold)
    target_actor, target_critic = ema((actor.net, critic.net), (state.target_actor, state.target_critic), cfg.polyak)
    state = State(vae, actor, critic, multiplier, target_actor, target_critic)
    return state, merge(m1, m2, m3, m4, {"target": y.mean()})


def matched(cfg: Any, vae: vaes.VAE, batch: Batch, noise: Noise) -> tuple[jax.Array, jax.Array]:
    """The two sides of the MMD, [n, B, A] each: decoded actions before tanh, and noise for the policy's."""
    latent = vaes.prior(noise, "vae_decode_latent", (cfg.match_samples, len(batch.reward), vae.latent))
    eps = noise.normal("actor_action", (cfg.match_samples, *batch.action.shape))
    return vae.raw(batch.obs, latent), eps


def act(cfg: Any, state: Any, seen: Seen, memory: Memory, noise: Noise, mode: Mode) -> tuple[jax.Array, Any]:
    law = state.actor.net(seen.obs)
    action = law.repeat(cfg.acting_candidates).sample(
        candidates.normals(noise, mode, cfg.acting_candidates, *law.mean.shape)
    )
    return candidates.best(nets.first(state.critic.net)(seen.obs, action)[0], action), memory


def phases_with(update: Any) -> Any:
    """`phases` of an algorithm whose `update` knows of a warm start."""

    def warm(cfg: Any, state: Any, batch: Batch, noise: Noise, step: Step) -> tuple[Any, Metrics]:
        return update(cfg, state, batch, noise, step, warm=True)

    return lambda cfg: (Phase("warm_start", steps=cfg.warm_start, update=warm), Phase())


AUTHORS = "authors' code, github.com/aviralkumar2907/BEAR, algos.py, settings of its readme"
RLKIT = "rlkit's D4RL runs as in d3rlpy's reproduction"
WHOLE: dict[str, Any] = {"warm_start": 40_000, "vae_hidden": (750, 750)}
MANY: dict[str, Any] = {"acting_candidates": 100}
FAST: dict[str, Any] = {"actor_lr": 1e-3, "critic_lr": 1e-3, "vae_lr": 1e-3, "hidden": (400, 300), "batch_size": 100}
MATCH: dict[str, Any] = {"sigma": 10.0, "match_samples": 5, "q_samples": 5}
PRESETS = {
    "small": Preset(
        BEAR(),
        SCALED,
        "ours: as mujoco, with normalised observations and scaled rewards; docs/algorithms/bear.md",
    ),
    "mujoco": Preset(BEAR(**MANY), Treatment(), RLKIT + ", with a shorter warm start and a smaller VAE"),
    "published": Preset(BEAR(**WHOLE | MANY), Treatment(), RLKIT),
    "halfcheetah": Preset(BEAR(**WHOLE | MANY, kernel="gaussian"), Treatment(), RLKIT + ", halfcheetah"),
    "authors": Preset(BEAR(**WHOLE | FAST | MATCH | {"warm_start": 100_000}), Treatment(), AUTHORS),
}

algorithm = Algorithm("bear", BEAR, init, update, act, PRESETS, phases=phases_with(update), check=check)
