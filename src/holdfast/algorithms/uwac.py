"""UWAC, uncertainty weighted actor-critic (Wu, Zhai, Srivastava, Susskind, Zhang, Salakhutdinov, Goh 2021,
arXiv:2105.08140): BEAR whose critics have dropout, and whose losses weigh a row less the more Q varies under it.

Paper -> here: T passes, beta beta, w weight; the rest as in bear.py, whose MMD, dual variable and warm start are used.
Order: VAE; then critics (targets from the online policy), actor and alpha, all from critics and actor before the step.
As in the authors' code and not in the paper: the weight is exp(-beta Var) (`exp_weight`; else beta / Var, at most 1),
the variances of both critics are added, the largest over the candidates counts for a target, and the weight stands
inside the square (`squared_weight`); every layer of the critics is spectrally normalised. Unlike BEAR's, the policy's
noise is not clipped in the actor's loss.
Ours: with `passes` 0, the default, mean and variance under dropout are computed to first order in its noise instead of
drawn: variance p / (1 - p) sum over units of (h dQ/dh)^2, mean the pass without dropout. Many passes tend to that where
Q is nearly linear in the noise; it costs two. With passes, a mask is shared by all rows (`shared_masks`): each row
still sees T independent ones. Acting takes Q without dropout. One power iteration an update, whose directions serve
the target critics too. Initial weights are PyTorch's. Warm start, VAE and acting noise as in bear.py.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from ..core.config import config, faults, static
from ..core.contract import SCALED, Algorithm, Context, Preset, Treatment
from ..core.noise import Noise
from ..core.spec import Batch, Memory, Mode, Seen, Step
from ..core.trained import Metrics, Trained, merge
from ..core.tree import PyTree, ema
from ..parts import candidates, divergences, layers, losses, nets, optimisers, spectral, targets
from ..parts import vae as vaes
from .bear import dual_step, matched, phases_with


@config
class UWAC:
    beta: float = 0.5  # how fast the weight falls with the variance of Q
    exp_weight: bool = True  # weight exp(-beta Var), authors' code; False: beta / Var, at most 1, the paper
    squared_weight: bool = True  # the weight inside the critics' square, authors' code; False: outside, the paper
    dropout: float = static(default=0.1)  # rate after each hidden layer of the critics
    passes: int = 0  # T: stochastic passes behind mean and variance, published 100; 0: to first order, without drawing
    shared_masks: bool = True  # one mask a pass for all rows; False: one for each, authors' code
    spectral_norm: bool = True  # every layer of the critics divided by its largest singular value
    threshold: float = 0.07  # epsilon: the MMD that is allowed
    kernel: str = "gaussian"  # of the MMD: laplacian or gaussian
    sigma: float = 20.0  # width of the kernel
    match_samples: int = 4  # actions a state of policy and VAE in the MMD
    warm_start: int = 5_000  # updates in which the actor only matches the data; published 40 000
    candidates: int = 10  # actions a next state in the target
    acting_candidates: int = 100  # actions to choose from when acting
    mix: float = 0.75  # lambda: weight of the smaller critic in the target, the rest goes to the larger
    kl_weight: float = 0.5  # weight of the KL term in the VAE's loss (a mean over latents)
    initial_multiplier: float = 1.0  # alpha before the first update
    discount: float = 0.99  # gamma
    polyak: float = 0.005  # rate at which the target critics follow
    actor_lr: float = 1e-4  # Adam
    critic_lr: float = 3e-4  # Adam
    vae_lr: float = 3e-4  # Adam
    multiplier_lr: float = 1e-3  # Adam, log alpha
    hidden: tuple[int, ...] = (256, 256)  # widths of the hidden layers of actor and critics
    vae_hidden: tuple[int, ...] = (256, 256)  # widths of the hidden layers of the VAE; published 750, 750
    batch_size: int = 256  # rows an update


class State(PyTree):
    vae: Trained
    actor: Trained
    critic: Trained
    multiplier: Trained  # of log alpha
    target_critic: nets.Critic
    directions: spectral.Directions  # of the power iteration, [E, out] a layer; () without spectral norm


def check(cfg: UWAC) -> list[str]:
    counts = ("match_samples", "warm_start", "candidates", "acting_candidates", "vae_hidden")
    rules = dict.fromkeys((*counts, "beta", "sigma", "initial_multiplier"), "positive")
    rules |= dict.fromkeys(("threshold", "kl_weight", "passes"), "at least 0")
    rules |= dict.fromkeys(("mix", "discount", "polyak"), "in [0, 1]")
    found = faults(cfg, kernel="laplacian|gaussian", dropout="in (0, 1)", **rules)
    if cfg.passes == 1:
        found.append("passes is 1, expected 0 or at least 2: one pass has no variance")
    return found


def init(cfg: UWAC, ctx: Context, noise: Noise) -> State:
    spec = ctx.spec
    vae = vaes.vae(noise.sub("vae"), spec, cfg.vae_hidden, 2 * spec.action)
    actor = nets.policy(noise.sub("actor"), spec, cfg.hidden, "heads", low=-5.0, high=2.0, squash="tanh")
    critic = nets.critic(noise.sub("critic"), spec, cfg.hidden)
    return State(
        Trained.new(vae, optimisers.adam(cfg.vae_lr)),
        Trained.new(actor, optimisers.adam(cfg.actor_lr)),
        Trained.new(critic, optimisers.adam(cfg.critic_lr)),
        Trained.new(jnp.log(cfg.initial_multiplier), optimisers.adam(cfg.multiplier_lr)),
        critic,
        spectral.directions(noise.sub("directions"), critic.nets) if cfg.spectral_norm else (),
    )


def smooth(critic: nets.Critic, directions: spectral.Directions) -> tuple[nets.Critic, spectral.Directions]:
    """The critics with every layer's largest singular value brought to 1, where there are directions."""
    if not directions:
        return critic, directions
    ensemble, directions = jax.vmap(spectral.normalise)(critic.nets, directions)
    return nets.Critic(ensemble), directions


