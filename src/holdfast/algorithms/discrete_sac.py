"""SAC for discrete actions (Christodoulou 2019, arXiv:1910.07207; equation numbers are theirs), online or offline.

With a finite number of actions every expectation over the policy is a sum: no action is sampled in an update. Run
offline it is a baseline: nothing keeps its policy near the data.

Paper -> here: alpha temperature; the entropy to hold, H, is entropy_share times its largest value, the log of the
number of legal actions (0.98 in the author's code). Illegal actions have probability 0 in every sum.
Order: critics with the old temperature, temperature, actor with the new temperature and critics, targets.
As in most codes and not in the paper: the temperature's loss is on log alpha (alpha in eq. 11), and the targets move a
little at every update. The paper's networks are Atari's; here they are SAC's.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from ..core.config import config, faults
from ..core.contract import Algorithm, Context, Preset, Treatment
from ..core.noise import Noise
from ..core.spec import Batch, Step
from ..core.trained import Metrics, Trained, merge
from ..core.tree import ema
from ..parts import nets, optimisers, targets
from ..parts.distributions import Categorical
from .sac import State, act, critic_loss, dist, finetune, online


@config
class DiscreteSAC:
    discount: float = 0.99  # gamma
    polyak: float = 0.005  # rate at which the target critics follow
    initial_temperature: float = 1.0  # alpha before the first update
    entropy_share: float = 0.98  # H as a share of log(number of legal actions), author's code; smaller is greedier
    actor_lr: float = 3e-4  # Adam, table 2
    critic_lr: float = 3e-4  # Adam, table 2
    temperature_lr: float = 3e-4  # Adam, table 2
    hidden: tuple[int, ...] = (256, 256)  # widths of the hidden layers of every network
    batch_size: int = 256  # rows an update; 64 in the paper
    warmup: int = 5_000  # online: environment steps with random actions before the first update; 20 000 in the paper
    update_ratio: int = 1  # online: updates an environment step; 1 to 4 steps in the paper


def check(cfg: DiscreteSAC) -> list[str]:
    shares = dict.fromkeys(("discount", "polyak", "entropy_share"), "in [0, 1]")
    return faults(cfg, initial_temperature="positive", warmup="at least 0", update_ratio="positive", **shares)


def init(cfg: DiscreteSAC, ctx: Context, noise: Noise) -> State:
    actor = nets.policy(noise.sub("actor"), ctx.spec, cfg.hidden, "heads")
    critic = nets.critic(noise.sub("critic"), ctx.spec, cfg.hidden)
    return State(
        Trained.new(actor, optimisers.adam(cfg.actor_lr)),
        Trained.new(critic, optimisers.adam(cfg.critic_lr)),
        critic,
        Trained.new(jnp.log(cfg.initial_temperature), optimisers.adam(cfg.temperature_lr)),
    )


def table(law: Categorical) -> tuple[jax.Array, jax.Array]:
    """Probabilities and log-probabilities [..., A] of every action, both 0 for illegal ones."""
    log_prob = law.log_probs()
    legal = jnp.isfinite(log_prob)
    return jnp.where(legal, jnp.exp(log_prob), 0), jnp.where(legal, log_prob, 0)


def soft_value(law: Categorical, q: jax.Array, alpha: Any) -> jax.Array:
    """V(s) = sum over actions of pi (Q - alpha log pi), eq. 10: q [..., A] to [...]."""
    prob, log_prob = table(law)
    return (prob * (q - alpha * log_prob)).sum(-1)


def temperature_loss(log_alpha: jax.Array, entropy: jax.Array, goal: jax.Array) -> tuple[jax.Array, Metrics]:
    """Pulls the policy's entropy [B] towards `goal` [B], eq. 11 on log alpha."""
    return (log_alpha * (entropy - goal)).mean(), {"alpha": jnp.exp(log_alpha), "goal": goal.mean()}


def actor_loss(actor: nets.CategoricalPolicy, q: jax.Array, alpha: Any, batch: Batch) -> tuple[jax.Array, Metrics]:
    law = actor(batch.obs).among(batch.mask)
    prob, log_prob = table(law)
    found = {"entropy": -(prob * log_prob).sum(-1).mean(), "q": (prob * q).sum(-1).mean()}
    return -soft_value(law, q, alpha).mean(), found


def update(cfg: DiscreteSAC, state: State, batch: Batch, noise: Noise, step: Step) -> tuple[State, Metrics]:
    alpha, next_law = jnp.exp(state.temperature.net), state.actor.net(batch.next_obs).among(batch.next_mask)
    y = targets.td(batch, soft_value(next_law, state.target_critic.all(batch.next_obs).min(0), alpha), cfg.discount)
    critic, m1 = state.critic.step(optimisers.adam(cfg.critic_lr), critic_loss, y, batch, name="critic")  # eq. 4

    prob, log_prob = table(state.actor.net(batch.obs).among(batch.mask))
    legal = jnp.full(y.shape, float(prob.shape[-1])) if batch.mask is None else batch.mask.sum(-1).astype(y.dtype)
    entropy, goal = -(prob * log_prob).sum(-1), cfg.entropy_share * jnp.log(legal)
    tx = optimisers.adam(cfg.temperature_lr)
    temperature, m2 = state.temperature.step(tx, temperature_loss, entropy, goal, name="temperature")  # eq. 11
    q, tx = critic.net.all(batch.obs).min(0), optimisers.adam(cfg.actor_lr)
    actor, m3 = state.actor.step(tx, actor_loss, q, jnp.exp(temperature.net), batch, name="actor")  # eq. 12
    return State(actor, critic, ema(critic.net, state.target_critic, cfg.polyak), temperature), merge(m1, m2, m3)


SOURCE = "the paper's table 2, networks and batch of SAC"
PRESETS = {"control": Preset(DiscreteSAC(), Treatment(), SOURCE)}

algorithm = Algorithm(
    "discrete_sac", DiscreteSAC, init, update, act, PRESETS, dist=dist, actions=frozenset({"discrete"}), online=online,
    finetune=finetune, check=check,
)  # fmt: skip
