"""Ensemble-DQN (Agarwal, Schuurmans, Norouzi 2020, arXiv:1907.04543): the average of K value heads on one trunk.

Each head k learns from its own target r + gamma max_a' Qbar_k(s', a'); the policy is greedy in their mean. All heads
see all rows: they differ by their initial weights only.

Paper -> here: K heads. Order: critic, then the target (soft or hard, see `dqn`). As in the authors' code the loss is
Huber's with delta 1, its mean over heads and batch, and the target is not a double one. An MLP stands in place of the
convolutional trunk.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from ..core.config import Schedule, config, faults
from ..core.contract import Context, Preset, Treatment
from ..core.noise import Noise
from ..core.spec import Batch, Memory, Seen, Step
from ..core.trained import Metrics
from ..parts import losses, targets
from ..parts.action_values import ActionValues, best, greedy, pick, td
from . import dqn
from .dqn import State


@config
class EnsembleDQN:
    heads: int = 200  # how many heads, K
    discount: float = 0.99  # gamma
    polyak: float = 0.005  # rate at which the target follows; 1 with a long `target_every` copies it
    target_every: int = 1  # updates between moves of the target
    epsilon: float = 0.1  # share of random actions while exploring online
    epsilon_steps: int = 0  # updates over which epsilon falls from 1 to that; 0: from the start
    critic_lr: float = 3e-4  # Adam
    critic_decay_steps: Schedule = "constant"  # its rate: constant, or a cosine over the run or N updates
    adam_eps: float = 1e-8  # Adam's constant outside the root; .01 / 32 on Atari
    hidden: tuple[int, ...] = (256, 256)  # widths of the hidden layers of the trunk
    batch_size: int = 64  # rows an update
    n_step: int = 1  # steps of the return before it bootstraps
    warmup: int = 1_000  # online: environment steps with random actions before the first update
    acting: str = "mean"  # the policy is greedy in the heads' mean, min or lcb (mean less so many deviations)
    acting_deviations: float = 1.0  # of lcb
    update_every: int = 1  # online: environment steps between updates; 4 on Atari


def check(cfg: EnsembleDQN) -> list[str]:
    return faults(cfg, heads="positive", acting="mean|min|lcb", acting_deviations="at least 0", **dqn.RULES)


def init(cfg: EnsembleDQN, ctx: Context, noise: Noise) -> State:
    return dqn.start(cfg, ctx, noise, cfg.heads)


def best_of_each(values: jax.Array, mask: jax.Array | None) -> jax.Array:
    """Every head's value of its own best legal action: [B, A, K] to [B, K]."""
    chosen = jax.vmap(best, (-1, None), -1)(values, mask)
    return jnp.take_along_axis(values, chosen[:, None], 1)[:, 0]


def critic_loss(critic: ActionValues, y: jax.Array, batch: Batch) -> tuple[jax.Array, Metrics]:
    values = critic(batch.obs)
    q = pick(values, batch.action)
    loss = losses.huber(q - y).mean()
    return loss, {**dqn.told(values.mean(-1), batch.action, batch.mask, y), "disagreement": q.std(-1).mean()}


def update(cfg: EnsembleDQN, state: State, batch: Batch, noise: Noise, step: Step) -> tuple[State, Metrics]:
    following = best_of_each(state.target_critic(batch.next_obs), batch.next_mask)
    y = td(batch, following, cfg.discount)  # [B, K]
    critic, metrics = state.critic.step(dqn.optimiser(cfg), critic_loss, y, batch, name="critic")
    target = targets.follow(critic.net, state.target_critic, cfg.polyak, cfg.target_every, step)
    return State(critic, target), metrics


def dist(cfg: Any, state: State, seen: Seen, memory: Memory) -> Any:
    critic = state.critic.net
    if cfg.acting == "mean":
        return greedy(critic.mean(seen.obs), seen.mask)
    return greedy(losses.lower(critic(seen.obs), cfg.acting, cfg.acting_deviations, -1), seen.mask)


def presets(Config: type) -> dict[str, Preset]:
    """The settings that Ensemble-DQN and REM share."""
    atari = Config(
        polyak=1.0,
        target_every=2000,
        epsilon=0.01,
        epsilon_steps=62_500,
        critic_lr=5e-5,
        adam_eps=0.01 / 32,
        batch_size=32,
    )
    source = (
        "github.com/google-research/batch_rl, fixed_replay/configs (a copy every 8000 agent steps, four an update; "
        "rewards clipped to their sign in the data)"
    )
    return {
        "control": Preset(Config(), Treatment(), "the paper's 200 heads, the rest as our DQN on control tasks"),
        "atari": Preset(atari, Treatment(), source),
    }


algorithm = dqn.algorithm._replace(
    name="ensemble_dqn",
    Config=EnsembleDQN,
    init=init,
    update=update,
    act=partial(dqn.act, dist=dist),
    dist=dist,
    presets=presets(EnsembleDQN),
    check=check,
)