def masks(cfg: UWAC, noise: Noise, name: str, rows: tuple[int, ...]) -> tuple[jax.Array, ...]:
    """Dropout's factors for `passes` passes of two critics over `rows`: [T, 2, *rows, width] a layer; () without."""
    if not cfg.passes:
        return ()
    lead = (cfg.passes, 2, *((1,) * len(rows) if cfg.shared_masks else rows))
    keep = layers.dropout(noise, name, cfg.dropout, lead, cfg.hidden)
    return tuple(jnp.broadcast_to(k, (cfg.passes, 2, *rows, k.shape[-1])) for k in keep)


def moments(critic: nets.Critic, obs: jax.Array, action: jax.Array, keep: Any, cfg: UWAC) -> tuple[Any, Any]:
    """Mean and variance of each critic under dropout, [E, ...] each: over drawn passes, or to first order."""
    if keep:  # some passes at a time share the first layer
        q = jax.lax.map(lambda k: critic(obs, action, k), keep, batch_size=8)
        return q.mean(0), q.var(0, ddof=1)
    ones = tuple(jnp.ones((2, *action.shape[:-1], width), action.dtype) for width in cfg.hidden)
    q, pull = jax.vjp(lambda k: critic(obs, action, k), ones)  # dQ/dk = h dQ/dh
    slopes = sum(jnp.square(g).sum(-1) for g in pull(jnp.ones_like(q))[0])
    return q, cfg.dropout / (1 - cfg.dropout) * slopes


def certainty(cfg: UWAC, variance: jax.Array) -> jax.Array:
    """w: the weight of a row, in [0, 1]."""
    return jnp.exp(-cfg.beta * variance) if cfg.exp_weight else jnp.minimum(cfg.beta / variance, 1)


def critic_loss(
    critic: nets.Critic, directions: Any, y: Any, weight: Any, keep: Any, batch: Batch, square: bool
) -> Any:
    q = smooth(critic, directions)[0](batch.obs, batch.action, keep)
    weight = jnp.square(weight) if square else weight
    return (weight[None] * jnp.square(q - y[None])).mean(1).sum(), {"q": q.mean()}


