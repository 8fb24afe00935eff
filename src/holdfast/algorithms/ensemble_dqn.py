"""Ensemble-DQN (Agarwal, Schuurmans, Norouzi 2020, arXiv:1907.04543): the average of K value heads on one trunk.

Each head k learns from its own target r + gamma max_a' Qbar_k(s', a'). The policy is greedy in the mean of the heads.
All heads learn from all rows, so they differ by their initial weights only.

Notation (paper = code): K = `heads`.
Order of an update: critic, target (soft or copied, see `q_learning`).
As in the authors' code: the Huber loss with delta 1 and its mean over heads and batch; the target is not double.
Not as in the authors' code: Adam in its standard form (TensorFlow's scales the constant by sqrt(1 - beta_2^t)).
Ours: `acting` "min" and "lcb" act by a pessimistic value of the heads in place of their mean, to compare policies of
the same training; illegal actions are excluded from the maximum and from acting.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from ..core.config import Schedule, config, faults
from ..core.contract import Context, Preset, Treatment
from ..core.noise import Noise
from ..core.spec import Batch, Memory, Seen, Step
from ..core.trained import Metrics
from ..parts import losses
from ..parts.action_values import ActionValues, best, greedy, pick, q_metrics, td
from ..parts.distributions import Categorical
from .q_learning import CONTROL, RULES, State, learn, record, start


@config
class Heads:
    """The settings of the paper's two methods, which are the same: `ensemble_dqn` and `rem`."""

    heads: int = 200  # how many heads, K
    acting: str = "mean"  # the policy is greedy in the mean, min or lcb of the heads (lcb: mean minus deviations)
    acting_deviations: float = 1.0  # standard deviations that lcb subtracts
    discount: float = 0.99  # gamma
    polyak: float = 1.0  # rate at which the target follows; 1 with a long `target_every` copies it
    target_every: int = 2_000  # updates between moves of the target
    epsilon: float = 0.01  # online: share of random actions while exploring
    epsilon_steps: int = 62_500  # updates over which epsilon falls from 1 to its value; 0: constant
    critic_lr: float = 5e-5  # Adam
    critic_decay_steps: Schedule = "constant"  # learning rate: constant, or a cosine over the run or N updates
    adam_eps: float = 3.125e-4  # Adam's constant outside the root
    hidden: tuple[int, ...] = (512,)  # widths of the hidden layers of the trunk
    batch_size: int = 32  # rows per update
    n_step: int = 1  # steps of the return before the bootstrap
    warmup: int = 20_000  # online: environment steps with random actions before the first update
    update_every: int = 4  # online: environment steps between updates


@config
class EnsembleDQN(Heads):
    pass


def check(cfg: Heads) -> list[str]:
    return faults(cfg, heads="positive", acting="mean|min|lcb", acting_deviations="at least 0", **RULES)


def init(cfg: Heads, ctx: Context, noise: Noise) -> State:
    return start(cfg, ctx, noise, cfg.heads)


def best_of_each(values: jax.Array, mask: jax.Array | None) -> jax.Array:
    """Every head's value of its own best legal action: [B, A, K] to [B, K]."""
    chosen = jax.vmap(best, (-1, None), -1)(values, mask)
    return jnp.take_along_axis(values, chosen[:, None], 1)[:, 0]


def critic_loss(critic: ActionValues, y: jax.Array, batch: Batch) -> tuple[jax.Array, Metrics]:
    values = critic(batch.obs)
    q = pick(values, batch.action)
    metrics = q_metrics(values.mean(-1), batch.action, batch.mask, y)
    return losses.huber(q - y).mean(), {**metrics, "disagreement": q.std(-1).mean()}


def update(cfg: EnsembleDQN, state: State, batch: Batch, noise: Noise, step: Step) -> tuple[State, Metrics]:
    following = best_of_each(state.target_critic(batch.next_obs), batch.next_mask)
    y = td(batch, following, cfg.discount)  # [B, K]
    return learn(cfg, state, step, critic_loss, y, batch)


def dist(cfg: Heads, state: State, seen: Seen, memory: Memory) -> Categorical:
    """The greedy policy of the heads, by their mean, min or lcb."""
    critic = state.critic.net
    if cfg.acting == "mean":
        return greedy(critic.mean(seen.obs), seen.mask)
    return greedy(losses.lower(critic(seen.obs), cfg.acting, cfg.acting_deviations, -1), seen.mask)


TUNED = EnsembleDQN(**CONTROL)
PRESETS = {
    "atari": Preset(
        EnsembleDQN(),
        Treatment(),
        "authors' code, github.com/google-research/batch_rl, batch_rl/fixed_replay/configs/multi_head_dqn.gin (the "
        "data has the rewards clipped to their sign)",
    ),
    "tuned_100k": Preset(TUNED, Treatment(), "ours, as the preset control of DQN, with 200 heads"),
}

algorithm = record("ensemble_dqn", EnsembleDQN, init, update, PRESETS, dist, check)
