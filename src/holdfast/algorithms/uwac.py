"""UWAC, uncertainty weighted actor-critic (Wu, Zhai, Srivastava et al. 2021, arXiv:2105.08140).

BEAR whose critics have dropout, and whose losses weigh a row less the more Q varies under dropout.

Notation (paper = code): T = `passes`; beta = `beta`; w = `weight`; the rest as in `bear`.
Order of an update: VAE; then critics (targets from the online policy), actor and alpha, all with critics and actor from
before the update.
As in the authors' code and not in the paper: the weight is exp(-beta Var) (`exp_weight`; else beta / Var, at most 1);
the variances of both critics are added; the largest over the candidates is used for a target; the weight is inside the
square (`squared_weight`); every layer of the critics is spectrally normalised. Unlike in BEAR, the noise of the policy
is not clipped in the actor's loss.
Ours: `passes` 0 computes mean and variance to first order, see `parts.dropout_moments`, at the cost of two passes;
`shared_masks` gives all rows the same T masks; acting uses Q without dropout; there is one power iteration per update,
and its directions serve the target critics too. Warm start, VAE and acting noise as in `bear`.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from ..core.config import config, faults, static
from ..core.contract import SCALED, Algorithm, Context, Phase, Preset, Treatment
from ..core.noise import Noise
from ..core.spec import Batch, Memory, Mode, Scalar, Seen, Step
from ..core.trained import Metrics, Trained, merge
from ..core.tree import PyTree, ema
from ..parts import candidates, layers, losses, matching, nets, spectral, targets
from ..parts import vae as vaes
from ..parts.dropout_moments import Keep, masks, moments
from ..parts.matching import Sides
from .bear import optimisers_of


@config
class UWAC:
    beta: float = 0.5  # how fast the weight falls with the variance of Q
    exp_weight: bool = True  # weight exp(-beta Var), authors' code; False: beta / Var, at most 1, the paper
    squared_weight: bool = True  # the weight inside the critics' square, authors' code; False: outside, the paper
    dropout: float = static(default=0.1)  # rate after each hidden layer of the critics
    passes: int = 100  # T: stochastic passes behind mean and variance; 0: to first order, without drawing
    shared_masks: bool = False  # one mask per pass for all rows; False: one for each row, authors' code
    spectral_norm: bool = True  # every layer of the critics divided by its largest singular value
    threshold: float = 0.07  # epsilon: the MMD that is allowed
    kernel: str = "gaussian"  # of the MMD: laplacian or gaussian
    sigma: float = 20.0  # width of the kernel
    match_samples: int = 4  # actions per state of policy and VAE in the MMD
    warm_start: int = 40_000  # updates in which the actor only matches the data
    candidates: int = 10  # actions per next state in the target
    acting_candidates: int = 100  # actions to choose from when acting
    mix: float = 0.75  # lambda: weight of the smaller critic in the target, the rest is for the larger
    kl_weight: float = 0.5  # weight of the KL term in the VAE's loss (a mean over latents)
    initial_multiplier: float = 1.0  # alpha before the first update
    discount: float = 0.99  # gamma
    n_step: int = 1  # steps of the return before it bootstraps; 1 in the paper
    polyak: float = 0.005  # rate at which the target critics follow
    actor_lr: float = 1e-4  # Adam
    critic_lr: float = 3e-4  # Adam
    vae_lr: float = 3e-4  # Adam
    multiplier_lr: float = 1e-3  # Adam, log alpha
    hidden: tuple[int, ...] = (256, 256)  # widths of the hidden layers of actor and critics
    vae_hidden: tuple[int, ...] = (750, 750)  # widths of the hidden layers of the VAE
    batch_size: int = 256  # rows per update


class State(PyTree):
    vae: Trained
    actor: Trained
    critic: Trained
    multiplier: Trained  # of log alpha
    target_critic: nets.Critic
    directions: spectral.Directions  # of the power iteration, [E, out] per layer; () without spectral norm


def check(cfg: UWAC) -> list[str]:
    counts = ("match_samples", "warm_start", "candidates", "acting_candidates", "vae_hidden")
    rules = dict.fromkeys((*counts, "beta", "sigma", "initial_multiplier"), "positive")
    rules |= dict.fromkeys(("threshold", "kl_weight", "passes"), "at least 0")
    rules |= dict.fromkeys(("mix", "discount", "polyak"), "in [0, 1]")
    found = faults(cfg, n_step="positive", kernel="laplacian|gaussian", dropout="in (0, 1)", **rules)
    if cfg.passes == 1:
        found.append("passes is 1, expected 0 or at least 2: one pass has no variance")
    return found


def init(cfg: UWAC, ctx: Context, noise: Noise) -> State:
    tx = optimisers_of(cfg)
    spec = ctx.spec
    vae = vaes.vae(noise.sub("vae"), spec, cfg.vae_hidden, 2 * spec.action)
    actor = nets.gaussian_heads_policy(noise.sub("actor"), spec, cfg.hidden, low=-5.0, high=2.0, squash="tanh")
    critic = nets.critic(noise.sub("critic"), spec, cfg.hidden)
    multiplier = Trained.new(jnp.log(cfg.initial_multiplier), tx.multiplier)
    directions = spectral.directions(noise.sub("directions"), spectral.layers_of(critic)) if cfg.spectral_norm else ()
    trained = (Trained.new(vae, tx.vae), Trained.new(actor, tx.actor), Trained.new(critic, tx.critic))
    return State(*trained, multiplier, critic, directions)


def certainty(cfg: UWAC, variance: jax.Array) -> jax.Array:
    """w: the weight of a row, in [0, 1]."""
    return jnp.exp(-cfg.beta * variance) if cfg.exp_weight else jnp.minimum(cfg.beta / variance, 1)


def hidden_of(critic: nets.Critic) -> tuple[int, ...]:
    """Widths of the hidden layers of the critics, which have dropout."""
    return nets.mlp_of(critic.nets, "dropout").widths


def critic_loss(
    critic: nets.Critic, directions: spectral.Directions, y: jax.Array, weight: jax.Array, keep: Keep, batch: Batch
) -> tuple[jax.Array, Metrics]:
    """Squared error to `y` [B] with weights [B], summed over the critics."""
    q = spectral.smooth(critic, directions)[0](batch.obs, batch.action, keep)
    return (weight[None] * jnp.square(q - y[None])).mean(1).sum(), {"q": q.mean()}


def actor_loss(
    actor: nets.Policy, critic: nets.Critic | None, alpha: Scalar, sides: Sides, keep: Keep, obs: jax.Array, cfg: UWAC
) -> tuple[jax.Array, Metrics]:
    """As in BEAR, with Q times its weight; without a critic, the loss of the warm start."""
    mmd, raw, _ = matching.distance(actor, obs, sides, cfg.kernel, cfg.sigma)
    price = alpha * (mmd - cfg.threshold)
    if critic is None:
        return price, {"mmd": mmd}
    q, variance = moments(critic, obs, jnp.tanh(raw[0]), keep, cfg.dropout, hidden_of(critic))
    weight = jax.lax.stop_gradient(certainty(cfg, variance.sum(0)))
    return price - (q.min(0) * weight).mean(), {"mmd": mmd, "q": q.mean(), "weight": weight.mean()}


def update(
    cfg: UWAC, state: State, batch: Batch, noise: Noise, step: Step, warm: bool = False
) -> tuple[State, Metrics]:
    tx = optimisers_of(cfg)
    rows = len(batch.reward)
    hidden = hidden_of(state.critic.net)
    dropped = (cfg.dropout, cfg.passes, hidden, cfg.shared_masks)
    vae, m1 = vaes.fit(state.vae, cfg.vae_lr, batch, noise, cfg.kl_weight)
    critic, directions = spectral.smooth(state.critic.net, state.directions)
    target_critic, _ = spectral.smooth(state.target_critic, state.directions)

    next_eps = noise.normal("target_action", (cfg.candidates, *batch.action.shape))
    next_action = state.actor.net(batch.next_obs).repeat(cfg.candidates).sample(next_eps)
    keep = masks(noise, "target_dropout", (cfg.candidates, rows), *dropped)
    q, variance = moments(target_critic, batch.next_obs, next_action, keep, cfg.dropout, hidden)
    y = targets.td(batch, losses.mix(q, cfg.mix).max(0), cfg.discount)
    variance = variance.sum(0).max(0)
    weight = certainty(cfg, variance)
    keep = layers.dropout(noise, "data_dropout", cfg.dropout, (2, rows), hidden)
    given = (state.directions, y, jnp.square(weight) if cfg.squared_weight else weight, keep, batch)
    new_critic, m2 = state.critic.step(tx.critic, critic_loss, *given, name="critic")

    sides = matching.pairs(cfg.match_samples, vae.net, batch, noise)
    keep = () if warm else masks(noise, "policy_dropout", (rows,), *dropped)
    alpha = jnp.exp(state.multiplier.net)
    judged = (None if warm else critic, alpha, sides, keep, batch.obs, cfg)
    actor, m3 = state.actor.step(tx.actor, actor_loss, *judged, name="actor")
    multiplier, m4 = matching.dual_step(state.multiplier, cfg.multiplier_lr, m3["actor/mmd"], cfg.threshold)
    new_target = ema(new_critic.net, state.target_critic, cfg.polyak)
    metrics = {"target": y.mean(), "variance": variance.mean(), "weight": weight.mean()}
    return State(vae, actor, new_critic, multiplier, new_target, directions), merge(m1, m2, m3, m4, metrics)


def warm_update(cfg: UWAC, state: State, batch: Batch, noise: Noise, step: Step) -> tuple[State, Metrics]:
    """The update of phase "warm_start"."""
    return update(cfg, state, batch, noise, step, warm=True)


def act(cfg: UWAC, state: State, seen: Seen, memory: Memory, noise: Noise, mode: Mode) -> tuple[jax.Array, Memory]:
    policy = state.actor.net(seen.obs)
    critic, _ = spectral.smooth(state.critic.net, state.directions)
    return candidates.best_of(policy, critic, seen.obs, cfg.acting_candidates, noise, mode), memory


def value(cfg: UWAC, state: State, obs: jax.Array, action: jax.Array) -> jax.Array:
    """The smaller Q, without dropout."""
    return spectral.smooth(state.critic.net, state.directions)[0](obs, action).min(0)


def phases(cfg: UWAC) -> tuple[Phase, ...]:
    return Phase("warm_start", steps=cfg.warm_start, update=warm_update), Phase()


PRESETS = {
    "mujoco": Preset(
        UWAC(), Treatment(), "authors' code, github.com/apple/ml-uwac, examples/UWAC_hdf5_d4rl.py, uwac_dropout.py"
    ),
    "tuned_100k": Preset(
        UWAC(passes=0, shared_masks=True, warm_start=5_000, vae_hidden=(256, 256)),
        SCALED._replace(return_scale=100.0),
        "ours, variance to first order, shorter warm start, small rewards: docs/algorithms/uwac.md",
    ),
}

algorithm = Algorithm(
    "uwac", UWAC, init, update, act, PRESETS, needs=targets.n_step_rows, value=value, phases=phases, check=check
)
