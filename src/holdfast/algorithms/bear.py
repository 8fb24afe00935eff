"""BEAR, bootstrapping error accumulation reduction (Kumar, Fu, Tucker, Levine 2019, arXiv:1906.00949).

The actor maximises Q while the maximum mean discrepancy (MMD) between its actions and those of a behaviour model (a
VAE) stays below a threshold, enforced by a dual variable. With few samples the MMD matches supports, not densities.

Notation (paper = code): epsilon = `threshold`; alpha = `multiplier` (learned as a logarithm); n = `match_samples`;
lambda = `mix`; p = `candidates`.
Two phases: "warm_start", in which the actor only lowers alpha MMD, then the run.
Order of an update: VAE; critics (the target critics are mixed first, then the maximum over actions of the target policy
is taken); actor, with the new decoder and critics; alpha, by ascent on alpha (MMD - epsilon) with the MMD from before
the actor's step; targets.
As in the authors' code: the MMD is of actions before tanh, its means include a sample with itself, sigma is not
squared, and a root is taken; the noise of the policy is clipped to +-.5 in the actor's loss; log alpha stays in
[-5, 10]. The defaults are those of rlkit's D4RL runs (Q of one sample, log alpha from 0) as d3rlpy reproduces them.
Ours: the log standard deviation of the policy is clipped to [-20, 2]; in mode "best" the candidates come from the same
noise in every state, so that the policy is a function; a shorter warm start and a smaller VAE (preset `tuned_100k`).
"""

from __future__ import annotations

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
from ..parts import candidates, losses, matching, nets, optimisers, targets
from ..parts import vae as vaes
from ..parts.critics import squared_error
from ..parts.settings import MatchingRates


@config
class BEAR:
    threshold: float = 0.05  # epsilon: the MMD that is allowed
    kernel: str = "laplacian"  # laplacian or gaussian; gaussian on halfcheetah
    sigma: float = 20.0  # width of the kernel; 10 with the laplacian in the authors' readme
    match_samples: int = 4  # n: actions per state of policy and VAE in the MMD; 5 in the readme
    q_samples: int = 1  # how many of these enter the actor's Q; rlkit 1, the authors all
    aggregate: str = "min"  # over critics in the actor's loss: min (the authors' version 0) or mean (version 2)
    std_penalty: float = static(default=0.0)  # weight of the critics' deviation in the actor's loss; off in the readme
    warm_start: int = 40_000  # updates in which the actor only matches the data
    candidates: int = 10  # p: actions per next state in the target
    acting_candidates: int = 100  # actions to choose from when acting; the authors 10
    mix: float = 0.75  # lambda: weight of the smaller critic in the target, the rest is for the larger
    kl_weight: float = 0.5  # weight of the KL term in the VAE's loss (a mean over latents), authors' code
    initial_multiplier: float = 1.0  # alpha before the first update
    discount: float = 0.99  # gamma
    n_step: int = 1  # steps of the return before it bootstraps; 1 in the paper
    polyak: float = 0.005  # tau: rate at which the targets follow
    actor_lr: float = 1e-4  # Adam; the authors 1e-3
    critic_lr: float = 3e-4  # Adam; the authors 1e-3
    vae_lr: float = 3e-4  # Adam; the authors 1e-3
    multiplier_lr: float = 1e-3  # Adam, log alpha
    hidden: tuple[int, ...] = (256, 256)  # widths of the hidden layers of actor and critics; the authors 400, 300
    vae_hidden: tuple[int, ...] = (750, 750)  # widths of the hidden layers of the VAE
    batch_size: int = 256  # rows per update; the authors 100


class State(PyTree):
    vae: Trained
    actor: Trained
    critic: Trained
    multiplier: Trained  # of log alpha
    target_actor: nets.Policy
    target_critic: nets.Critic


class Optimisers(NamedTuple):
    vae: optax.GradientTransformation
    actor: optax.GradientTransformation
    critic: optax.GradientTransformation
    multiplier: optax.GradientTransformation


def check(cfg: BEAR) -> list[str]:
    counts = ("match_samples", "q_samples", "warm_start", "candidates", "acting_candidates", "vae_hidden")
    rules = dict.fromkeys((*counts, "sigma", "initial_multiplier"), "positive")
    rules |= dict.fromkeys(("threshold", "std_penalty", "kl_weight"), "at least 0")
    rules |= dict.fromkeys(("mix", "discount", "polyak"), "in [0, 1]")
    found = faults(cfg, n_step="positive", kernel="laplacian|gaussian", aggregate="min|mean", **rules)
    if cfg.q_samples > cfg.match_samples:
        found.append(f"q_samples is {cfg.q_samples!r}, expected at most match_samples ({cfg.match_samples!r})")
    return found


def optimisers_of(cfg: MatchingRates) -> Optimisers:
    return optimisers.by_name(Optimisers, cfg)