def actor_loss(
    actor: nets.Policy, critic: Any, alpha: Any, behaviour: Any, eps: Any, keep: Any, obs: jax.Array, cfg: UWAC
) -> tuple[jax.Array, Metrics]:
    """As BEAR's, Q times its weight; without a critic, the warm start's."""
    dist: Any = actor(obs).repeat(len(eps))  # a Gaussian
    raw = dist.mean + jnp.exp(dist.log_std) * eps
    mmd = divergences.mmd(behaviour, raw, cfg.kernel, cfg.sigma).mean()
    price = alpha * (mmd - cfg.threshold)
    if critic is None:
        return price, {"mmd": mmd}
    q, variance = moments(critic, obs, jnp.tanh(raw[0]), keep, cfg)
    weight = jax.lax.stop_gradient(certainty(cfg, variance.sum(0)))
    return price - (q.min(0) * weight).mean(), {"mmd": mmd, "q": q.mean(), "weight": weight.mean()}


def update(
    cfg: UWAC, state: State, batch: Batch, noise: Noise, step: Step, warm: bool = False
) -> tuple[State, Metrics]:
    vae, m1 = vaes.fit(state.vae, cfg.vae_lr, batch, noise, cfg.kl_weight)
    critic, directions = smooth(state.critic.net, state.directions)

    (n, size), count = batch.action.shape, cfg.candidates
    eps = noise.normal("target_action", (count, n, size))
    next_action = state.actor.net(batch.next_obs).repeat(count).sample(eps)
    keep = masks(cfg, noise, "target_dropout", (count, n))
    q, variance = moments(smooth(state.target_critic, state.directions)[0], batch.next_obs, next_action, keep, cfg)
    y = targets.td(batch, losses.mix(q, cfg.mix).max(0), cfg.discount)
    variance = variance.sum(0).max(0)
    weight = certainty(cfg, variance)
    keep = layers.dropout(noise, "data_dropout", cfg.dropout, (2, n), cfg.hidden)
    row = (state.directions, y, weight, keep, batch, cfg.squared_weight)
    new_critic, m2 = state.critic.step(optimisers.adam(cfg.critic_lr), critic_loss, *row, name="critic")

    behaviour, eps = matched(cfg, vae.net, batch, noise)
    keep = () if warm else masks(cfg, noise, "policy_dropout", (n,))
    given = (None if warm else critic, jnp.exp(state.multiplier.net), behaviour, eps, keep, batch.obs, cfg)
    actor, m3 = state.actor.step(optimisers.adam(cfg.actor_lr), actor_loss, *given, name="actor")
    multiplier, m4 = dual_step(state.multiplier, cfg.multiplier_lr, m3["actor/mmd"], cfg.threshold)
    target_critic = ema(new_critic.net, state.target_critic, cfg.polyak)
    found = {"target": y.mean(), "variance": variance.mean(), "weight": weight.mean()}
    return State(vae, actor, new_critic, multiplier, target_critic, directions), merge(m1, m2, m3, m4, found)


def act(cfg: UWAC, state: State, seen: Seen, memory: Memory, noise: Noise, mode: Mode) -> tuple[jax.Array, Any]:
    law, count = state.actor.net(seen.obs), cfg.acting_candidates
    action = law.repeat(count).sample(candidates.normals(noise, mode, count, *law.mean.shape))
    critic = smooth(state.critic.net, state.directions)[0]
    return candidates.best(nets.first(critic)(seen.obs, action)[0], action), memory


def value(cfg: UWAC, state: State, obs: jax.Array, action: jax.Array) -> jax.Array:
    """Q without dropout, the smaller of the two."""
    return smooth(state.critic.net, state.directions)[0](obs, action).min(0)


CODE = "authors' code, github.com/apple/ml-uwac, examples/UWAC_hdf5_d4rl.py"
PRESETS = {
    "small": Preset(
        UWAC(),
        SCALED._replace(return_scale=100.0),
        "ours: as mujoco, with normalised observations and small rewards; docs/algorithms/uwac.md",
    ),
    "mujoco": Preset(UWAC(), Treatment(), CODE + ", but for variance to first order, warm start, size of the VAE"),
    "published": Preset(
        UWAC(passes=100, warm_start=40_000, vae_hidden=(750, 750)), Treatment(), CODE + ", but for shared masks"
    ),
}

algorithm = Algorithm("uwac", UWAC, init, update, act, PRESETS, value=value, phases=phases_with(update), check=check)
