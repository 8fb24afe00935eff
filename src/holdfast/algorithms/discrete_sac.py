"""SAC for discrete actions (Christodoulou 2019, arXiv:1910.07207; equation numbers are theirs), online or offline.

With a finite number of actions every expectation over the policy is a sum, so an update samples no action. Run offline
it is a baseline: nothing keeps its policy near the data.

Notation (paper = code): alpha = `temperature` (of which log alpha is learned); the target entropy H-bar is
`entropy_share` times its largest value, the log of the number of legal actions.
Order of an update: critics with the old temperature, temperature, actor with the new temperature and the new critics,
targets.
As in the author's code and not in the paper: the loss of the temperature is on log alpha (alpha in eq. 11); soft
targets at every update.
Not as in the author's code: gradients are not clipped (theirs at norm 5); weights start as PyTorch's (theirs Xavier's);
the sum over actions in the actor's loss is a sum (a mean in their code).
Ours: illegal actions have probability 0 in every sum.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from ..core.config import config, faults
from ..core.contract import DISCRETE, Algorithm, Context, Preset, Treatment
from ..core.noise import Noise
from ..core.spec import Batch, Scalar, Step
from ..core.trained import Metrics, Trained, merge
from ..core.tree import ema
from ..parts import nets, targets
from ..parts.acting import act, dist
from ..parts.critics import squared_error
from ..parts.distributions import Categorical
from .sac import State, finetune, online, optimisers_of


@config
class DiscreteSAC:
    discount: float = 0.99  # gamma
    n_step: int = 1  # steps of the return before it bootstraps; 1 in the paper
    polyak: float = 0.005  # rate at which the target critics follow
    initial_temperature: float = 1.0  # alpha before the first update
    entropy_share: float = 0.98  # H-bar as a share of log(number of legal actions); smaller is greedier
    actor_lr: float = 3e-4  # Adam
    critic_lr: float = 3e-4  # Adam
    temperature_lr: float = 3e-4  # Adam
    hidden: tuple[int, ...] = (64, 64)  # widths of the hidden layers of every network
    batch_size: int = 256  # rows per update; 64 in the paper
    warmup: int = 400  # online: environment steps with random actions before the first update; 20 000 in the paper
    update_ratio: int = 1  # online: updates per environment step; 1 per 4 steps in the paper


def check(cfg: DiscreteSAC) -> list[str]:
    shares = dict.fromkeys(("discount", "polyak", "entropy_share"), "in [0, 1]")
    return faults(
        cfg, n_step="positive", initial_temperature="positive", warmup="at least 0", update_ratio="positive", **shares
    )


def init(cfg: DiscreteSAC, ctx: Context, noise: Noise) -> State:
    tx = optimisers_of(cfg)
    actor = nets.categorical_policy(noise.sub("actor"), ctx.spec, cfg.hidden)
    critic = nets.critic(noise.sub("critic"), ctx.spec, cfg.hidden)
    log_alpha = jnp.log(cfg.initial_temperature)
    return State(
        Trained.new(actor, tx.actor), Trained.new(critic, tx.critic), critic, Trained.new(log_alpha, tx.temperature)
    )


def table(dist: Categorical) -> tuple[jax.Array, jax.Array]:
    """Probabilities and log-probabilities [..., A] of every action, both 0 for illegal actions."""
    log_prob = dist.log_probs()
    legal = jnp.isfinite(log_prob)
    return jnp.where(legal, jnp.exp(log_prob), 0), jnp.where(legal, log_prob, 0)


def soft_value(dist: Categorical, q: jax.Array, alpha: Scalar) -> jax.Array:
    """V(s) = sum over actions of pi (Q - alpha log pi), eq. 10: q [..., A] to [...]."""
    prob, log_prob = table(dist)
    return (prob * (q - alpha * log_prob)).sum(-1)


def temperature_loss(log_alpha: jax.Array, entropy: jax.Array, goal: jax.Array) -> tuple[jax.Array, Metrics]:
    """Moves the policy's entropy [B] towards `goal` [B], eq. 11 on log alpha."""
    return (log_alpha * (entropy - goal)).mean(), {"alpha": jnp.exp(log_alpha), "goal": goal.mean()}


def actor_loss(actor: nets.CategoricalPolicy, q: jax.Array, alpha: Scalar, batch: Batch) -> tuple[jax.Array, Metrics]:
    """Eq. 12, for the smaller of the critics' values [B, A]."""
    dist = actor(batch.obs).among(batch.mask)
    prob, log_prob = table(dist)
    metrics = {"entropy": -(prob * log_prob).sum(-1).mean(), "q": (prob * q).sum(-1).mean()}
    return -soft_value(dist, q, alpha).mean(), metrics


def update(cfg: DiscreteSAC, state: State, batch: Batch, noise: Noise, step: Step) -> tuple[State, Metrics]:
    tx = optimisers_of(cfg)
    next_dist = state.actor.net(batch.next_obs).among(batch.next_mask)
    next_q = state.target_critic.all(batch.next_obs).min(0)
    y = targets.td(batch, soft_value(next_dist, next_q, jnp.exp(state.temperature.net)), cfg.discount)
    critic, m1 = state.critic.step(tx.critic, squared_error, y, batch, name="critic")  # eq. 4

    prob, log_prob = table(state.actor.net(batch.obs).among(batch.mask))
    entropy = -(prob * log_prob).sum(-1)
    legal = jnp.full(y.shape, float(prob.shape[-1])) if batch.mask is None else batch.mask.sum(-1).astype(y.dtype)
    goal = cfg.entropy_share * jnp.log(legal)
    temperature, m2 = state.temperature.step(tx.temperature, temperature_loss, entropy, goal, name="temperature")
    q = critic.net.all(batch.obs).min(0)
    actor, m3 = state.actor.step(tx.actor, actor_loss, q, jnp.exp(temperature.net), batch, name="actor")
    return State(actor, critic, ema(critic.net, state.target_critic, cfg.polyak), temperature), merge(m1, m2, m3)


CODE = "author's code, github.com/p-christ/Deep-Reinforcement-Learning-Algorithms-with-PyTorch, results/Cart_Pole.py"
TUNED = DiscreteSAC(hidden=(256, 256), warmup=5_000)
PRESETS = {
    "cartpole": Preset(DiscreteSAC(), Treatment(), CODE),
    "tuned_100k": Preset(TUNED, Treatment(), "ours, the networks and the random steps of our SAC"),
}

algorithm = Algorithm(
    "discrete_sac",
    DiscreteSAC,
    init,
    update,
    act,
    PRESETS,
    needs=targets.n_step_rows,
    dist=dist,
    actions=DISCRETE,
    online=online,
    finetune=finetune,
    check=check,
    images=True,
)