def init(cfg: BEAR, ctx: Context, noise: Noise) -> State:
    tx = optimisers_of(cfg)
    spec = ctx.spec
    vae = vaes.vae(noise.sub("vae"), spec, cfg.vae_hidden, 2 * spec.action)
    actor = nets.gaussian_heads_policy(noise.sub("actor"), spec, cfg.hidden, low=-20.0, high=2.0, squash="tanh")
    critic = nets.critic(noise.sub("critic"), spec, cfg.hidden)
    return State(
        Trained.new(vae, tx.vae),
        Trained.new(actor, tx.actor),
        Trained.new(critic, tx.critic),
        Trained.new(jnp.log(cfg.initial_multiplier), tx.multiplier),
        actor,
        critic,
    )


def actor_loss(
    actor: nets.Policy, critic: nets.Critic | None, alpha: Scalar, sides: matching.Sides, obs: jax.Array, cfg: BEAR
) -> tuple[jax.Array, Metrics]:
    """Minus Q plus alpha MMD; without a critic, the loss of the warm start."""
    mmd, raw, std = matching.distance(actor, obs, sides, cfg.kernel, cfg.sigma)
    metrics = {"mmd": mmd, "std": std}
    if critic is None:
        return alpha * mmd, metrics
    q = critic(obs, jnp.tanh(raw[: cfg.q_samples])).mean(1)
    spread = 0.5 * jnp.abs(q[0] - q[1]).mean()  # the standard deviation of two numbers
    q = (q.min(0) if cfg.aggregate == "min" else q.mean(0)).mean()
    return cfg.std_penalty * spread - q + alpha * mmd, {**metrics, "q": q, "spread": spread}


def update(
    cfg: BEAR, state: State, batch: Batch, noise: Noise, step: Step, warm: bool = False
) -> tuple[State, Metrics]:
    tx = optimisers_of(cfg)
    vae, m1 = vaes.fit(state.vae, cfg.vae_lr, batch, noise, cfg.kl_weight)

    next_policy = state.target_actor(batch.next_obs).repeat(cfg.candidates)
    next_action = next_policy.sample(noise.normal("target_action", (cfg.candidates, *batch.action.shape)))
    q = losses.mix(state.target_critic(batch.next_obs, next_action), cfg.mix).max(0)
    y = targets.td(batch, q, cfg.discount)
    critic, m2 = state.critic.step(tx.critic, squared_error, y, batch, name="critic")

    decoded, eps = matching.pairs(cfg.match_samples, vae.net, batch, noise)
    alpha = jnp.exp(state.multiplier.net)
    sides = (decoded, jnp.clip(eps, -0.5, 0.5))
    given = (None if warm else critic.net, alpha, sides, batch.obs, cfg)
    actor, m3 = state.actor.step(tx.actor, actor_loss, *given, name="actor")
    multiplier, m4 = matching.dual_step(state.multiplier, cfg.multiplier_lr, m3["actor/mmd"], cfg.threshold)
    target_actor, target_critic = ema((actor.net, critic.net), (state.target_actor, state.target_critic), cfg.polyak)
    state = State(vae, actor, critic, multiplier, target_actor, target_critic)
    return state, merge(m1, m2, m3, m4, {"target": y.mean()})


def warm_update(cfg: BEAR, state: State, batch: Batch, noise: Noise, step: Step) -> tuple[State, Metrics]:
    """The update of phase "warm_start"."""
    return update(cfg, state, batch, noise, step, warm=True)


def act(cfg: BEAR, state: State, seen: Seen, memory: Memory, noise: Noise, mode: Mode) -> tuple[jax.Array, Memory]:
    policy = state.actor.net(seen.obs)
    n = cfg.acting_candidates
    return candidates.best_of(policy, state.critic.net, seen.obs, n, noise, mode), memory


def phases(cfg: BEAR) -> tuple[Phase, ...]:
    return Phase("warm_start", steps=cfg.warm_start, update=warm_update), Phase()


AUTHORS = BEAR(
    sigma=10.0,
    match_samples=5,
    q_samples=5,
    warm_start=20_000,
    acting_candidates=10,
    actor_lr=1e-3,
    critic_lr=1e-3,
    vae_lr=1e-3,
    hidden=(400, 300),
    batch_size=100,
)
D3RLPY = "rlkit's D4RL runs as in d3rlpy 2.8.1, reproductions/offline/bear.py, d3rlpy/algos/qlearning/bear.py"
PRESETS = {
    "mujoco": Preset(BEAR(), Treatment(), D3RLPY),
    "halfcheetah": Preset(BEAR(kernel="gaussian"), Treatment(), D3RLPY + ", halfcheetah"),
    "authors": Preset(AUTHORS, Treatment(), "authors' code, github.com/aviralkumar2907/BEAR, readme.md for Hopper"),
    "tuned_100k": Preset(
        BEAR(warm_start=5_000, acting_candidates=10, vae_hidden=(256, 256)),
        SCALED,
        "ours, shorter warm start, smaller VAE, scaled data for logs of 100,000 steps: docs/algorithms/bear.md",
    ),
}

algorithm = Algorithm("bear", BEAR, init, update, act, PRESETS, needs=targets.n_step_rows, phases=phases, check=check)
